"""The command line's side of the admin plane: is there a hub for this home, and ask it.

Standard library only, so that a command costs little more than starting Python. It speaks what
`hub/server/admin_http.py` serves: `POST /v1/OPERATION` with a JSON object over a Unix socket.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from hub.failure import Failure
from hub.home import STATE, Home, is_private

__all__ = ["HubClient", "connect_to", "find", "wait_for"]

CONNECT_SECONDS = 2.0
SILENCE_SECONDS = 30.0
"""A hub at work says so every few seconds; one that is silent this long is taken for stuck."""

_STARTING_STEP_SECONDS = 0.05
_STARTING_STEPS = 200
_LINE_BYTES = 8192


def find(home: Home) -> HubClient | None:
    """The hub that runs for `home`, or `None`.

    Raises:
        Failure: something answers there that is not ours to trust.
    """
    client = HubClient(home.admin_socket)
    try:
        connect_to(client.path).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise Failure(
            "home", f"{client.path}: the hub's socket cannot be used: {error.strerror or error}"
        ) from None
    return client


def wait_for(home: Home) -> HubClient | None:
    """The hub that holds `home`, once it listens, within a few seconds; `None` where none holds it."""
    from hub import lock

    for _ in range(_STARTING_STEPS):
        client = find(home)
        if client is not None or not lock.is_held(home):
            return client
        threading.Event().wait(_STARTING_STEP_SECONDS)
    return None


def connect_to(path: Path) -> socket.socket:
    """A connection to one of the hub's sockets. Raises `OSError`, `Failure`."""
    owner = os.stat(path).st_uid
    if owner != os.getuid():
        raise Failure(
            "unauthorized",
            f"{path} belongs to another user (id {owner}), so it is not used.",
            "Run the command as the user who runs the hub.",
        )
    # A long home's socket is in the temporary folder, where somebody else could have made its folder first,
    # and put another socket there as soon as it was looked at.
    if path.parent.name != STATE and not is_private(path.parent):
        raise Failure(
            "unauthorized",
            f"{path.parent} is another user's, or others may write to it, so no socket in it is used.",
            "Remove it; or give the hub a home whose path is shorter.",
        )
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(os.fspath(path))
        connection.settimeout(SILENCE_SECONDS)
    except OSError:
        connection.close()
        raise
    return connection


class HubClient:
    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(
        self,
        operation: str,
        arguments: dict[str, Any] | None = None,
        progress: Callable[[str], None] = lambda sentence: None,
    ) -> Any:
        """Have the hub do `operation`, and return what it answers.

        Args:
            progress: Gets what the hub says while it works.

        Raises:
            Failure: the hub's own, or the hub went away.
        """
        body = json.dumps(arguments or {}).encode()
        head = (
            f"POST /v1/{operation} HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n"
            f"Accept: application/x-ndjson\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        try:
            with connect_to(self.path) as connection, connection.makefile("rb") as answer:
                connection.sendall(head.encode() + body)
                for line in _lines(answer):
                    said = json.loads(line) if line.strip() else {}
                    if "progress" in said:
                        progress(str(said["progress"]))
                    elif "error" in said:
                        error = said["error"]
                        raise Failure(error["code"], error["message"], error.get("hint", ""))
                    elif "result" in said:
                        return said["result"]
        except TimeoutError:
            raise Failure(
                "unexpected",
                f"The hub did not answer for {SILENCE_SECONDS:g} s.",
                "Look at what `hub serve` wrote; start it again if it hangs.",
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Failure(
                "unexpected",
                f"The hub broke off: {type(error).__name__}.",
                "Is it still running? Try again; `hub doctor` looks closer.",
            ) from None
        raise Failure("unexpected", "The hub stopped before it answered.", "Start it again: `hub serve`.")

    def events(self, path: str, after: int | None = None) -> Iterator[dict[str, Any]]:
        """What happens in the hub, as it does, until it ends: each with an `id` and the `event`'s name.

        What an event says is beside them; its own `id` is there as `id_of_call`.

        Args:
            path: `/events`, with what restricts it.
            after: The id of the last event that is known.

        Raises:
            Failure: the hub refuses it.
            ConnectionError: the hub has gone.
        """
        known = "" if after is None else f"Last-Event-ID: {after}\r\n"
        head = f"GET {path} HTTP/1.1\r\nHost: hub\r\n{known}Connection: close\r\n\r\n"
        try:
            with connect_to(self.path) as connection, connection.makefile("rb") as answer:
                connection.sendall(head.encode())
                yield from _events(_lines(answer))
        except (OSError, ValueError) as error:
            raise ConnectionError(str(error)) from None


def _events(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    id, name, data = 0, "", b""
    for line in lines:
        if line.startswith(b'{"error"'):
            error = json.loads(line)["error"]
            raise Failure(error["code"], error["message"], error.get("hint", ""))
        field, _, value = line.partition(b": ")
        if field == b"id":
            id = int(value)
        elif field == b"event":
            name = value.decode()
        elif field == b"data":
            data = value
        elif not line and data:
            said = json.loads(data)
            yield {"id_of_call": said.pop("id", None), **said, "id": id, "event": name}
            data = b""


def _lines(answer: IO[bytes]) -> Iterator[bytes]:
    """The lines of an HTTP answer's body. Raises `ValueError` for what is no such answer.

    By hand, as both ends are ours: importing `http.client` alone takes 20 ms.
    """
    if not answer.readline(_LINE_BYTES).startswith(b"HTTP/1.1 "):
        raise ValueError("no HTTP answer")
    chunked = False
    while header := answer.readline(_LINE_BYTES).strip():
        chunked = chunked or header.lower() == b"transfer-encoding: chunked"
    if not chunked:
        yield from answer
        return
    rest = b""
    while size := int(answer.readline(_LINE_BYTES), 16):
        *lines, rest = (rest + answer.read(size)).split(b"\n")
        yield from lines
        answer.readline(_LINE_BYTES)
    yield rest
