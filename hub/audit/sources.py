"""Chains to verify: the database, or a file that was exported from one. And the export.

The file is JSON Lines: a head, then entries and checkpoints in order. An entry has with it the row that its
digest is of, so that the file can be verified without the database; where a later entry tells of the same
row it says `"later"`. docs/audit.md shows the fields.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from connectors.jsonrpc import Budget, Malformed, encode, parse
from hub.audit.chain import Bounds, Broken, Subject, bounds_of
from hub.store import audit
from hub.store.calls import PENDING, SHAPE, CallRow, Intent
from hub.store.connection import open_read_only
from hub.store.sealing import CALL, GENESIS, Checkpoint, Entry

if TYPE_CHECKING:
    import sqlite3

__all__ = ["FORMAT", "DatabaseSource", "FileSource", "database", "export", "new_file"]

FORMAT: Final = 1
_LINE_MAX: Final = 256 * 1024 * 1024
_BUDGET: Final = Budget(_LINE_MAX, 100_000)
_INTENT: Final = len(Intent._fields)
_BYTES: Final = ("payload", "digest", "previous", "hash")


class DatabaseSource:
    """A hub's own record, as it is at one moment."""

    def __init__(self, connection: sqlite3.Connection, first: int | None = None) -> None:
        """
        Args:
            connection: In a read transaction, or nobody writes.
            first: Only from this entry on.
        """
        self._connection = connection
        self._whole = first is None or first <= 1
        self.first = first or 1
        self.previous = GENESIS if self._whole else audit.hash_at(connection, self.first - 1)
        self.bounds = bounds_of(audit.retentions(connection))

    def entries(self) -> Iterator[tuple[Entry, Subject]]:
        width = len(Entry._fields)
        for found in audit.entries(self._connection, self.first, CallRow._fields):
            entry = Entry(*found[:width])
            yield entry, _subject(entry, found[width:])

    def checkpoints(self) -> Iterator[Checkpoint]:
        # Of a whole chain all, so that one which was moved before its beginning is seen.
        return audit.checkpoints(self._connection, -(2**63) if self._whole else self.first)

    def place_of(self, previous: bytes, near: int) -> int | None:
        return audit.find(self._connection, previous, near)

    def leftover(self) -> Broken | None:
        call, seq = audit.rows_without_entry(self._connection) or (None, 0)
        if call is not None:
            return Broken("row", seq, f"Call {call} is in the record, and no entry tells of it.", call)
        older, said = audit.unsealed(self._connection), audit.begun_with(self._connection)
        if self._whole and said is not None and older > said:
            calls = "1 call claims" if older == 1 else f"{older} calls claim"
            return Broken("row", 1, f"{calls} to be older than the chain; it began with {said}.")
        return None


def _subject(entry: Entry, row: tuple[Any, ...]) -> Subject:
    if entry.body is not None or not entry.kind.startswith(CALL):
        return "none"
    *values, seq = row
    if values[0] is None:
        return "missing"
    if seq == entry.seq:
        return values
    if seq is None or seq < entry.seq:
        return "older"
    # What was known before the call stays in its row.
    return [*values[:_INTENT], *PENDING] if entry.kind == CALL + PENDING.state else "later"


class FileSource:
    """An exported chain. Every read checks the shape of what it reads: raises `Broken` (`unreadable`)."""

    def __init__(self, path: Path) -> None:
        """Raises `Broken`, `OSError`."""
        self._path = path
        head = next(self._lines(), (0, {}))[1]
        if head.get("audit") != FORMAT or type(head.get("first")) is not int:
            raise Broken("unreadable", 0, f"{path} is no export of an audit, or of a newer hub.")
        self.first = head["first"]
        self.previous = _hash(head.get("previous"))
        # Of all that the file says, the last counts; each is walked with the rest.
        self.bounds = bounds_of(
            line["body"]
            for _, line in self._lines()
            if line.get("kind") == "retention" and type(line.get("body")) is str
        )
        if self.first == 1 and self.previous != GENESIS:
            raise Broken("changed", 0, f"{path} begins with entry 1, and yet with something before it.")

    def entries(self) -> Iterator[tuple[Entry, Subject]]:
        for number, line in self._lines():
            if number == 1 or "checkpoint" in line:
                continue
            try:
                yield _entry(line), _row(line)
            except (KeyError, TypeError, ValueError):
                seq = line.get("seq")
                raise Broken(
                    "unreadable",
                    seq if type(seq) is int else 0,
                    f"{self._path}:{number}: no entry can be read here.",
                ) from None

    def checkpoints(self) -> Iterator[Checkpoint]:
        for number, line in self._lines():
            if "checkpoint" in line:
                try:
                    yield Checkpoint(
                        _int(line["checkpoint"]),
                        _int(line["at"]),
                        bytes.fromhex(line["hash"]),
                        _text(line["key"]),
                        bytes.fromhex(line["signature"]),
                    )
                except (KeyError, TypeError, ValueError):
                    raise Broken(
                        "unreadable", 0, f"{self._path}:{number}: no checkpoint can be read here."
                    ) from None

    def place_of(self, previous: bytes, near: int) -> int | None:
        wanted = previous.hex()
        for _, line in self._lines():
            if line.get("previous") == wanted and "seq" in line:
                return line["seq"] if type(line["seq"]) is int else None
        return None

    def leftover(self) -> Broken | None:
        return None

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._path.open("rb") as file:
            number = 0
            while data := file.readline(_LINE_MAX):
                number += 1
                try:
                    line = parse(data, _BUDGET)
                except Malformed:
                    line = None
                if type(line) is not dict:
                    raise Broken("unreadable", 0, f"{self._path}:{number}: this line is no JSON object.")
                yield number, line


def _entry(line: dict[str, Any]) -> Entry:
    body, payload = line.get("body"), line.get("payload")
    return Entry(
        _int(line["seq"]),
        _int(line["at"]),
        _text(line["kind"]),
        _text(line["subject"]),
        None if body is None else _text(body),
        None if payload is None else bytes.fromhex(payload),
        bytes.fromhex(line["digest"]),
        bytes.fromhex(line["previous"]),
        bytes.fromhex(line["hash"]),
    )


def _row(line: dict[str, Any]) -> Subject:
    row = line.get("row")
    if type(row) is dict:
        unknown = row.keys() - set(SHAPE.fields)
        if unknown or not all(type(each) in (str, int) for each in row.values()):
            raise ValueError(f"no row: {unknown}")
        return [row.get(field) for field in SHAPE.fields]
    if row in ("later", "missing", "older"):
        return row  # type: ignore[no-any-return]
    return "none" if line.get("body") is not None else "missing"


def _int(value: Any) -> int:
    if type(value) is not int or not -(2**53) <= value <= 2**53:
        raise ValueError("no whole number")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("no text")
    return value


def _hash(value: Any) -> bytes | None:
    try:
        found = bytes.fromhex(value)
    except (TypeError, ValueError):
        return None
    return found if len(found) == len(GENESIS) else None


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees one moment, whether a hub runs or not. Raises `StoreError`."""
    connection = open_read_only(path)
    try:
        with audit.one_moment(connection):
            yield connection
    finally:
        connection.close()


def export(connection: sqlite3.Connection, file: IO[bytes], since: int | None = None) -> int:
    """Write a chain as JSON Lines; how many entries.

    Args:
        since: Milliseconds: only what happened at that moment or later.
    """
    first = max(audit.bounds(connection)[0], 1 if since is None else audit.seq_at(connection, since) + 1)
    source = DatabaseSource(connection, first)
    if source.bounds != Bounds() and first == source.bounds.entries_through + 1:
        source.previous = source.bounds.hash
    head = {
        "audit": FORMAT,
        "first": first,
        "previous": None if source.previous is None else source.previous.hex(),
        "columns": SHAPE.fields,
    }
    _write(file, head)
    checkpoints, count = source.checkpoints(), 0
    checkpoint = next(checkpoints, None)
    for entry, subject in source.entries():
        line = {key: value for key, value in entry._asdict().items() if value is not None}
        line.update({key: line[key].hex() for key in _BYTES if key in line})
        if isinstance(subject, str):
            line["row"] = subject
        else:
            row = zip(SHAPE.fields, subject, strict=True)
            line["row"] = {key: value for key, value in row if value is not None}
        if line["row"] == "none":
            del line["row"]
        _write(file, line)
        count += 1
        while checkpoint is not None and checkpoint.seq <= entry.seq:
            said = checkpoint._asdict()
            said["checkpoint"] = said.pop("seq")
            _write(file, {**said, "hash": checkpoint.hash.hex(), "signature": checkpoint.signature.hex()})
            checkpoint = next(checkpoints, None)
    return count


def _write(file: IO[bytes], line: dict[str, Any]) -> None:
    file.write(encode(line) + b"\n")


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file for its owner only, in the place of what is there, once it is whole. Raises `OSError`."""
    new = path.with_name(path.name + ".new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            yield file
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
