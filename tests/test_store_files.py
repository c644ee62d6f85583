"""The files of the store: half-made ones that nobody mistakes for old ones, and none that stays behind."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from hub.home import Home
from hub.lock import is_held
from tests.commands import COMMAND, environment, hub
from tests.homes import Running, done, eventually, running, write

LOOKING = [["calls", "list"], ["audit", "verify"], ["doctor"]]
PATIENT = """
import sys
from hub import cli
from hub.store import connection
connection.BUSY_SECONDS = 30
sys.exit(cli.run(sys.argv[1:]))
"""
"""The hub, which waits for its database for as long as this takes on a busy machine."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write(tmp_path, "me", agent="me", may=["*"])
    return tmp_path


@pytest.mark.anyio
@pytest.mark.parametrize("arguments", LOOKING, ids=lambda words: words[0])
async def test_a_command_waits_for_a_first_hub_that_makes_its_database(
    home: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it was told that the database "is of an older version of the hub"."""
    database = Home(home).database
    database.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        with monkeypatch.context() as patched:
            patched.setattr("tests.homes.COMMAND", [sys.executable, "-c", PATIENT])
            serving = Running(home, "--port", "0")
        try:
            await eventually(lambda: is_held(Home(home)))
            looking = subprocess.Popen(  # noqa: ASYNC220
                [*COMMAND, "--home", str(home), *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
            )  # fmt: skip
            try:
                looking.wait(1.2)  # The hub cannot begin yet, so neither can this be done.
            except subprocess.TimeoutExpired:
                other.execute("ROLLBACK")
            out, err = looking.communicate(timeout=60)
            assert looking.returncode == 0, out + err
            assert serving.url
        finally:
            serving.end()


def test_a_database_that_nobody_finished_is_none_yet(home: Path) -> None:
    database = Home(home).database
    database.parent.mkdir(mode=0o700)
    database.touch(0o600)
    assert "no hub has run here yet" in hub(home, "calls", "list").err + hub(home, "audit", "verify").err


def test_an_orderly_stop_leaves_one_whole_file_of_the_database(home: Path) -> None:
    """Regression: what read it was closed after what wrote it, so all of it lay in the log beside it."""
    database = Home(home).database
    with running(home):
        done(home, "agents", "token", "me")
        assert done(home, "calls", "list", "--json").json == []
    assert sorted(path.name for path in database.parent.glob("hub.db*")) == ["hub.db", "hub.db.journal"]
    with closing(sqlite3.connect(f"file:{database}?immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT count(*) FROM tokens").fetchone()[0] >= 1


@pytest.mark.parametrize("arguments", LOOKING, ids=lambda words: words[0])
def test_a_command_where_no_hub_runs_leaves_no_file_beside_the_database(
    home: Path, arguments: list[str]
) -> None:
    """Regression: an empty log and its index stayed there."""
    database = Home(home).database
    with running(home):
        done(home, "agents", "token", "me")
    before = {path.name: path.read_bytes() for path in database.parent.glob("hub.db*")}
    hub(home, *arguments)
    assert {path.name: path.read_bytes() for path in database.parent.glob("hub.db*")} == before
    # As an older version has left them.
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as reading:
        reading.execute("SELECT count(*) FROM tokens").fetchone()
    assert database.with_name("hub.db-wal").exists()
    hub(home, *arguments)
    assert {path.name: path.read_bytes() for path in database.parent.glob("hub.db*")} == before


def test_what_a_killed_hub_left_in_the_log_stays_there_when_a_command_reads_it(home: Path) -> None:
    """`hub audit verify` says that nothing was changed."""
    database = Home(home).database
    with running(home) as it:
        done(home, "agents", "token", "me")
        assert it.end(signal.SIGKILL) == -signal.SIGKILL
    left = {name: database.with_name(name).read_bytes() for name in ("hub.db", "hub.db-wal")}
    assert left["hub.db-wal"]
    done(home, "audit", "verify")
    assert {name: database.with_name(name).read_bytes() for name in left} == left
