"""`hub calls tail`: events of a hub as they come. Goes on behind the last one where it was away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

from hub.commands import client
from hub.counted import counted
from hub.failure import Failure
from hub.home import Home
from hub.model import Json

__all__ = ["told"]

_AWAY_SECONDS: Final = 60.0
_STEP_SECONDS: Final = 0.25


def told(
    home: Home,
    *,
    agent: str | None = None,
    session: str | None = None,
    errors: bool = False,
    after: int | None = None,
    count: int | None = None,
) -> Iterator[Json]:
    """Events of calls, and gaps, each with an `id`, an `event` and a `line` for people.

    Args:
        after: The id of the last one that is known; `None` begins now.
        count: End after so many.

    Raises:
        Failure: no hub runs, or none has come back for a minute.
    """
    running = client.find(home)
    if running is None:
        raise Failure("home", f"No hub runs for {home.path}.", "Start one: `hub serve`.")
    asked = {"agent": agent, "session": session, "errors": "1" if errors else None}
    query = urlencode({key: value for key, value in asked.items() if value is not None})
    given, away = 0, 0.0
    while True:
        try:
            for event in running.events(f"/events?{query}", after):
                away, after = 0.0, event["id"]
                if event["event"].startswith("call.") or event["event"] == "gap":
                    yield {**event, "line": _line(event)}
                    given += 1
                    if given == count:
                        return
        except ConnectionError:
            pass  # It ended; perhaps another one begins.
        while (found := client.find(home)) is None:
            if away >= _AWAY_SECONDS:
                raise Failure("home", "The hub has ended.", "Start it again: `hub serve`.") from None
            threading.Event().wait(_STEP_SECONDS)
            away += _STEP_SECONDS
        running = found


def _line(event: Json) -> str:
    if event["event"] == "gap":
        missed = event["missed"]
        return f"... {'some events' if missed is None else counted(missed, 'event')} not shown ..."
    took = event.get("duration_ms")
    said = [
        str(event.get(key) or "-") for key in ("at", "id_of_call", "agent", "tool", "state") if key in event
    ]
    why = event.get("reason") or event.get("kind")
    return " ".join([*said, *([f"({why})"] if why else []), *([f"{took:g} ms"] if took is not None else [])])
