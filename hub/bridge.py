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

from hub.commands.client import connect_to
from hub.failure import Failure
from hub.home import Home

__all__ = ["bridge"]

_CHUNK_BYTES = 64 * 1024


def bridge(home: Home, agent: str, session: str | None = None) -> bool:
    """Be the pipe between a client on stdin and stdout, and the hub that runs for `home`.

    Returns:
        True when the client has closed its end; False where no hub runs, or one that is just ending
        (then nothing has been read).

    Raises:
        Failure: the hub does not take the agent, or closed the stream while the client was there.
    """
    try:
        hub = connect_to(home.stdio_socket)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    with hub:
        if not _is_taken(hub, {"agent": agent} if session is None else {"agent": agent, "session": session}):
            return False
        hub.settimeout(None)
        ended = threading.Event()
        threading.Thread(target=_pump_in, args=(hub, ended), daemon=True).start()
        if _pump_out(hub) and not ended.is_set():
            raise Failure(
                "home",
                f"The hub closed the connection: it has ended, or does not take agent {agent!r} any longer.",
                "Connect again; where no hub runs, the first to connect becomes it.",
            )
    return True


def _is_taken(hub: socket.socket, hello: dict[str, str]) -> bool:
    """Say who asks; whether the hub answered. Raises `Failure` where it says no."""
    answer = b""
    with suppress(ConnectionResetError, BrokenPipeError):
        hub.sendall(json.dumps(hello).encode() + b"\n")
        # Nothing follows the answer before the hub has been asked something.
        while not answer.endswith(b"\n") and (chunk := hub.recv(_CHUNK_BYTES)):
            answer += chunk
    if not answer.endswith(b"\n"):
        return False
    error = json.loads(answer).get("error")
    if error is not None:
        raise Failure("unauthorized", error, "`hub agents list` shows the agents there are.")
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
    """Whether it was the hub that closed the stream; else the client takes no more."""
    target = sys.stdout.fileno()
    with suppress(ConnectionResetError):
        while chunk := hub.recv(_CHUNK_BYTES):
            while chunk:
                try:
                    chunk = chunk[os.write(target, chunk) :]
                except BrokenPipeError:
                    return False
    return True
