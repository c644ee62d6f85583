"""The events of legacy SSE streams, kept so that a client can come back for them with `Last-Event-ID`."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp_types import JSONRPCMessage

EVENTS_MAX = 10_000


class Event(NamedTuple):
    """One message of one stream; without a message it only opens the stream."""

    number: int
    stream: StreamId
    message: JSONRPCMessage | None


class MemoryEventStore(EventStore):
    """The last `EVENTS_MAX` events of all streams together."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._count = 0

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        self._count += 1
        self._events.append(Event(self._count, stream_id, message))
        return str(self._count)

    async def replay_events_after(
        self, last_event_id: EventId, send_callback: EventCallback
    ) -> StreamId | None:
        """Send again what came after this event on its stream. None if the event is not known (any more)."""
        last = next((event for event in self._events if str(event.number) == last_event_id), None)
        if last is None:
            return None
        for event in [
            event for event in self._events if event.stream == last.stream and event.number > last.number
        ]:
            if event.message is not None:
                await send_callback(EventMessage(event.message, str(event.number)))
        return last.stream
