"""What the hub itself tells an agent while its call waits, as progress of that call."""

from __future__ import annotations

from collections.abc import Callable

from hub.model import Call

__all__ = ["teller"]


def teller(call: Call | None) -> Callable[[str], None] | None:
    """How to tell the agent, as progress of its call, what it waits for; if it asked to be told."""
    if call is None or call.notify is None:
        return None
    meta = call.params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    if token is None:
        return None
    notify, told = call.notify, 0

    def tell(message: str) -> None:
        nonlocal told
        told += 1
        # Small fractions, so that the server's own progress goes up from here.
        notify(
            "notifications/progress",
            {"progressToken": token, "progress": told / 1_000_000, "message": message},
        )

    return tell
