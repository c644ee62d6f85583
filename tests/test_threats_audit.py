"""Threats T30, T31, T32: what is done to the record is found, and what it cannot hold is not done."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.audit_room import made, opened, report_of
from tests.commands import hub
from tests.homes import done
from tests.outside import WIRES, Agent, Outside, outside

# 10,000 records, of 5,000 calls: each is an intent and an outcome. One before them begins the chain.
CALLS = 5_000
LAST = 2 * CALLS + 2
PLACES = {"first": 2, "early": 3, "under a signature": 9_999, "in the middle": 5_001, "last": LAST - 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("audit") / "hub.db", CALLS)


def change(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("UPDATE audit SET subject = 'call999999' WHERE seq = ?", (seq,))


def delete(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("DELETE FROM audit WHERE seq = ?", (seq,))


def insert(connection: sqlite3.Connection, seq: int) -> None:
    """A copy of a record at its own place; all that follow move on."""
    _move(connection, seq, 1)
    connection.execute(
        "INSERT INTO audit SELECT ?1, at, kind, subject, body, payload, digest, previous, hash FROM audit "
        "WHERE seq = ?1 + 1",
        (seq,),
    )


def reorder(connection: sqlite3.Connection, seq: int) -> None:
    """A record and the one before it change places."""
    for was, now in ((seq - 1, -1), (seq, seq - 1), (-1, seq)):
        connection.execute("UPDATE audit SET seq = ? WHERE seq = ?", (now, was))


def truncate(connection: sqlite3.Connection, seq: int) -> None:
    connection.execute("DELETE FROM audit WHERE seq >= ?", (seq,))


def _move(connection: sqlite3.Connection, seq: int, by: int) -> None:
    connection.execute("UPDATE audit SET seq = -seq WHERE seq >= ?", (seq,))
    connection.execute("UPDATE audit SET seq = -seq + ? WHERE seq < 0", (by,))


# How far before the place the first bad record is.
DEEDS: dict[Callable[[sqlite3.Connection, int], None], int] = {
    change: 0, delete: 0, insert: -1, reorder: 1, truncate: 0,
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: str(deed.__name__))
def test_t30_of_ten_thousand_records_the_first_bad_one_is_named(
    whole: Path, tmp_path: Path, deed: Callable[[sqlite3.Connection, int], None], place: str
) -> None:
    path, seq = Path(shutil.copy(whole, tmp_path / "hub.db")), PLACES[place]
    with opened(path) as connection:
        deed(connection, seq)
    broken = report_of(path).broken
    assert broken is not None
    assert broken.seq == seq - DEEDS[deed], broken


def test_t30_an_end_that_was_cut_off_with_all_that_tells_of_it_is_known_by_the_head_that_was_noted(
    whole: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(whole, tmp_path / "hub.db"))
    noted = report_of(path)
    assert (noted.broken, noted.last) == (None, LAST)
    with opened(path) as connection:
        for table in ("audit", "checkpoints", "calls"):
            connection.execute(f"DELETE FROM {table} WHERE seq > ?", (LAST - 501,))
    assert report_of(path).broken is None, "nothing that is left can show it, as docs/audit.md says"
    broken = report_of(path, head=(noted.last, noted.hash)).broken
    assert broken is not None and broken.seq == LAST - 500


AGENT = {"me": {"may": ["*"]}}


def ready(out: Outside) -> int:
    return out.http.get(out.hub.url.removesuffix("/mcp") + "/ready").status_code


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)  # in another process


def write(agent: Agent, key: str) -> bool:
    """Make a call that may change something; whether it was made."""
    said = agent.ask("tools/call", {"name": "w__write", "arguments": {"path": key, "filler": "x" * 20_000}})
    if "error" in said:
        assert said["error"]["code"] == -32603 and "record" in said["error"]["message"], said
        assert "sqlite" not in said["error"]["message"].lower()
    return "result" in said


@contextmanager
def a_lock(out: Outside) -> Iterator[None]:
    """Another program holds the database for longer than the hub waits for it."""
    with closing(sqlite3.connect(out.home / ".hub" / "hub.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def a_full_disk(out: Outside) -> Iterator[None]:
    """No file of the hub can grow."""
    size = max(
        file.stat().st_size for file in (out.home / ".hub").glob("hub.db*") if "journal" not in file.name
    )
    was = resource.prlimit(out.hub.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    yield
    resource.prlimit(out.hub.pid, resource.RLIMIT_FSIZE, was)


@contextmanager
def a_read_only_disk(out: Outside) -> Iterator[None]:
    """What a file system that was made read-only answers to a process whose files are open there.

    (A real one can be made so only once they are closed, or by a fault of its disk.)
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    calls = "pwrite64,ftruncate,fallocate,fsync,fdatasync"
    argv = [strace, "-f", "-p", str(out.hub.pid), "-o", "/dev/null", "-e", f"trace={calls}"]
    with subprocess.Popen([*argv, "-e", f"inject={calls}:error=EROFS"], stderr=subprocess.PIPE) as tracer:
        try:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            if b"attached" not in said:
                pytest.skip(f"needs to trace a process: {said.decode()}")
            yield
        finally:
            tracer.terminate()


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a disk (root, Linux)")
def test_t31_over_a_read_only_disk_no_hub_starts_and_it_says_why(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=True)
    try:
        home = disk / "home"
        home.mkdir()
        done(home, "init")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        said = hub(home, "serve", "--port", "0")
        assert said.code == 1 and "Read-only file system" in said.err, said.err
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert done(home, "tools", "call", "hub__memory", "action=search").out == "Nothing found.\n"
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("trouble", [a_lock, a_full_disk, a_read_only_disk])
def test_t31_while_nothing_can_be_recorded_nothing_is_done_and_then_service_returns(
    tmp_path: Path, trouble: Callable[[Outside], AbstractContextManager[None]]
) -> None:
    with outside(tmp_path, AGENT) as out, out.agent("me") as agent:
        out.forget()
        assert write(agent, "before") and ready(out) == 200
        number = 0
        with trouble(out):
            # What the journal holds is recorded: only when that is full or the database refuses, no more is.
            while write(agent, f"during-{number}"):
                number += 1
                assert number < 2_000
            assert ready(out) == 503
            refused = [f"refused-{each}" for each in range(20)]
            assert not any(write(agent, key) for key in refused)
        until(lambda: ready(out) == 200)
        assert write(agent, "after")
        done = [each["params"]["arguments"]["path"] for each in out.received("tools/call")]
    assert done == ["before", *(f"during-{each}" for each in range(number)), "after"]
    with closing(sqlite3.connect(out.home / ".hub" / "hub.db")) as record:
        rows = record.execute("SELECT params ->> '$.arguments.path', state FROM calls").fetchall()
    # The store may have lost none of what was done, and what was refused was not intended.
    assert [path for path, state in rows if state == "done"] == done
    assert report_of_hub(out.home) == 0


def report_of_hub(home: Path) -> int:
    return hub(home, "audit", "verify").code


def test_t31_a_damaged_record_stops_what_would_be_recorded_in_it_and_is_said(tmp_path: Path) -> None:
    with outside(tmp_path, AGENT) as out, out.agent("me") as agent:
        for number in range(50):
            assert write(agent, str(number))
        assert hub(out.home, "calls", "list", "--limit", "1").code == 0
    database = out.home / ".hub" / "hub.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(database.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : (page + 1) * 4096] = random.Random(page).randbytes(4096)
    database.write_bytes(data)
    (out.folder / "received").write_text("")
    said = hub(out.home, "serve", "--port", "0")
    assert said.code == 1
    assert "damaged" in said.err, said.err
    assert out.received("tools/call") == []


NASTY = (
    "w__x\nERROR hub: all is lost", "w__x\r\n\r\nHTTP/1.1 200 OK", "w__\x1b[2J\x1b[31mred",
    "w__\x1b]0;title\x07", "w__\u202egnp",
    "w__\u200bzero", "w__\U000e0041tag", "w__\x00nul", "w__\x9b31m", "w__a\u2028b",
    'w__","state":"done', "w__%s%n%d", "w__{0.__class__}",
)  # fmt: skip


def test_t32_one_call_is_one_record_whatever_stands_in_its_names_and_arguments(tmp_path: Path) -> None:
    with outside(tmp_path, AGENT) as out:
        for wire in WIRES:
            with out.agent("me", wire) as agent:
                for name in NASTY:
                    assert "error" in agent.ask("tools/call", {"name": name, "arguments": {}})
                    known = agent.ask("tools/call", {"name": "w__fail", "arguments": {name: name}})
                    assert known["result"]["isError"]
        count = len(WIRES) * len(NASTY)
        rows = done(out.home, "calls", "list", "--limit", "1000", "--json").json
        assert sorted(row["tool"] for row in rows) == sorted([*NASTY * len(WIRES), *["w__fail"] * count])
        shown = done(out.home, "calls", "list", "--limit", "1000", "--quiet").out
        assert len(shown.splitlines()) == 2 * count
        for text in (done(out.home, "calls", "list", "--limit", "1000").out, out.hub.said):
            assert_harmless(text)
        for row in rows[-2:]:
            assert_harmless(done(out.home, "calls", "show", row["id"]).out)
        done(out.home, "audit", "export", "--out", str(tmp_path / "out.jsonl"))
        exported = (tmp_path / "out.jsonl").read_bytes()
        lines = [json.loads(line) for line in exported.split(b"\n") if line]
        kinds = [line["kind"] for line in lines if line.get("kind", "").startswith("call.")]
        assert (
            kinds.count("call.refused") == count
            and kinds.count("call.done") + kinds.count("call.failed") == count
        )
        assert not any(byte < 0x20 and byte != 0x0A for byte in exported)
        said = out.hub.said
    assert "all is lost" not in [line[:20] for line in said.splitlines()]
    assert not any(line.startswith("ERROR hub: all is lost") for line in said.splitlines())


def assert_harmless(text: str) -> None:
    bad = {
        character
        for character in text
        if unicodedata.category(character) in ("Cc", "Cf") and character not in "\n\t"
    }
    assert not bad, bad
