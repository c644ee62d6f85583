"""Whatever is done to the record afterwards, `hub audit verify` finds it and names the first bad row."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import orjson
import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.audit.chain import Broken, Report, verify
from hub.audit.sources import DatabaseSource, FileSource, database, export
from hub.store import audit, calls
from hub.store.calls import SHAPE, Outcome
from hub.store.connection import open_for_writing
from hub.store.sealing import canonical
from tests.audit_room import SIGNER, intent, made, opened, rechained, report_of, result

CALLS = 30
LAST = 2 * CALLS + 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("audit") / "hub.db", CALLS)


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "hub.db"))


def call_of(seq: int) -> str:
    return f"call{(seq - 2) // 2:06}"


def broken(report: Report) -> Broken:
    assert report.broken is not None, "nothing was found"
    return report.broken


def report_of_file(file: Path) -> Report:
    try:
        return verify(FileSource(file), key=SIGNER.key)
    except Broken as error:
        return Report(broken=error)


def exported(path: Path) -> Path:
    file = path.with_suffix(".jsonl")
    with database(path) as connection, file.open("wb") as out:
        export(connection, out)
    return file


def test_what_nobody_touched_verifies_and_says_how_far_it_is_signed(path: Path) -> None:
    report = report_of(path)
    assert report.broken is None
    assert (report.first, report.last, report.signed_through) == (1, LAST, LAST)
    assert (report.calls, report.superseded, report.checkpoints) == (2 * CALLS, 0, CALLS // 7 + 1)
    assert report.keys == (SIGNER.key,)
    again = report_of(path, first=20, head=(report.last, report.hash))
    assert again.broken is None
    assert (again.first, again.hash) == (20, report.hash)


TAMPERED = ("agent", "token", "server", "method", "tool", "own", "params_bytes", "started", "session")


@pytest.mark.parametrize("column", TAMPERED)
@pytest.mark.parametrize("seq", [2, 31, LAST - 1])
def test_a_changed_row_is_named(path: Path, column: str, seq: int) -> None:
    with opened(path) as connection:
        connection.execute(f"UPDATE calls SET {column} = '7' WHERE id = ?", (call_of(seq),))
    found = broken(report_of(path))
    assert (found.what, found.seq, found.call) == ("row", seq - seq % 2, call_of(seq))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("state = 'failed'", "row"),
        ("kind = 'tool_error'", "row"),
        ("rule = 'x'", "row"),
        ("attempts = 2", "row"),
        ("duration_us = NULL", "row"),
        ("seq = NULL", "row"),
        ("seq = 5", "row"),
        ("result = '{}'", "payload"),
        ("result = NULL", "payload"),
        ("error = '{}'", "payload"),
        ("params = NULL, result = NULL", "payload"),
    ],
)
def test_a_changed_outcome_is_named(path: Path, change: str, what: str) -> None:
    with opened(path) as connection:
        connection.execute(f"UPDATE calls SET {change} WHERE id = ?", (call_of(31),))
    found = broken(report_of(path))
    assert (found.what, found.call) == (what, call_of(31))
    assert found.seq in (30, 31)


@pytest.mark.parametrize("seq", [2, 31, LAST - 1])
def test_a_deleted_call_is_named(path: Path, seq: int) -> None:
    with opened(path) as connection:
        connection.execute("DELETE FROM calls WHERE id = ?", (call_of(seq),))
    found = broken(report_of(path))
    assert (found.what, found.seq, found.call) == ("row", seq - seq % 2, call_of(seq))


@pytest.mark.parametrize("number", [None, 9, 10_000])
def test_a_call_that_was_slipped_in_is_named(path: Path, number: int | None) -> None:
    with opened(path) as connection:
        row = (*intent(999), *result(999), number)
        connection.execute(f"INSERT INTO calls VALUES ({', '.join('?' * len(row))})", row)
    found = broken(report_of(path))
    assert found.what == "row"
    assert found.call == (None if number is None else "call000999")


@pytest.mark.parametrize("column", ["at", "kind", "subject", "payload", "digest", "previous", "hash"])
@pytest.mark.parametrize("seq", [2, 31, LAST - 1])
def test_a_changed_entry_is_named(path: Path, column: str, seq: int) -> None:
    value = {"at": 7, "kind": "call.failed", "subject": "call000000x"}.get(column, b"\7" * 32)
    with opened(path) as connection:
        connection.execute(f"UPDATE audit SET {column} = ? WHERE seq = ?", (value, seq))
    found = broken(report_of(path))
    assert found.seq == seq
    assert found.what == ("row" if column == "payload" else "changed")


@pytest.mark.parametrize("body", ['{"agent":"you"}', None])
def test_a_changed_event_is_named(path: Path, body: str | None) -> None:
    with opened(path) as connection:
        connection.execute("UPDATE audit SET body = ? WHERE seq = ?", (body, LAST))
    found = broken(report_of(path))
    assert (found.what, found.seq) == ("changed", LAST)


@pytest.mark.parametrize("seq", [1, 2, 31, LAST - 1])
def test_a_missing_entry_is_named(path: Path, seq: int) -> None:
    with opened(path) as connection:
        connection.execute("DELETE FROM audit WHERE seq = ?", (seq,))
    found = broken(report_of(path))
    assert (found.what, found.seq) == ("missing", seq)


def test_an_end_that_was_cut_off_is_named(path: Path) -> None:
    head = report_of(path)
    with opened(path) as connection:
        connection.execute("DELETE FROM audit WHERE seq > 41")
        found = broken(report_of(path))
        assert (found.what, found.seq) == ("missing", 42)
        connection.execute("DELETE FROM checkpoints WHERE seq > 41")
        assert broken(report_of(path)).what == "row", "the calls are still there"
        connection.execute("DELETE FROM calls WHERE seq > 41")
    assert report_of(path).broken is None, "nothing here can show it, which the page says"
    found = broken(report_of(path, head=(head.last, head.hash)))
    assert (found.what, found.seq) == ("missing", 42)


@pytest.mark.parametrize(("one", "other"), [(2, 3), (30, 31), (9, 40)])
def test_entries_that_changed_places_are_named(path: Path, one: int, other: int) -> None:
    with opened(path) as connection:
        for seq, new in ((one, -1), (other, one), (-1, other)):
            connection.execute("UPDATE audit SET seq = ? WHERE seq = ?", (new, seq))
    found = broken(report_of(path))
    assert (found.what, found.seq) == ("reordered", one)
    assert f"stands at {other}" in found.message


def test_an_entry_whose_hash_was_made_anew_is_named(path: Path) -> None:
    with opened(path) as connection:
        connection.execute("UPDATE audit SET at = 7 WHERE seq = 31")
        hash_before = connection.execute("SELECT hash FROM audit WHERE seq = 32").fetchone()
        rechained(connection, 31)
        connection.execute("UPDATE audit SET hash = ? WHERE seq = 32", hash_before)
    assert broken(report_of(path)).seq == 32


def test_a_chain_that_was_made_anew_is_given_away_by_the_next_signature(path: Path) -> None:
    with opened(path) as connection:
        connection.execute("DELETE FROM calls WHERE id = ?", (call_of(20),))
        connection.execute("DELETE FROM audit WHERE seq IN (20, 21)")
        for table in ("audit", "calls"):
            connection.execute(f"UPDATE {table} SET seq = -seq WHERE seq > 21")
            connection.execute(f"UPDATE {table} SET seq = -seq - 2 WHERE seq < 0")
        rechained(connection, 20)
        signed = [seq for (seq,) in connection.execute("SELECT seq FROM checkpoints WHERE seq > 20")]
    found = broken(report_of(path))
    assert (found.what, found.seq) == ("checkpoint", signed[0])


@pytest.mark.parametrize("column", ["at", "hash", "signature", "key"])
def test_a_changed_checkpoint_is_named(path: Path, column: str) -> None:
    value = {"at": 99, "key": SIGNER.key.replace("0", "1")}.get(column, b"\7" * 32)
    with opened(path) as connection:
        connection.execute(f"UPDATE checkpoints SET {column} = ? WHERE seq = 29", (value,))
    found = broken(report_of(path))
    assert (found.what, found.seq) == ("checkpoint", 29)


def test_a_row_that_is_written_again_counts_as_its_last_entry_says(path: Path) -> None:
    connection = open_for_writing(path)
    for outcome in (Outcome("unknown", "crash"), Outcome("done", result="{}")):
        connection.execute("BEGIN")
        calls.write_rows(connection, [intent(3) + outcome])
        connection.execute("COMMIT")
    connection.close()
    report = report_of(path)
    assert report.broken is None
    assert (report.superseded, report.last, report.signed_through) == (2, LAST + 2, LAST)


def test_what_was_recorded_before_there_was_a_chain_is_known_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    made(path, 3)
    with opened(path) as connection:
        connection.execute("DELETE FROM audit")
        connection.execute("DELETE FROM checkpoints")
        connection.execute("UPDATE calls SET seq = NULL")
        audit.begin(connection)
        assert report_of(path).broken is None
        row = (*intent(999), *result(999), None)
        connection.execute(f"INSERT INTO calls VALUES ({', '.join('?' * len(row))})", row)
    assert "4 calls claim to be older" in broken(report_of(path)).message


# Exports


def test_an_export_verifies_without_the_database(path: Path) -> None:
    file = exported(path)
    path.unlink()
    report = report_of_file(file)
    assert report.broken is None
    assert (report.calls, report.last, report.signed_through) == (2 * CALLS, LAST, LAST)


def test_an_export_of_the_last_days_begins_later(path: Path) -> None:
    file = path.with_suffix(".jsonl")
    with database(path) as connection, file.open("wb") as out:
        assert export(connection, out, since=20_000) < LAST
    report = report_of_file(file)
    assert report.broken is None
    assert report.first > 30


Lines = list[dict[str, Any]]


def at(lines: Lines, seq: int) -> int:
    return next(place for place, line in enumerate(lines) if line.get("seq") == seq)


EDITS: dict[str, tuple[Callable[[Lines], object], str]] = {
    "row": (lambda lines: lines[at(lines, 31)]["row"].update(agent="you"), "row"),
    "entry": (lambda lines: lines[at(lines, 31)].update(at=1), "changed"),
    "payload": (lambda lines: lines[at(lines, 31)]["row"].update(result="[]"), "payload"),
    "no row": (lambda lines: lines[at(lines, 31)].pop("row"), "row"),
    "no entry": (lambda lines: lines.pop(at(lines, 31)), "missing"),
    "other place": (lambda lines: lines.insert(at(lines, 32), lines.pop(at(lines, 31))), "missing"),
    "twice": (lambda lines: lines.insert(at(lines, 40), lines[at(lines, 31)]), "reordered"),
    "no hash": (lambda lines: lines[at(lines, 31)].pop("hash"), "unreadable"),
    "odd row": (lambda lines: lines[at(lines, 31)].update(row={"agent": [1]}), "unreadable"),
    "odd number": (lambda lines: lines[at(lines, 31)].update(seq=1.5), "unreadable"),
    "newer": (lambda lines: lines[0].update(audit=2), "unreadable"),
    "odd head": (lambda lines: lines[0].update(first="1"), "unreadable"),
    "before": (lambda lines: lines[0].update(previous="11" * 32), "changed"),
    "signature": (lambda lines: lines[-1].update(signature="00" * 64), "checkpoint"),
    "no signature": (lambda lines: lines[-1].update(signature=None), "unreadable"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_changed_export_is_found(path: Path, edit: str) -> None:
    file = exported(path)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    EDITS[edit][0](lines)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert broken(report_of_file(file)).what == EDITS[edit][1]


@pytest.mark.parametrize(
    "data", [b"", b"x\n", b"[]\n", b'{"audit":1,"first":1,"previous":null}\n{"seq":', b"\xff\n"]
)
def test_what_is_no_export_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(data)
    assert broken(report_of_file(file)).what == "unreadable"


# Properties


def columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_no_random_edit_of_what_is_signed_goes_unnoticed(whole: Path, tmp_path: Path, seed: int) -> None:
    """Any one cell of the three tables, or any one row of calls and entries."""
    chance, path = random.Random(seed), Path(mkdtemp(dir=tmp_path)) / "hub.db"
    shutil.copy(whole, path)
    with opened(path) as connection:
        table = chance.choice(["calls", "calls", "audit", "audit", "checkpoints"])
        rows = [row for (row,) in connection.execute(f"SELECT rowid FROM {table}")]
        rowid = chance.choice(rows)
        before = connection.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
        if chance.random() < 0.2 and table != "checkpoints":
            connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))
        else:
            column = chance.choice(columns_of(connection, table))
            (old,) = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (rowid,)).fetchone()
            try:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (_other(old, chance), rowid)
                )
            except sqlite3.IntegrityError:
                return  # the database refused it
        after = connection.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
    assert (report_of(path).broken is not None) == (before != after)


def _other(old: object, chance: random.Random) -> object:
    if isinstance(old, bytes):
        place = chance.randrange(len(old))
        return old[:place] + bytes([old[place] ^ 1 << chance.randrange(8)]) + old[place + 1 :]
    if isinstance(old, int):
        return chance.choice([old + 1, old - 1, -old - 1, 0])
    if isinstance(old, str):
        return chance.choice([old + "x", old[1:], old.upper(), "done", ""])
    return chance.choice(["x", None, ""])


def test_what_is_hashed_is_the_text_of_rfc_8785() -> None:
    """Every character, as a value and, in ASCII, in a key; the referee is a library of its own."""
    for start in range(0, 0x110000, 0x4000):
        text = "".join(chr(code) for code in range(start, start + 0x4000) if not 0xD800 <= code < 0xE000)
        assert orjson.dumps([text]) == rfc8785.dumps([text])
    said = {chr(code) * n: n for code in range(32, 127) for n in (1, 2)} | {
        "n": None,
        "m": 2**53 - 1,
        "k": -1,
    }
    assert canonical(said) == rfc8785.dumps(said)
    row = [*intent(5), *result(5)]
    assert orjson.dumps(row) == rfc8785.dumps(row)
    assert len(row) == len(SHAPE.fields)


def test_a_long_chain_is_walked_in_seconds_and_bounded_memory(tmp_path: Path) -> None:
    path, count = tmp_path / "hub.db", 40_000
    made(path, 1)
    connection = open_for_writing(path)
    connection.execute("BEGIN")
    for start in range(10, count, 64):
        calls.write_rows(connection, [intent(number) + result(number) for number in range(start, start + 64)])
        audit.checkpoint(connection, SIGNER, 1)
    connection.execute("COMMIT")
    connection.close()
    began = time.process_time()
    assert report_of(path).broken is None
    assert time.process_time() - began < 20
    tracemalloc.start()
    with database(path) as connection:
        verify(DatabaseSource(connection, count // 2), key=SIGNER.key)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000
