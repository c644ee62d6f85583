"""`hub serve --stdio` beside a running hub: bytes from stdin to it and back, and nothing else.

Standard library only: a desktop client starts one of these for each of its windows.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from contextlib import suppress

from hub.client import connect_to
from hub.failure import Failure
from hub.home import Home

__all__ = ["bridge"]

_CHUNK_BYTES = 64 * 1024


def bridge(home: Home, agent: str) -> bool:
    """Be the pipe between a client on stdin and stdout, and the hub that runs for `home`.

    Returns:
        True when the stream has ended; False where no hub runs (then nothing has been read).

    Raises:
        Failure: the hub does not take the agent.
    """
    try:
        hub = connect_to(home.stdio_socket)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    with hub:
        hub.settimeout(None)
        hub.sendall(json.dumps({"agent": agent}).encode() + b"\n")
        ended = threading.Event()
        threading.Thread(target=_pump_in, args=(hub, ended), daemon=True).start()
        if not _pump_out(hub) and not ended.is_set():
            raise Failure(
                "unauthorized",
                f"The running hub did not take agent {agent!r}.",
                "`hub agents list` shows the agents there are; what `hub serve` wrote says why.",
            )
    return True


def _pump_in(hub: socket.socket, ended: threading.Event) -> None:
    source = sys.stdin.fileno()
    with suppress(OSError):
        while chunk := os.read(source, _CHUNK_BYTES):
            hub.sendall(chunk)
    ended.set()
    with suppress(OSError):
        hub.shutdown(socket.SHUT_WR)


def _pump_out(hub: socket.socket) -> bool:
    """Whether anything came before the hub closed the stream, or the client its end."""
    target, came = sys.stdout.fileno(), False
    with suppress(ConnectionResetError, BrokenPipeError):
        while chunk := hub.recv(_CHUNK_BYTES):
            came = True
            while chunk:
                chunk = chunk[os.write(target, chunk) :]
    return came
