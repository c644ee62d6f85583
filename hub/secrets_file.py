"""Files of sealed values: one in the home, each value sealed by itself and bound to its name and its file.

The hub's own secrets are one, its logins at servers another.

Names stand in it readably, so that listing them opens nothing. The key is a file beside it, mode
0600: that protects copies of the one without the other, and says plainly who may read both.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from connectors.jsonrpc import Budget, Malformed, encode, parse
from hub.env import Env
from hub.errors import HomeError
from hub.home import Home, usable
from hub.seal import Broken, Seal, load_key

__all__ = ["SecretFile", "logins_file", "secrets_seal"]

_BUDGET: Final = Budget(16 * 1024 * 1024, 100_000)
_PURPOSE: Final = "secret:"


def logins_file(home: Home, env: Env) -> SecretFile:
    """What `hub login` keeps: by server, or `server agent`."""
    return SecretFile(home, env, home.logins, "login:", "log in anew: `hub login")


def secrets_seal(home: Home, env: Env) -> Seal:
    """Seals secrets. Raises `HomeError`."""
    with usable(home.secrets_key):
        home.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Seal(load_key(home.secrets_key, env), env)


class SecretFile:
    """Every method raises `HomeError` where the file or its key cannot be used."""

    def __init__(
        self,
        home: Home,
        env: Env,
        path: Path | None = None,
        purpose: str = _PURPOSE,
        anew: str = "set it anew: `hub secrets set",
    ) -> None:
        """
        Args:
            path: Left out: that of the hub's secrets.
            anew: What to do where one of its values cannot be opened.
        """
        self._home = home
        self._env = env
        self._path = path or home.secrets
        self._purpose = purpose
        self._anew = anew

    def names(self) -> list[str]:
        return sorted(self._read())

    def get(self, name: str) -> str | None:
        sealed = self._read().get(name)
        if sealed is None:
            return None
        try:
            return secrets_seal(self._home, self._env).unlock(self._purpose + name, sealed).decode()
        except Broken:
            raise HomeError(
                f"{self._path}: {name!r} cannot be opened with {self._home.secrets_key.name}. "
                f"Put the key back that it was written with, or {self._anew} {name}`."
            ) from None

    def set(self, name: str, value: str) -> None:
        sealed = secrets_seal(self._home, self._env).lock(self._purpose + name, value.encode())
        with self._locked():
            self._write({**self._read(), name: sealed})

    def change(self, name: str, expected: str, value: str) -> bool:
        """Put `value` in the place of `expected`, if that is still what is there."""
        with self._locked():
            if self.get(name) != expected:
                return False
            sealed = secrets_seal(self._home, self._env).lock(self._purpose + name, value.encode())
            self._write({**self._read(), name: sealed})
        return True

    def remove(self, name: str) -> bool:
        """Whether there was such a secret."""
        if name not in self._read():
            return False
        with self._locked():
            self._write({other: sealed for other, sealed in self._read().items() if other != name})
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One change at a time, among processes too; the lock ends with its holder."""
        with usable(self._path), self._home.secrets_key.open("rb") as key:
            fcntl.flock(key, fcntl.LOCK_EX)
            yield

    def _read(self) -> dict[str, str]:
        try:
            with usable(self._path):
                if not self._path.exists():
                    return {}
                found = parse(self._path.read_bytes(), _BUDGET)
        except Malformed:
            found = None
        if type(found) is not dict or not all(type(sealed) is str for sealed in found.values()):
            raise HomeError(
                f"{self._path} is damaged. Put back a copy, or move it away and set its secrets anew."
            )
        return found

    def _write(self, sealed: dict[str, str]) -> None:
        """All of it or nothing: a new file in the place of the old one. Raises `OSError`."""
        new = self._path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(encode(sealed) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
