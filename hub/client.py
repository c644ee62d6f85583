"""The command line's side of the admin plane: is there a hub for this home, and ask it.

Standard library only, so that a command costs little more than starting Python. It speaks what
`hub/server/admin_http.py` serves: `POST /v1/OPERATION` with a JSON object over a Unix socket.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.failure import Failure
from hub.home import Home

if TYPE_CHECKING:
    from http.client import HTTPConnection

__all__ = ["HubClient", "connect_to", "find"]

CONNECT_SECONDS = 2.0
SILENCE_SECONDS = 30.0
"""A hub at work says so every few seconds; one that is silent this long is taken for stuck."""


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


def connect_to(path: Path) -> socket.socket:
    """A connection to one of the hub's sockets. Raises `OSError`, `Failure`."""
    # In a folder that others can write to (a long home's socket is in the temporary folder),
    # somebody else could have put a socket here.
    owner = os.stat(path).st_uid
    if owner != os.getuid():
        raise Failure(
            "unauthorized",
            f"{path} belongs to another user (id {owner}), so it is not used.",
            "Run the command as the user who runs the hub.",
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
        wire = _http_over(self.path)
        try:
            wire.request(
                "POST",
                f"/v1/{operation}",
                json.dumps(arguments or {}),
                {"Content-Type": "application/json", "Accept": "application/x-ndjson"},
            )
            with wire.getresponse() as response:
                for line in response:
                    answer = json.loads(line) if line.strip() else {}
                    if "progress" in answer:
                        progress(str(answer["progress"]))
                    elif "error" in answer:
                        error = answer["error"]
                        raise Failure(error["code"], error["message"], error.get("hint", ""))
                    elif "result" in answer:
                        return answer["result"]
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
        finally:
            wire.close()
        raise Failure("unexpected", "The hub stopped before it answered.", "Start it again: `hub serve`.")


def _http_over(path: Path) -> HTTPConnection:
    # Here: with all that it brings it costs 20 ms, which only those pay who find a hub.
    from http.client import HTTPConnection

    wire = HTTPConnection("hub")
    wire.sock = connect_to(path)
    return wire
