"""Is the chain of the audit whole, and does the record say what it said when it was written?

One walk from the first entry to the last, in bounded memory, over the database or an exported file
(`hub.audit.sources`). It stops at the first thing that is wrong.

What a chain cannot show by itself: that entries were cut off its end together with the calls they are
about, or that someone who has the hub's key wrote all of it anew. Against the first, keep the head that
an earlier verification printed (`--head`); against the second, keep exports elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol

from connectors.jsonrpc import Budget, Malformed, parse
from hub.audit.keys import is_signed_by
from hub.store.calls import SHAPE
from hub.store.sealing import CALL, GENESIS, PAYLOAD, Checkpoint, Entry, hash_of, signed_text

__all__ = ["UNSIGNED_MAX", "Bounds", "Broken", "Report", "Source", "Subject", "bounds_of", "verify"]

UNSIGNED_MAX: Final = 20_000
"""So many entries are never without a signature: the hub signs each 1,000, looking each second."""

_BUDGET: Final = Budget(1 << 20, 1000)
_PAYLOADS: Final = tuple(SHAPE.fields.index(name) for name in PAYLOAD)
_ID: Final = SHAPE.fields.index("id")
_SESSION: Final = SHAPE.fields.index("session")
_STATE: Final = SHAPE.fields.index("state")


class Bounds(NamedTuple):
    """What retention has said that it deletes."""

    entries_through: int = 0
    """Entries up to this one, and calls that have none later."""
    hash: bytes = GENESIS
    """Of that entry."""
    payloads_through: int = 0
    """What calls said whose last entry is at most this one."""
    sessions: Mapping[str, int] = MappingProxyType({})
    """The same of the calls of single sessions, by id."""


def bounds_of(bodies: Iterable[str]) -> Bounds:
    """From what the retention's events say; the last one of a chain says all."""
    found = Bounds()
    for body in bodies:
        try:
            said = parse(body.encode(), _BUDGET)
            entries, payloads = int(said["entries_through"]), int(said["payloads_through"])
            hash = bytes.fromhex(said["hash"])
            sessions = {str(said["session"]): int(said["through"])} if "session" in said else {}
        except (Malformed, KeyError, TypeError, ValueError):
            continue  # Its own entry is what does not verify.
        if entries >= found.entries_through:
            through = max(payloads, found.payloads_through)
            found = Bounds(entries, hash, through, {**found.sessions, **sessions})
    return found


Subject = Sequence[Any] | Literal["none", "missing", "later", "older"]
"""What an entry is about: the row as it was then, in `SHAPE`'s order; `none` for an event; `missing`; a row
that a later entry tells about (`later`), or that claims to be older than its entry (`older`)."""


class Source(Protocol):
    """A chain from its first entry on, or from a later one."""

    first: int
    """The number that the first entry must have."""
    previous: bytes | None
    """The hash before it, where it is known."""
    bounds: Bounds

    def entries(self) -> Iterator[tuple[Entry, Subject]]: ...

    def checkpoints(self) -> Iterator[Checkpoint]: ...

    def place_of(self, previous: bytes, near: int) -> int | None:
        """Where the entry stands that follows this hash, if it is to be found."""
        ...

    def leftover(self) -> Broken | None:
        """What there is beside the chain and ought to be in it."""
        ...


What = Literal["changed", "missing", "reordered", "row", "payload", "checkpoint", "head", "unreadable"]


class Broken(Exception):
    """The first thing that is wrong."""

    def __init__(self, what: What, seq: int, message: str, call: str | None = None) -> None:
        super().__init__(message)
        self.what = what
        self.seq = seq
        self.message = message
        self.call = call


@dataclass
class Report:
    """What was walked, up to the first thing that is wrong."""

    first: int = 0
    last: int = 0
    hash: bytes = GENESIS
    """Of the last one."""
    calls: int = 0
    """Entries whose row was there and said the same."""
    superseded: int = 0
    """Entries whose row has a later one."""
    payloads_deleted: int = 0
    entries_deleted: int = 0
    checkpoints: int = 0
    signed_through: int = 0
    keys: tuple[str, ...] = ()
    broken: Broken | None = None


def verify(source: Source, *, key: str | None = None, head: tuple[int, bytes] | None = None) -> Report:
    """Walk a chain.

    Args:
        key: The public key that must have signed it; without one the checkpoints' own is believed.
        head: A number and the hash that an entry of it had once.
    """
    report = Report()
    try:
        _walk(source, key, head, report)
    except Broken as broken:
        report.broken = broken
    return report


def _walk(source: Source, key: str | None, head: tuple[int, bytes] | None, report: Report) -> None:
    bounds, checkpoints = source.bounds, source.checkpoints()
    checkpoint = next(checkpoints, None)
    expected, previous = source.first, source.previous
    report.entries_deleted = bounds.entries_through
    report.last, report.signed_through = expected - 1, expected - 1
    head_met = head is None
    for entry, subject in source.entries():
        seq = entry.seq
        if expected == source.first and seq > expected:
            expected, previous = _begin_later(seq, expected, bounds)
            report.last = report.signed_through = seq - 1
        _follows(source, entry, expected, previous)
        report.first = report.first or seq
        _says_the_same(entry, subject, bounds, report)
        if head is not None and head[0] == seq:
            head_met = True
            if head[1] != entry.hash:
                raise Broken(
                    "head", seq, f"Entry {seq} had another hash when its head was noted: it was made anew."
                )
        while checkpoint is not None and checkpoint.seq <= seq:
            _signs(checkpoint, entry, key)
            report.checkpoints += 1
            report.signed_through = checkpoint.seq
            if checkpoint.key not in report.keys:
                report.keys += (checkpoint.key,)
            checkpoint = next(checkpoints, None)
        if seq - report.signed_through > UNSIGNED_MAX:
            raise Broken(
                "checkpoint",
                report.signed_through + 1,
                f"No checkpoint signs any of the {UNSIGNED_MAX} entries from here on.",
            )
        expected, previous = seq + 1, entry.hash
        report.last, report.hash = seq, entry.hash
    if checkpoint is not None:
        raise Broken(
            "missing",
            expected,
            f"Entries from {expected} on are missing: a checkpoint signs entry {checkpoint.seq}.",
        )
    if not head_met and head is not None:
        raise Broken(
            "missing", expected, f"Entries from {expected} on are missing: entry {head[0]} was there once."
        )
    leftover = source.leftover()
    if leftover is not None:
        raise leftover


def _begin_later(seq: int, expected: int, bounds: Bounds) -> tuple[int, bytes | None]:
    """What the first entry must be where those before it were deleted."""
    if seq - 1 > bounds.entries_through:
        first = max(expected, bounds.entries_through + 1)
        raise Broken("missing", first, f"{_those(first, seq - 1)} missing: no retention deleted them.")
    # A hub that ended in the middle of a deletion leaves some of what it will delete.
    return seq, bounds.hash if seq - 1 == bounds.entries_through else None


def _follows(source: Source, entry: Entry, expected: int, previous: bytes | None) -> None:
    seq = entry.seq
    if seq < expected:
        raise Broken("reordered", seq, f"Entry {seq} stands behind entry {expected - 1}.", _call(entry))
    if seq > expected:
        raise Broken("missing", expected, f"{_those(expected, seq - 1)} missing.")
    made = hash_of(seq, entry.at, entry.kind, entry.subject, entry.digest, entry.previous)
    follows = previous is None or entry.previous == previous
    if made == entry.hash and follows:
        return
    if not follows and previous is not None:
        place = source.place_of(previous, seq)
        if place is not None and place != seq:
            raise Broken(
                "reordered",
                seq,
                f"Entry {seq} is not what was written there: that stands at {place}.",
                _call(entry),
            )
    if made != entry.hash:
        raise Broken("changed", seq, f"Entry {seq} was changed: its hash is of something else.", _call(entry))
    if seq == source.first:
        raise Broken("changed", seq, f"Entry {seq} does not follow what was before it.", _call(entry))
    raise Broken(
        "changed", seq - 1, f"Entry {seq - 1} was changed, with its hash: entry {seq} follows another one."
    )


def _says_the_same(entry: Entry, subject: Subject, bounds: Bounds, report: Report) -> None:
    seq, call = entry.seq, _call(entry)
    if entry.body is not None or call is None:
        if entry.body is None or sha256(entry.body.encode()).digest() != entry.digest:
            raise Broken(
                "changed", seq, f"Entry {seq} ({entry.kind}) says something else than when it was written."
            )
        return
    if subject == "later":
        report.superseded += 1
        return
    if subject == "missing":
        if seq <= bounds.entries_through:
            return
        raise Broken("row", seq, f"Call {call} is missing from the record; entry {seq} tells of it.", call)
    if isinstance(subject, str):
        raise Broken(
            "row", seq, f"Call {call} is there as it was before entry {seq}, not as that says.", call
        )
    if entry.payload is None or subject[_ID] != call or subject[_STATE] != entry.kind.removeprefix(CALL):
        raise Broken("row", seq, f"Entry {seq} is about another call, or another state, than its row.", call)
    if SHAPE.digest(subject, entry.payload) != entry.digest:
        raise Broken("row", seq, f"The row of call {call} was changed after entry {seq} was written.", call)
    report.calls += 1
    said = [subject[place] for place in _PAYLOADS]
    if SHAPE.payload(subject) != entry.payload or "" in said:  # an absent text is null
        if any(each is not None for each in said):
            raise Broken("payload", seq, f"Params, result or error of call {call} were changed.", call)
        if seq > max(bounds.payloads_through, bounds.sessions.get(str(subject[_SESSION]), 0)):
            raise Broken(
                "payload",
                seq,
                f"Params, result and error of call {call} are gone; no retention deleted them.",
                call,
            )
        report.payloads_deleted += 1


def _signs(checkpoint: Checkpoint, entry: Entry, key: str | None) -> None:
    seq = checkpoint.seq
    if key is not None and checkpoint.key != key:
        raise Broken(
            "checkpoint",
            seq,
            f"The checkpoint at entry {seq} is signed with another key: {checkpoint.key[:80]}.",
        )
    try:
        signed = is_signed_by(
            checkpoint.key,
            signed_text(seq, checkpoint.at, checkpoint.hash, checkpoint.key),
            checkpoint.signature,
        )
    except ValueError:
        signed = False
    if not signed:
        raise Broken("checkpoint", seq, f"The signature of the checkpoint at entry {seq} is wrong.")
    if seq != entry.seq or checkpoint.hash != entry.hash:
        raise Broken(
            "checkpoint", seq, f"The checkpoint signs another entry {seq} than the one that is there."
        )


def _call(entry: Entry) -> str | None:
    return entry.subject if entry.kind.startswith(CALL) else None


def _those(first: int, last: int) -> str:
    return f"Entry {first} is" if first == last else f"Entries {first} to {last} are"
