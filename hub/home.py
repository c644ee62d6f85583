"""Where a hub keeps what: one folder, `hub.yaml` and `manifests/` for people, `.hub/` for the hub.

Light on purpose: the command line imports this before anything else.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Home"]

_SOCKET_PATH_MAX = 100
"""`sun_path` holds 104 bytes on macOS and 108 on Linux, the ending zero included."""


@dataclass(frozen=True, slots=True)
class Home:
    path: Path

    @classmethod
    def at(cls, folder: str | os.PathLike[str] | None) -> Home:
        """The folder given, else `HUB_HOME`, else the working directory."""
        return cls(Path(folder or os.environ.get("HUB_HOME") or ".").expanduser().resolve())

    @property
    def settings(self) -> Path:
        return self.path / "hub.yaml"

    @property
    def manifests(self) -> Path:
        return self.path / "manifests"

    @property
    def state(self) -> Path:
        return self.path / ".hub"

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
        for folder in (self.data, self.logs, self.state / "tokens", self.admin_socket.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _socket(self, name: str) -> Path:
        path = self.state / name
        if len(os.fsencode(path)) <= _SOCKET_PATH_MAX:
            return path
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"hub-{os.getuid()}-{digest}" / name
