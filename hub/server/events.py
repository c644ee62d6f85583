"""`GET /events` on the admin socket: what happens in the hub, as server-sent events.

`?agent=NAME&session=ID&errors=1` restrict it. `Last-Event-ID` (or `after=ID`) goes on behind an event, over a
restart of the hub as well. An event `gap` says that some are not told.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from connectors.jsonrpc import encode
from hub.events import Event, Events, Wanted
from hub.failure import Failure
from hub.server.wire_request import Request

__all__ = ["PATH", "tell"]

PATH = "/events"
_HEADERS = b"content-type: text/event-stream\r\ncache-control: no-store\r\n"
_KNOWN = frozenset({"agent", "session", "errors", "after"})
_ID_MAX = 2**62


async def tell(events: Events, request: Request) -> None:
    """Answer for as long as anybody reads and the hub runs.

    Raises:
        Failure: what is asked for is no such thing.
    """
    after, wanted = _asked(request)
    told = events.follow(await events.newest() if after is None else after, wanted)
    request.start(_HEADERS)
    # At once, so that who waits for the head knows that from here on nothing is missed.
    request.write(b": listening\n\n")
    try:
        async for event in told:
            request.write(b": still here\n\n" if event is None else _text(event))
            if request.gone:
                return
            await request.room()
    finally:
        await told.aclose()
    request.write(b"", last=True)


def _text(event: Event) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.name.encode(), encode(event.said))


def _asked(request: Request) -> tuple[int | None, Wanted]:
    head = request.head
    given = parse_qs(head.query.decode("ascii", "replace"), keep_blank_values=True)
    unknown = sorted(given.keys() - _KNOWN)
    if unknown:
        raise Failure("usage", f"/events knows no {unknown[0][:40]!r}, but {', '.join(sorted(_KNOWN))}.")
    one = {key: values[-1] for key, values in given.items()}
    last = next((value for name, value in head.pairs if name == b"last-event-id"), None)
    text = last.strip().decode("ascii", "replace") if last is not None else one.get("after")
    if text is not None and not (text.isascii() and text.isdigit() and int(text[:20]) < _ID_MAX):
        raise Failure("usage", "Last-Event-ID is the id of an event: a whole number.")
    errors = one.get("errors", "") not in ("", "0", "false")
    return None if text is None else int(text), Wanted(one.get("agent"), one.get("session"), errors)
