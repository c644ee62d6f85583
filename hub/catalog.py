"""The catalog: what every known server offers, at one moment.

Immutable. A change makes a new catalog and the hub swaps it in, so readers need no lock.
Knows nothing of agents: `policy` decides who sees what. A server that is down, slow or broken is
in here as it was last known; an unusable definition costs only itself, and says why.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hub.apps import is_for_pages, page_uri, with_pages_moved
from hub.model import KINDS, Entry, Json, Kind
from hub.policy import matches
from hub.route import Route
from hub.rules.curation import curated, has_argument
from hub.schema_budget import REFUSED

__all__ = [
    "NAME_LENGTH_MAX", "OWN_SCHEME", "Catalog", "LeftOut", "Offer", "Override", "View", "exposed_name",
    "is_offered", "known_name",
]  # fmt: skip

NAME_LENGTH_MAX = 52
"""Clients put `mcp__hub__` (10 characters) before a name and their models' APIs end at 64, so that
whole sessions die at 65 (claude-code #19882); two characters are left for a longer hub name."""

_safe = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_unsafe = re.compile(r"[^A-Za-z0-9_-]")
_HASH_LENGTH = 8
_KEY: Mapping[Kind, str] = {"tool": "name", "prompt": "name", "resource": "uri", "template": "uriTemplate"}
_TYPES: Mapping[str, tuple[type, str]] = {
    "name": (str, "a string"),
    "title": (str, "a string"),
    "description": (str, "a string"),
    "mimeType": (str, "a string"),
    "annotations": (dict, "an object"),
    "outputSchema": (dict, "an object"),
    "_meta": (dict, "an object"),
    "icons": (list, "an array"),
    "arguments": (list, "an array"),
}
"""What clients check of a definition: one wrong value there, and they drop the whole list."""

_MOVED = "hub+"
OWN_SCHEME, _HUB = "hub://", "hub"
"""What URIs of the hub's own begin with, and who alone may offer such."""


@dataclass(frozen=True, slots=True)
class Override:
    """What a person's manifest says of the tools whose own name matches `pattern`."""

    pattern: str
    title: str | None = None
    description: str | None = None
    annotations: Json = field(default_factory=dict)
    cost: float | None = None
    name: str | None = None
    fix: Json = field(default_factory=dict)
    """Arguments that the hub fills in and agents do not see."""
    default: Json = field(default_factory=dict)
    """Arguments that the hub fills in where they are left out."""
    tags: tuple[str, ...] = ()
    route: Route | None = None


@dataclass(frozen=True, slots=True)
class View:
    """How one server's manifest wants its offer shown."""

    bare: bool = False
    trusted: bool = False
    """Whether the server's own annotations may decide anything."""
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    route: Route | None = None
    """Of all its entries, where an override does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one server said that it has: raw definitions by kind, as last learnt."""

    server: str
    view: View = View()
    definitions: Mapping[Kind, tuple[Json, ...]] = field(default_factory=dict)
    extensions: Json = field(default_factory=dict)
    """The extensions that it says it speaks, with their settings, by identifier."""
    unfit: Mapping[str, str] = field(default_factory=dict)
    """Its tools that cannot be called on this kind of connection, and why."""
    ttl_ms: Mapping[Kind, int] = field(default_factory=dict)
    """For how long its lists may be kept, of the kinds that it has lists of; 0 where that is not known."""
    held: Mapping[str, str] = field(default_factory=dict)
    """By their own names: its tools that a person has to look at first, and why."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One definition that is not offered, and why."""

    server: str
    kind: Kind
    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """All entries, each kind in the order of (server, position there)."""

    revision: int = 0
    entries: Mapping[Kind, tuple[Entry, ...]] = field(default_factory=lambda: dict.fromkeys(KINDS, ()))
    """As they are listed."""
    by_name: Mapping[Kind, Mapping[str, Entry]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    """Those, the pages of tools that their servers do not list, and what is held."""
    left_out: tuple[LeftOut, ...] = ()
    moved: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By server: its URIs that agents know by another one, and which."""
    for_pages: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)
    """By their own names: the tools that pages of their servers may call."""
    extensions: Mapping[str, Json] = field(default_factory=dict)
    """By server, in the order of their names: the extensions that it speaks."""
    ttl_ms: Mapping[str, Mapping[Kind, int]] = field(default_factory=dict)
    """By server: for how long its lists may be kept."""

    @classmethod
    def build(cls, offers: Iterable[Offer], revision: int) -> Catalog:
        """Merge offers, deterministically: by server name, then in each server's own order."""
        entries: dict[Kind, tuple[Entry, ...]] = {}
        by_name: dict[Kind, Mapping[str, Entry]] = {}
        left_out: list[LeftOut] = []
        ordered = sorted(offers, key=lambda offer: offer.server)
        for kind in KINDS:
            found: list[Entry] = []
            for offer in ordered:
                found.extend(_entries(offer, kind, left_out))
            named = _resolve(found, kind, ordered, left_out)
            entries[kind] = _listed(named)
            by_name[kind] = named
        for_pages = _for_pages(entries["tool"])
        by_name["resource"] = _with_pages(by_name["resource"], entries["tool"])
        moved = _moved(by_name["resource"].values())
        if moved:
            by_name["tool"] = {name: _pages_moved(entry, moved) for name, entry in by_name["tool"].items()}
            entries["tool"] = _listed(by_name["tool"])
        extensions = {offer.server: offer.extensions for offer in ordered if offer.extensions}
        ttl_ms = {offer.server: offer.ttl_ms for offer in ordered}
        return cls(revision, entries, by_name, tuple(left_out), moved, for_pages, extensions, ttl_ms)

    def find(self, kind: Kind, name: str) -> Entry | None:
        return self.by_name[kind].get(name)

    def known(self, grant: str) -> Entry | None:
        """The tool that rules know by this name, of which agents may know another."""
        tools = self.by_name["tool"]
        entry = tools.get(grant)
        if entry is not None and grant in (entry.grant, entry.alias):
            return entry
        return next((each for each in tools.values() if grant in (each.grant, each.alias)), None)


def exposed_name(server: str, own: str) -> str:
    """What agents call a tool or prompt by: `server__own`, never dependent on what else there is.

    At most `NAME_LENGTH_MAX` characters of `[A-Za-z0-9_-]`. A name that does not fit keeps its
    two ends and carries 8 hexadecimal digits of the SHA-256 of its full form between them.
    """
    return known_name(f"{server}__{own}")


def known_name(full: str) -> str:
    """`full` itself where every client can take it, else its ends around a hash."""
    if len(full) <= NAME_LENGTH_MAX and _safe(full):
        return full
    digest = hashlib.sha256(full.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    safe = _unsafe.sub("_", full)
    room = NAME_LENGTH_MAX - _HASH_LENGTH - 2
    if len(safe) > room:
        head = (room + 1) // 2
        safe = safe[:head] + "\0" + safe[len(safe) - (room - head) :]
    else:
        head = len(safe) - len(safe) // 3
        safe = safe[:head] + "\0" + safe[head:]
    return safe.replace("\0", f"_{digest}_")


def _listed(named: Mapping[str, Entry]) -> tuple[Entry, ...]:
    return tuple(entry for entry in named.values() if not entry.held)


def _entries(offer: Offer, kind: Kind, left_out: list[LeftOut]) -> Iterable[Entry]:
    """One server's usable entries of one kind; what is unusable is noted and skipped."""
    seen: set[str] = set()
    for definition in offer.definitions.get(kind, ()):
        own = definition.get(_KEY[kind]) if isinstance(definition, dict) else None
        why = _unusable(definition, kind, own)
        if why is None and own in seen:
            why = "its server offers this name twice"
        if why is None and kind == "tool":
            why = offer.unfit.get(str(own)) or _unfixable(offer.view, str(own), definition)
        if why is not None:
            left_out.append(LeftOut(offer.server, kind, str(own)[:200], why))
            continue
        assert isinstance(own, str)
        seen.add(own)
        if kind == "tool" and not is_offered(offer.view, own):
            continue
        entry = _entry(offer, kind, own, definition)
        if kind == "tool" and own in offer.held:
            # It keeps its name, so that no other tool can take it over.
            left_out.append(LeftOut(offer.server, kind, own[:200], offer.held[own]))
            entry = replace(entry, held=True)
        yield entry


def _unusable(definition: Any, kind: Kind, own: Any) -> str | None:
    if not isinstance(definition, dict):
        return "its definition is not an object"
    if not isinstance(own, str) or not own:
        return f"its definition has no '{_KEY[kind]}'"
    if isinstance(definition.get(REFUSED), str):
        return str(definition[REFUSED])[:200]
    for key, (type_, article) in _TYPES.items():
        if key in definition and not isinstance(definition[key], type_):
            return f"its {key} is not {article}"
    if "name" not in definition:
        return "its definition has no 'name'"
    if kind != "tool":
        return None
    schema = definition.get("inputSchema")
    if not isinstance(schema, dict):
        return "its inputSchema is not an object"
    if schema.get("type") != "object":
        return 'its inputSchema is not of "type": "object"'
    return None


def _unfixable(view: View, own: str, definition: Json) -> str | None:
    """Why a tool cannot be used as a person meant: shown without what was to be fixed, it could do more."""
    for override in view.overrides:
        for key in override.fix if override.pattern == own else ():
            if not has_argument(definition, key):
                return f"its manifest fixes {key!r}, an argument that it does not have"
    return None


def is_offered(view: View, own: str) -> bool:
    """Whether a server's manifest offers its tool of this name at all."""
    return any(matches(pattern, own) for pattern in view.allow) and not any(
        matches(pattern, own) for pattern in view.deny
    )


def _entry(offer: Offer, kind: Kind, own: str, definition: Json) -> Entry:
    server, view = offer.server, offer.view
    grant = f"{server}__{own}"
    if kind in ("resource", "template"):
        return Entry(
            kind, server, own, own, grant, definition, reads_only=True, repeatable=True, route=view.route
        )
    name = known_name(own) if view.bare else exposed_name(server, own)
    shown = {**definition, "name": name}
    if kind == "prompt":
        return Entry(
            kind, server, own, name, grant, shown, reads_only=True, repeatable=True, route=view.route
        )
    annotations = definition.get("annotations")
    annotations = annotations if isinstance(annotations, dict) else {}
    reads_only = view.trusted and annotations.get("readOnlyHint") is True
    idempotent = view.trusted and annotations.get("idempotentHint") is True
    route = view.route
    cost = 0.0
    tags: tuple[str, ...] = ()
    alias, fixed, defaults = None, Json(), Json()
    for override in view.overrides:
        if not matches(override.pattern, own):
            continue
        if override.name is not None:
            alias = f"{server}__{override.name}"
            shown["name"] = name = known_name(override.name if view.bare else alias)
        tags = tuple(dict.fromkeys((*tags, *override.tags)))
        fixed |= {key: value for key, value in override.fix.items() if has_argument(definition, key)}
        defaults |= {key: value for key, value in override.default.items() if has_argument(definition, key)}
        if override.title is not None:
            shown["title"] = override.title
        if override.description is not None:
            shown["description"] = override.description
        if override.annotations:
            shown["annotations"] = annotations = {**annotations, **override.annotations}
            if "readOnlyHint" in override.annotations:
                reads_only = override.annotations["readOnlyHint"] is True
            if "idempotentHint" in override.annotations:
                idempotent = override.annotations["idempotentHint"] is True
        if override.cost is not None:
            cost = override.cost
        if override.route is not None:
            route = override.route.over(route)
    if route is not None and route.contract is not None:
        shown["outputSchema"] = dict(route.contract.schema)
    curation = curated(definition, shown, fixed, defaults)
    return Entry(
        kind, server, own, name, grant, shown, reads_only, tags, alias, curation, cost,
        reads_only or idempotent, route,
    )  # fmt: skip


def _resolve(
    found: list[Entry], kind: Kind, ordered: list[Offer], left_out: list[LeftOut]
) -> dict[str, Entry]:
    """One entry a name, as `kind` wants it."""
    if kind in ("resource", "template"):
        return _resolve_uris(found)
    return _resolve_names(found, {offer.server for offer in ordered if offer.view.bare}, left_out)


def _resolve_uris(found: list[Entry], before: Mapping[str, Entry] | None = None) -> dict[str, Entry]:
    """A URI stays with the first server by name, and the later one's is `hub+SERVER:URI`.

    A server's own URI that starts as a moved one does, or as the hub's own, is moved too: none can pose as
    another's.
    """
    located = dict(before or {})
    for entry in found:
        uri = entry.own
        if uri in located or uri.startswith(_MOVED) or (uri.startswith(OWN_SCHEME) and entry.server != _HUB):
            uri = f"{_MOVED}{entry.server}:{uri}"
            definition = {**entry.definition, _KEY[entry.kind]: uri}
            entry = replace(entry, name=uri, definition=definition)
        located[uri] = entry
    return located


def _with_pages(located: Mapping[str, Entry], tools: Iterable[Entry]) -> Mapping[str, Entry]:
    """Resources, and after them the pages of tools that no server lists, under the same rules."""
    pages: dict[tuple[str, str], Entry] = {}
    for tool in tools:
        uri = page_uri(tool.definition)
        if uri is not None:
            grant = f"{tool.server}__{uri}"
            page = Entry("resource", tool.server, uri, uri, grant, {"uri": uri, "name": uri}, reads_only=True)
            pages[tool.server, uri] = page
    for entry in located.values():
        pages.pop((entry.server, entry.own), None)
    return _resolve_uris([*pages.values()], located) if pages else located


def _pages_moved(tool: Entry, moved: Mapping[str, Mapping[str, str]]) -> Entry:
    of_server = moved.get(tool.server)
    if of_server is None or page_uri(tool.definition) not in of_server:
        return tool
    return replace(tool, definition=with_pages_moved(tool.definition, of_server))


def _for_pages(tools: tuple[Entry, ...]) -> Mapping[str, tuple[Entry, ...]]:
    with_pages = {tool.server for tool in tools if page_uri(tool.definition) is not None}
    found: dict[str, tuple[Entry, ...]] = {}
    for tool in tools:
        if tool.server in with_pages and is_for_pages(tool.definition):
            found[tool.own] = (*found.get(tool.own, ()), tool)
    return found


def _moved(resources: Iterable[Entry]) -> Mapping[str, Mapping[str, str]]:
    moved: dict[str, dict[str, str]] = {}
    for entry in resources:
        if entry.name != entry.own:
            moved.setdefault(entry.server, {})[entry.own] = entry.name
    return moved


def _resolve_names(found: list[Entry], bare: set[str], left_out: list[LeftOut]) -> dict[str, Entry]:
    """Prefixed names that meet are left out, all of them, so that nobody's name is taken over.

    A bare name, which its server chooses freely, gives way to a prefixed one and to an earlier bare one.
    """
    holders: dict[str, Entry] = {}
    clashing: set[str] = set()
    for entry in sorted(found, key=lambda entry: entry.server in bare):
        holder = holders.setdefault(entry.name, entry)
        if holder is entry:
            continue
        left_out.append(_clash(entry, holder))
        if entry.server not in bare and entry.name not in clashing:
            clashing.add(entry.name)
            left_out.append(_clash(holder, entry))
    return {
        entry.name: entry for entry in found if holders[entry.name] is entry and entry.name not in clashing
    }


def _clash(entry: Entry, other: Entry) -> LeftOut:
    return LeftOut(
        entry.server, entry.kind, entry.own, f"its name {entry.name!r} is also that of {other.grant}"
    )
