"""What each tool was when it was first seen, so that one which becomes another is kept back (threat T20).

A tool's pin is SHA-256 of its definition as its server gave it, canonical, but for `_meta`, which no model is
shown. A server is trusted with what it has when it is first looked at, by one way to reach it: whoever
changes `connect` in its manifest (another version of its package, say) begins anew. What then changes by
itself is `held`, or served and noted, as the manifest says. A tool that returns to what it was is served.

A look at a list that is as it was costs nothing; else 3 us a tool.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connectors.jsonrpc import encode_sorted
from hub.catalog import is_offered
from hub.errors import Denied
from hub.schema_budget import REFUSED
from hub.store import pins
from hub.store.pins import Look, Note, PinRow

if TYPE_CHECKING:
    from hub.catalog import Offer
    from hub.env import Env
    from hub.manifests.manifest import ServerManifest
    from hub.model import Call, Json
    from hub.store.db import Store

__all__ = [
    "INSTRUCTIONS",
    "Held",
    "Pin",
    "Pins",
    "approval",
    "by_server",
    "compared",
    "concerning",
    "definitions_of",
    "digest_of",
    "kept_back",
    "quarantined",
    "why",
]

log = logging.getLogger(__name__)

INSTRUCTIONS: Final = ""
"""As which tool a server's instructions are pinned: no tool is called so."""

_GONE_MAX: Final = 10_000
"""Of how many tools that it no longer has a server's pins are kept; the oldest are forgotten."""
_NAMED_MAX: Final = 50
"""How many tools one look notes one by one; of more only how many there are."""
_NOTES_MAX: Final = 200
"""How many notes about one server there are in an hour: it may change what it likes as often as it likes."""
_HOUR_MS: Final = 3_600_000
_NAME_LENGTH: Final = 200


@dataclass(slots=True)
class Pin:
    digest: bytes | None
    """`None` of a tool that was never served."""
    seen: bytes | None = None
    seen_at: int = 0


class Held(NamedTuple):
    """A tool that is kept back."""

    tool: str
    """By its server's own name."""
    digest: bytes
    """Of its definition now."""
    since: int
    """Milliseconds."""
    is_new: bool


@dataclass(slots=True)
class _Server:
    fingerprint: str
    pins: dict[str, Pin]
    tools: tuple[Json, ...] | None = None
    """Those that were looked at last, with the manifest's words about them."""
    instructions: str | None = None
    words: tuple[str, str] = ("", "")
    digests: Mapping[str, bytes] = field(default_factory=dict)
    held: Mapping[str, Held] = field(default_factory=dict)
    noted: int = 0
    noted_since: int = 0


class Pins:
    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env
        self._servers: dict[str, _Server] = {}
        self.holds = False
        """Whether anything is kept back."""

    async def load(self) -> None:
        """What the store remembers. Raises `StoreError`."""
        servers = await self._store.read(pins.list_servers)
        found = by_server(await self._store.read(pins.list_pins))
        self._servers = {name: _Server(mark, found.get(name, {})) for name, mark in servers.items()}

    def over(self, manifest: ServerManifest, offer: Offer, instructions: str | None = None) -> Offer:
        """The same offer, with the tools that are to be kept back; what is new in it is noted.

        Args:
            instructions: What the server says of itself as a whole: pinned like a tool.
        """
        tools = offer.definitions.get("tool")
        if tools is None:  # never asked
            return offer
        server = self._servers.get(manifest.name)
        words = (manifest.tools.changed, manifest.tools.new)
        anew = server is None or server.fingerprint != manifest.fingerprint
        if server is None or anew:
            server = self._servers[manifest.name] = _Server(manifest.fingerprint, {})
        if server.tools is not tools or server.instructions != instructions or server.words != words:
            server.tools, server.instructions, server.words = tools, instructions, words
            said = definitions_of(tools, instructions)
            server.digests = {name: digest_of(each) for name, each in said.items()}
            self._look(manifest.name, server, anew)
            self.holds = any(each.held for each in self._servers.values())
        if not server.held:
            return offer
        return replace(
            offer, held={name: why(manifest.name, held) for name, held in server.held.items() if name}
        )

    def held(self, server: str) -> Mapping[str, Held]:
        """By their own names: the tools of a server that are kept back."""
        known = self._servers.get(server)
        return {} if known is None else known.held

    def check(self, call: Call) -> None:
        """Just before it is sent: what was fit when it came may have changed while it waited.

        Raises:
            Denied: its tool is kept back.
        """
        entry = call.entry
        if entry is not None and entry.kind == "tool" and not call.method.startswith("tasks/"):
            known = self._servers.get(entry.server)
            if known is not None and entry.own in known.held:
                raise quarantined(call)

    async def approve(self, server: str, approved: Mapping[str, Json], by: str) -> None:
        """Serve these tools, defined just so, from now on. The catalog is the caller's.

        Raises:
            StoreError: it cannot be written; nothing has changed then.
        """
        known = self._servers[server]
        look = approval(server, known.fingerprint, known.pins, approved, by, self._now())
        await self._store.write(partial(pins.approve, look=look, by=by))
        for tool, digest, _ in look.pinned:
            known.pins[tool] = Pin(digest)
        known.tools = None

    def _look(self, name: str, server: _Server, anew: bool) -> None:
        """Compare what a server has with what is pinned of it, and remember what is new."""
        now = self._now()
        held, fresh = compared(server.digests, server.pins, *server.words, anew=anew, now=now)
        notes: list[Note] = []
        if anew:
            notes.append(Note("tools.pinned", name, {"server": name, "tools": len(fresh)}))
        else:
            notes += _notes(
                name, "tool.new", "tools.new", fresh.keys() - server.pins.keys(), server, "served"
            )
            changed = fresh.keys() & server.pins.keys()
            notes += _notes(name, "tool.changed", "tools.changed", changed, server, "served")
        seen = [
            (each.tool, each.digest)
            for each in held.values()
            if each.tool not in server.pins or server.pins[each.tool].seen != each.digest
        ]
        if seen:
            log.warning(
                "%s: tools changed and are quarantined (%d): `hub tools changed %s`", name, len(seen), name
            )
        new = [tool for tool, _ in seen if held[tool].is_new]
        changed = {tool for tool, _ in seen if not held[tool].is_new}
        notes += _notes(name, "tool.new", "tools.new", new, server, "quarantined")
        notes += _notes(name, "tool.changed", "tools.changed", changed, server, "quarantined")
        definitions = definitions_of(server.tools or (), server.instructions)
        pinned = [(tool, digest, _text(definitions[tool])) for tool, digest in fresh.items()]
        for tool, digest in fresh.items():
            server.pins.pop(tool, None)
            server.pins[tool] = Pin(digest)
        for tool, digest in seen:
            pin = server.pins.setdefault(tool, Pin(None))
            pin.seen, pin.seen_at = digest, now
        server.held = held
        gone = [tool for tool in server.pins if tool not in server.digests]
        forgotten = gone[: max(0, len(gone) - _GONE_MAX)]
        for tool in forgotten:
            del server.pins[tool]
        if anew or pinned or seen or forgotten:
            notes = self._few(server, notes, now)
            look = Look(name, server.fingerprint, now, anew, pinned, seen, forgotten, notes)
            self._store.post(partial(pins.keep, look=look))

    def _few(self, server: _Server, notes: list[Note], now: int) -> list[Note]:
        if now - server.noted_since > _HOUR_MS:
            server.noted, server.noted_since = 0, now
        notes = notes[: max(0, _NOTES_MAX - server.noted)]
        server.noted += len(notes)
        return notes

    def _now(self) -> int:
        return int(self._env.now() * 1000)


def compared(
    digests: Mapping[str, bytes],
    pinned: Mapping[str, Pin],
    changed: str,
    new: str,
    *,
    anew: bool,
    now: int,
) -> tuple[dict[str, Held], dict[str, bytes]]:
    """What is kept back, and what is served that was not before.

    Args:
        changed, new: What the manifest says of such tools: `quarantine` or `serve`.
        anew: Whether nothing of the server is known yet.
    """
    held: dict[str, Held] = {}
    fresh: dict[str, bytes] = {}
    for tool, digest in digests.items():
        pin = pinned.get(tool)
        before = None if pin is None else pin.digest
        if before == digest:
            continue
        if anew or (new if before is None else changed) == "serve":
            fresh[tool] = digest
        else:
            since = pin.seen_at if pin is not None and pin.seen == digest else now
            held[tool] = Held(tool, digest, since, before is None)
    return held, fresh


def approval(
    server: str, fingerprint: str, pinned: Mapping[str, Pin], approved: Mapping[str, Json], by: str, now: int
) -> Look:
    """What is written when a person has approved these tools."""
    notes, rows = [], []
    for tool, definition in approved.items():
        digest, pin = digest_of(definition), pinned.get(tool)
        before = None if pin is None or pin.digest is None else pin.digest.hex()
        said = {
            "server": server,
            "tool": tool[:_NAME_LENGTH],
            "before": before,
            "after": digest.hex(),
            "by": by,
        }
        notes.append(Note("tool.approved", _called(server, tool), said))
        rows.append((tool, digest, _text(definition)))
    return Look(server, fingerprint, now, pinned=rows, notes=notes)


def kept_back(
    manifest: ServerManifest,
    tools: Iterable[Any],
    instructions: str | None,
    fingerprint: str | None,
    pinned: Mapping[str, Pin],
    now: int,
) -> dict[str, Held]:
    """The tools of one server that are kept back, by what a store remembers.

    Args:
        fingerprint: What the pins are of; `None` where there are none.
    """
    anew = fingerprint != manifest.fingerprint
    digests = {name: digest_of(each) for name, each in definitions_of(tools, instructions).items()}
    words = (manifest.tools.changed, manifest.tools.new)
    return compared(digests, pinned, *words, anew=anew, now=now)[0]


def definitions_of(tools: Iterable[Any], instructions: str | None = None) -> dict[str, Json]:
    """By name: the first usable definition of each, which is the one that counts; and the instructions."""
    found: dict[str, Json] = {}
    for each in tools:
        name = each.get("name") if isinstance(each, dict) else None
        if isinstance(name, str) and name and name not in found and REFUSED not in each:
            found[name] = each
    if instructions:
        found[INSTRUCTIONS] = {"instructions": instructions}
    return found


def digest_of(definition: Json) -> bytes:
    return hashlib.sha256(encode_sorted(_pinned(definition))).digest()


def quarantined(call: Call) -> Denied:
    """What an agent is told that may use a tool which is kept back."""
    return Denied(
        f"{call.name} is quarantined: its server has changed what it is, so a person has to look at it first "
        f"(`hub tools changed {call.name}`, where the hub runs). Nothing was sent.",
        "quarantined",
    )


def concerning(manifest: ServerManifest, held: Mapping[str, Held]) -> dict[str, Held]:
    """Those that agents would be shown otherwise."""
    view = manifest.view() if held else None
    return {
        tool: each
        for tool, each in held.items()
        if view is not None and (tool == INSTRUCTIONS or is_offered(view, tool))
    }


def why(server: str, held: Held) -> str:
    """For people."""
    said = "is new" if held.is_new else "is no longer as it was defined"
    return f"it {said}, and is quarantined: `hub tools changed {server}__{held.tool[:_NAME_LENGTH]}` shows it"


def _pinned(definition: Json) -> Json:
    return {key: value for key, value in definition.items() if key != "_meta"}


def _text(definition: Json) -> str:
    return encode_sorted(_pinned(definition)).decode()


def by_server(rows: Iterable[PinRow]) -> dict[str, dict[str, Pin]]:
    """By server and tool."""
    found: dict[str, dict[str, Pin]] = {}
    for row in rows:
        found.setdefault(row.server, {})[row.tool] = Pin(row.digest, row.seen, row.seen_at or 0)
    return found


def _called(server: str, tool: str) -> str:
    return f"{server}__{tool[:_NAME_LENGTH]}" if tool else f"{server} (instructions)"


def _notes(name: str, one: str, many: str, tools: Iterable[str], server: _Server, what: str) -> list[Note]:
    """One for each tool, or of many one for all."""
    ordered = sorted(tools)
    if len(ordered) > _NAMED_MAX:
        return [Note(many, name, {"server": name, "tools": len(ordered), "what": what})]
    notes = []
    for tool in ordered:
        pin = server.pins.get(tool)
        before = None if pin is None or pin.digest is None else pin.digest.hex()
        said = {
            "server": name, "tool": tool[:_NAME_LENGTH], "before": before,
            "after": server.digests[tool].hex(), "what": what,
        }  # fmt: skip
        notes.append(Note(one, _called(name, tool), said))
    return notes
