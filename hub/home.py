"""Where a hub keeps what: one folder, `hub.yaml` and `manifests/` for people, `.hub/` for the hub.

Light on purpose: the command line imports this before anything else.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["OTHERS", "STATE", "Home", "is_private", "usable"]

OTHERS = "--home DIR or HUB_HOME names another one; `hub init DIR` makes one."
STATE = ".hub"
_SOCKET_PATH_MAX = 100
"""`sun_path` holds 104 bytes on macOS and 108 on Linux, the ending zero included."""


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """While something is done with a file of the hub's own. Raises `HomeError` in the place of `OSError`."""
    try:
        yield
    except OSError as error:
        from hub.errors import HomeError

        reason = error.strerror or type(error).__name__
        raise HomeError(
            f"{path} cannot be used: {reason}. Make it readable and writable for you alone."
        ) from None


@dataclass(frozen=True, slots=True)
class Home:
    path: Path

    @classmethod
    def at(cls, folder: str | os.PathLike[str] | None) -> Home:
        """The folder given, else `HUB_HOME`, else the working directory."""
        return cls(Path(folder or os.environ.get("HUB_HOME") or ".").expanduser().resolve())

    def must_be_there(self) -> None:
        """Raises `HomeError`: there is no such folder. One whose name was mistyped is not made."""
        if not self.path.is_dir():
            from hub.errors import HomeError

            raise HomeError(f"{self.path} is no folder. {OTHERS}")

    @property
    def is_furnished(self) -> bool:
        """Whether somebody has made it a hub's."""
        return self.manifests.is_dir() or self.state.is_dir()

    @property
    def settings(self) -> Path:
        return self.path / "hub.yaml"

    @property
    def manifests(self) -> Path:
        return self.path / "manifests"

    @property
    def state(self) -> Path:
        return self.path / STATE

    @property
    def database(self) -> Path:
        return self.state / "hub.db"

    @property
    def lock(self) -> Path:
        """Held (flock) by the one hub that serves this home; holds its process id."""
        return self.state / "lock"

    @property
    def key(self) -> Path:
        """The hub's own key (mode 0600), for what clients are given to bring back."""
        return self.state / "key"

    @property
    def secrets(self) -> Path:
        """What `hub secrets set` keeps, sealed (mode 0600)."""
        return self.state / "secrets"

    @property
    def logins(self) -> Path:
        """What `hub login` keeps, sealed with the same key (mode 0600)."""
        return self.state / "logins"

    @property
    def secrets_key(self) -> Path:
        """What opens them (mode 0600)."""
        return self.state / "secrets.key"

    @property
    def audit_key(self) -> Path:
        """What signs the audit chain (mode 0600): the seed of an Ed25519 key."""
        return self.state / "audit.key"

    @property
    def data(self) -> Path:
        """`${HUB_DATA}`: installed packages, and what servers keep."""
        return self.state / "data"

    @property
    def logs(self) -> Path:
        """`NAME.log`: what each server's process wrote to stderr."""
        return self.state / "logs"

    @property
    def admin_socket(self) -> Path:
        """HTTP for people: the command line, later the console. Mode 0600."""
        return self._socket("admin.sock")

    @property
    def stdio_socket(self) -> Path:
        """Where `hub serve --stdio` bridges to beside a running hub. Mode 0600."""
        return self._socket("stdio.sock")

    def token_file(self, agent: str) -> Path:
        """Where a token is kept for its owner's own use (mode 0600): only `me` has one by default."""
        return self.state / "tokens" / agent

    def create(self) -> None:
        """Make the hub's own folders, for their owner only. Raises `OSError`."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_ours(self.state) and not is_private(self.state):
            self.state.chmod(0o700)
        sockets = self.admin_socket.parent
        for folder in (self.data, self.logs, self.state / "tokens", sockets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Where a long home's sockets are can be foreseen: somebody else may have made that folder first.
        if sockets != self.state and not is_private(sockets):
            raise PermissionError(errno.EPERM, f"{sockets} is another user's, or others may write to it")

    def _socket(self, name: str) -> Path:
        path = self.state / name
        if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
            return path
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"hub-{os.getuid()}-{digest}" / name


def is_ours(folder: Path) -> bool:
    """Whether it is this user's; where it is a link, that as well. Raises `OSError`."""
    return os.lstat(folder).st_uid == os.stat(folder).st_uid == os.geteuid()


def is_private(folder: Path) -> bool:
    """Whether nobody but this user can put anything into it. Raises `OSError`."""
    return is_ours(folder) and not stat.S_IMODE(os.stat(folder).st_mode) & 0o022
