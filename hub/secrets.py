"""Where the values of `${secret:NAME}` come from. The first that has one counts:

1. the environment of the hub: `HUB_SECRET_NAME`,
2. the encrypted file in the home (`hub secrets set`),
3. the system's keyring, where the extra `keyring` is installed: service `hub`,
4. a command of hub.yaml: `secrets: {command: [pass, show, "{name}"]}`.

Values are looked up when a server starts and kept by nobody but the server's link. What may wait for
a person or a network (3, 4) is a process of its own with a bound.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from typing import Final

import anyio

from connectors.base import ConfigError, LinkError
from connectors.children import Children
from hub.env import Env
from hub.errors import HomeError, NoThread
from hub.home import Home
from hub.secrets_file import SecretFile
from hub.settings import Settings
from hub.threads import in_thread
from hub.variables import environment_secrets

__all__ = ["COMMAND_SECONDS", "Secrets", "secrets_of"]

COMMAND_SECONDS: Final = 10.0
_VALUE_BYTES_MAX: Final = 64 * 1024
_KEYRING_SERVICE: Final = "hub"


class Secrets:
    def __init__(
        self,
        file: SecretFile,
        environ: Mapping[str, str],
        home: Home,
        command: Sequence[str] = (),
        *,
        seconds: float = COMMAND_SECONDS,
    ) -> None:
        """
        Args:
            environ: Of the hub.
            command: Prints the value of `{name}`; empty for none.
        """
        self.file = file
        self._environ = environ
        self._home = home
        self._in_environment = environment_secrets(environ)
        self._command = command
        self._seconds = seconds

    def source(self, name: str) -> str | None:
        """Where its value comes from; with a `?` where that would have to be asked first."""
        if self._in_environment(name) is not None:
            return "environment"
        if name in self.file.names():
            return "file"
        asked = [*(["keyring"] if _has_keyring() else []), *(["command"] if self._command else [])]
        return " or ".join(asked) + "?" if asked else None

    async def find(self, names: Collection[str], children: Children) -> dict[str, str]:
        """The values of those that have one.

        Raises:
            ConfigError: one may have a value, but cannot be had; says why, and never the value.
        """
        found = {}
        for name in sorted(names):
            value = self._in_environment(name)
            if value is None:
                try:
                    value = await in_thread(self.file.get, name)
                except HomeError as error:
                    raise ConfigError(str(error)) from None
                except NoThread as error:
                    raise LinkError(str(error), sent=False) from None
            if value is None and _has_keyring():
                argv = [sys.executable, "-P", "-m", "keyring", "get", _KEYRING_SERVICE, name]
                # It says in many ways, and with one exit status, that it has none.
                value = (await self._run(argv, name, children))[1]
            if value is None and self._command:
                value = await self._ask(name, children)
            if value is not None:
                found[name] = value
        return found

    async def _ask(self, name: str, children: Children) -> str:
        program, *rest = (part.replace("{name}", name) for part in self._command)
        path = shutil.which(program, path=self._environ.get("PATH"))
        if path is None:
            raise ConfigError(
                f"`secrets: {{command: ...}}` in hub.yaml: {program!r:.80} was not found on PATH."
            )
        status, value = await self._run([path, *rest], name, children)
        if value is None:
            raise ConfigError(
                f"the secret {name!r}: the command {program!r:.80} of `secrets` in hub.yaml gave none: "
                f"{status}. Run it by hand to see why."
            )
        return value

    async def _run(self, argv: Sequence[str], name: str, children: Children) -> tuple[str, str | None]:
        """How a program ended, and what it printed, without the last line end; `None` where it failed.

        What it says on stderr is read and dropped: nobody knows what it quotes.
        """
        output = bytearray()

        def keep(data: bytes) -> None:
            if len(output) <= _VALUE_BYTES_MAX:
                output.extend(data)

        own = {key: text for key, text in self._environ.items() if not key.startswith("HUB_SECRET_")}
        status = f"no answer within {self._seconds:g} s"
        try:
            child = await children.start(
                argv, env=own, cwd=self._home.path, on_stdout=keep, on_stderr=lambda line: None
            )
        except OSError as error:
            return f"it cannot be started: {error.strerror}", None
        except LinkError as error:
            return error.reason, None
        try:
            with anyio.move_on_after(self._seconds):
                child.close_input()
                status = await child.wait()
        finally:
            await child.aclose()
        if status != "exit status 0":
            return status, None
        if len(output) > _VALUE_BYTES_MAX:
            return f"more than {_VALUE_BYTES_MAX} bytes", None
        try:
            value = re.sub(r"\r?\n\Z", "", output.decode())
        except UnicodeDecodeError:
            return "no UTF-8 text", None
        return ("", value) if value else ("nothing was printed", None)


def _has_keyring() -> bool:
    return find_spec("keyring") is not None


def secrets_of(home: Home, settings: Settings, env: Env) -> Secrets:
    return Secrets(SecretFile(home, env), os.environ, home, settings.secrets_command)
