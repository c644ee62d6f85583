"""Ask a server what it offers: every list that it declares, page by page, within bounds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from connectors.base import ConfigError, Json, Link, LinkError, RemoteError
from connectors.jsonrpc import METHOD_NOT_FOUND, Spelt, encode
from hub.errors import NoThread
from hub.model import HUB_KEY, Kind
from hub.schema_budget import REFUSED, too_much
from hub.threads import in_thread

__all__ = ["CHANGES", "Known", "learn", "whole_ms"]

log = logging.getLogger(__name__)

CHANGES: Final[Mapping[str, tuple[Kind, ...]]] = {
    "notifications/tools/list_changed": ("tool",),
    "notifications/resources/list_changed": ("resource", "template"),
    "notifications/prompts/list_changed": ("prompt",),
}
"""Which lists a server says have changed."""

_LISTS: Final[Mapping[Kind, tuple[str, str, str]]] = {
    "tool": ("tools", "tools/list", "tools"),
    "resource": ("resources", "resources/list", "resources"),
    "template": ("resources", "resources/templates/list", "resourceTemplates"),
    "prompt": ("prompts", "prompts/list", "prompts"),
}
"""By kind: the capability that declares it, the method, and the key of the result."""

_PAGES_MAX: Final = 1000
_ENTRIES_MAX: Final = 100_000
_TOOLS_MAX: Final = 20_000
_BYTES_MAX: Final = 32 * 1024**2
"""Of one list, as JSON, over all its pages."""
_PAGES_AT_ONCE: Final = 16
"""How many pages are looked at together: there may be many small ones, and a few huge ones."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a server said of itself when it was last learnt."""

    version: str
    info: Json
    capabilities: Json
    instructions: str | None
    definitions: Mapping[Kind, tuple[Json, ...]]
    ttl_ms: Mapping[Kind, int] = field(default_factory=dict)
    """For how long it said that a list may be kept: the shortest of its pages, 0 where it did not say.
    Of the lists that it has; not remembered over a restart of the hub."""

    @property
    def freshness_ms(self) -> Mapping[Kind, int]:
        """The same of all lists that it declares: 0 for those of which nothing is known."""
        kinds = [kind for kind, (capability, _, _) in _LISTS.items() if capability in self.capabilities]
        if not self.ttl_ms:
            return dict.fromkeys(kinds, 0)
        return {kind: self.ttl_ms[kind] for kind in kinds if kind in self.ttl_ms}


async def learn(link: Link, kinds: frozenset[Kind] | None, known: Known | None, hub: str = "") -> Known:
    """What the server offers now.

    Args:
        kinds: Which lists to ask for; `None` for all. Others are taken from `known`.
        known: What it offered before: kept for a list that it refuses to give now.
        hub: The name of this hub, which is no server of its own.

    Raises:
        ConfigError: it leads back to this hub.
        LinkError: the link failed, or a list has no end.
    """
    if hub and link.peer.meta.get(HUB_KEY) == hub:
        # A client's configuration, most often, in which the hub stands: its tools would be its own once more,
        # and those again.
        raise ConfigError("leads back to this very hub. Take it out of the manifests.")
    before: Mapping[Kind, tuple[Json, ...]] = known.definitions if known is not None else {}
    found: dict[Kind, tuple[Json, ...]] = {}
    ttl_ms: dict[Kind, int] = {}
    for kind, (capability, method, key) in _LISTS.items():
        if kinds is not None and kind not in kinds:
            found[kind] = before.get(kind, ())
            if known is not None and kind in known.ttl_ms:
                ttl_ms[kind] = known.ttl_ms[kind]
        elif capability not in link.peer.capabilities:
            found[kind] = ()
        else:
            try:
                found[kind], ttl_ms[kind] = await _list(link, method, key)
            except RemoteError as error:
                found[kind] = before.get(kind, ())
                if error.code != METHOD_NOT_FOUND:
                    ttl_ms[kind] = 0
                # Many servers have resources but no templates, and say so with an error.
                if kind != "template":
                    log.warning("%s was refused: %s", method, error)
    peer = link.peer
    return Known(peer.version, peer.info, peer.capabilities, peer.instructions, found, ttl_ms)


async def _list(link: Link, method: str, key: str) -> tuple[tuple[Json, ...], int]:
    """All entries, and for how many milliseconds they may be kept."""
    found: list[Json] = []
    ttls: list[int] = []
    cursors: set[str] = set()
    params: Json = {}
    fitted = size = 0
    most = _TOOLS_MAX if method == "tools/list" else _ENTRIES_MAX
    for number in range(1, _PAGES_MAX + 1):
        result = await link.request(method, params)
        page = result.get(key)
        if not isinstance(page, list):
            raise LinkError(f"its answer to {method} has no list {key!r}")
        found.extend(page)
        size += len(result.text if isinstance(result, Spelt) else encode(page))
        if size > _BYTES_MAX:
            raise LinkError(f"its answers to {method} are longer than {_BYTES_MAX} bytes together")
        ttls.append(whole_ms(result.get("ttlMs")))
        cursor = result.get("nextCursor")
        if cursor is None or number % _PAGES_AT_ONCE == 0:
            # A server decides how long that takes, so that others go on meanwhile.
            try:
                found[fitted:] = await in_thread(_fitted, found[fitted:])
            except NoThread as error:
                raise LinkError(str(error)) from None
            fitted = len(found)
        if cursor is None and len(found) <= most:
            return tuple(found), min(ttls)
        if not isinstance(cursor, str) or cursor in cursors or len(found) > most:
            break
        cursors.add(cursor)
        params = {"cursor": cursor}
    raise LinkError(f"its answers to {method} have no end: {len(found)} entries, and more")


def _fitted(found: list[Json]) -> list[Json]:
    """The definitions as they came; where one is too much, what says so stands in its place."""
    return [_fitting(each) if isinstance(each, dict) else each for each in found]


def _fitting(definition: Json) -> Json:
    why = too_much(definition)
    if why is None:
        return definition
    named = ("name", "uri", "uriTemplate")
    return {**{key: str(definition[key])[:200] for key in named if key in definition}, REFUSED: why}


def whole_ms(given: object) -> int:
    """A `ttlMs` as it counts: 0 where there is none, or none that is a whole number of at least 0."""
    return given if type(given) is int and given >= 0 else 0
