"""Where an operation is done: by the hub that runs for this home, else here."""

from __future__ import annotations

import re
from typing import Any

from hub.cli.output import note, progress
from hub.errors import HomeError, NotCurrent
from hub.failure import Failure
from hub.home import OTHERS, Home

__all__ = ["ask", "session_id"]

_id = re.compile(r"[0-9a-z]{26}|[0-9a-f]{32}").fullmatch


def ask(home: Home, operation: str, *, quiet: bool = True, **arguments: Any) -> Any:
    """The operation's answer: the same, whoever gives it.

    Args:
        quiet: Do not say that no hub runs (the answer is then of what was last known).

    Raises:
        Failure, HubError: why it was not done.
    """
    from hub.commands import client

    running = client.find(home)
    if running is None:
        home.must_be_there()
    with progress() as tell:
        if running is not None:
            return running.ask(operation, arguments, tell)
        from hub.commands import alone

        try:
            answer = alone.do(home, operation, arguments, tell)
        except (HomeError, NotCurrent):
            # A hub that has begun just now holds the home, and makes its database, before it listens.
            running = client.wait_for(home)
            if running is None:
                raise
            return running.ask(operation, arguments, tell)
        except Failure as failure:
            if failure.code == "not_found" and not home.is_furnished:
                raise Failure(
                    failure.code, failure.message, f"{home.path} is no hub's folder. {OTHERS}"
                ) from None
            raise
    if not quiet and operation in alone.REMEMBERED:
        if home.is_furnished:
            note(f"No hub runs for {home.path}: this is what was last known.")
        else:
            note(f"{home.path} is no hub's folder. {OTHERS}")
    return answer


def session_id(home: Home, session: str | None) -> str | None:
    """The id of a session that is called by that or by its name. Raises `Failure`: there is none."""
    if session is None or _id(session) is not None:
        return session
    found: str = ask(home, "session", id=session)["id"]
    return found
