"""What an agent may use, page by page, as bytes. No server is asked, nothing is awaited.

A page is made once for each view of the catalog and kept with it (`Sight.cached`). Cursors are
positions, bound to the agent and the list that they came from; they outlive a restart.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

from connectors.base import SERVER_INFO_KEY
from connectors.jsonrpc import INVALID_PARAMS, encode
from hub.hub import Sight
from hub.model import Json, Kind
from hub.policy import may_reach
from hub.server.era import SERVER_INFO, listed
from hub.server.errors import Fault

__all__ = ["LISTS", "PAGE_SIZE", "page"]

PAGE_SIZE: Final = 1000

LISTS: Final[dict[str, tuple[Kind, str]]] = {
    "tools/list": ("tool", "tools"),
    "resources/list": ("resource", "resources"),
    "resources/templates/list": ("template", "resourceTemplates"),
    "prompts/list": ("prompt", "prompts"),
}

TTL_MS: Final = 0
"""Of what the hub says of itself: it changes with any server and any grant, and asking again is cheap."""

TTL_MS_MAX: Final = 300_000
"""A list changes with manifests and grants too, of which no server knows."""


def page(sight: Sight, method: str, modern: bool, cursor: Any) -> bytes:
    """One page of a list, as the JSON text of its result.

    Raises:
        Fault: -32602, the cursor is none of this list's.
    """
    kind, field = LISTS[method]
    start = 0 if cursor is None else _position(sight, kind, cursor)
    key = (modern, kind, start)
    text = sight.cached.get(key)
    if text is None:
        text = sight.cached[key] = encode(_page(sight, kind, field, modern, start))
    return text


def _page(sight: Sight, kind: Kind, field: str, modern: bool, start: int) -> Json:
    entries = sight.entries[kind]
    end = start + PAGE_SIZE
    result: Json = {field: [listed(entry.definition, kind, modern) for entry in entries[start:end]]}
    if end < len(entries):
        result["nextCursor"] = _cursor(sight, kind, end)
    if modern:
        result["resultType"] = "complete"
        result["ttlMs"] = _ttl_ms(sight, kind)
        # What is in it is decided for each agent, by its grants: no cache may hand it to another.
        result["cacheScope"] = "private"
        result["_meta"] = {SERVER_INFO_KEY: SERVER_INFO}
    return result


def _ttl_ms(sight: Sight, kind: Kind) -> int:
    """The shortest that any server gave which this agent may have something of; 0 where one gave none."""
    grants, given = sight.agent.grants, sight.catalog.ttl_ms
    told = [ms[kind] for server, ms in given.items() if kind in ms and may_reach(grants, server)]
    return min(*told, TTL_MS_MAX) if told else 0


def _cursor(sight: Sight, kind: Kind, position: int) -> str:
    bound = hashlib.sha256(f"{sight.agent.name}\n{kind}\n{position}".encode()).digest()[:9]
    return base64.urlsafe_b64encode(position.to_bytes(6, "big") + bound).decode()


def _position(sight: Sight, kind: Kind, cursor: Any) -> int:
    try:
        if type(cursor) is not str or len(cursor) > 64:
            raise ValueError
        position = int.from_bytes(base64.urlsafe_b64decode(cursor.encode("ascii"))[:6], "big")
    except ValueError:
        raise Fault(INVALID_PARAMS, "Invalid params: unknown cursor") from None
    known = position % PAGE_SIZE == 0 and position < len(sight.entries[kind])
    if not known or cursor != _cursor(sight, kind, position):
        raise Fault(INVALID_PARAMS, "Invalid params: unknown cursor")
    return position
