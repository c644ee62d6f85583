"""Where an operation is done: by the hub that runs for this home, else here."""

from __future__ import annotations

from typing import Any

from hub.cli.output import note, progress
from hub.errors import HomeError
from hub.home import Home

__all__ = ["ask"]


def ask(home: Home, operation: str, *, quiet: bool = True, **arguments: Any) -> Any:
    """The operation's answer: the same, whoever gives it.

    Args:
        quiet: Do not say that no hub runs (the answer is then of what was last known).

    Raises:
        Failure, HubError: why it was not done.
    """
    from hub import client

    running = client.find(home)
    with progress() as tell:
        if running is not None:
            return running.ask(operation, arguments, tell)
        from hub import alone

        try:
            answer = alone.do(home, operation, arguments, tell)
        except HomeError:
            # A hub that has begun just now holds the home before it listens.
            running = client.wait_for(home)
            if running is None:
                raise
            return running.ask(operation, arguments, tell)
    if not quiet and operation in alone.REMEMBERED:
        note(f"No hub runs for {home.path}: this is what was last known.")
    return answer
