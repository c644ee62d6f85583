"""Who is at the other end of a Unix socket, as the operating system knows it."""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

from hub.os_user import os_user

__all__ = ["peer_of"]

_MACOS_PEERCRED: Final = (0, 1, 76)
"""SOL_LOCAL, LOCAL_PEERCRED, and the size of its `struct xucred`: version, uid, groups."""


def peer_of(connection: Any) -> str:
    """The user who connected.

    Args:
        connection: A connected Unix socket, or what has its `getsockopt`.

    Raises:
        OSError: the operating system does not say.
    """
    if hasattr(socket, "SO_PEERCRED"):
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return os_user(struct.unpack("3i", credentials)[1])
    return os_user(struct.unpack_from("2I", connection.getsockopt(*_MACOS_PEERCRED))[1])
