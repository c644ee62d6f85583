"""What the outside does to the real command: a folder that cannot be written, a database that cannot be used,
access that ends while it is in use. One sentence with the fix, and nothing changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import httpx
import pytest

from tests.commands import COMMAND, DESK, SECONDS, Done, environment, hub
from tests.homes import Running, done, running, write
from tests.house import INITIALIZE, headers_of, message, modern

pytestmark = pytest.mark.anyio

NOBODY = 65534
STREAMS = {"accept": "application/json, text/event-stream"}


def furnish(home: Path) -> Path:
    write(home, "desk", server="desk", connect={"command": DESK})
    write(home, "guest", agent="guest", may=["desk__typed"])
    return home


def used(home: Path) -> Path:
    """The database of a home in which a hub has run."""
    with running(furnish(home)) as it:
        it.until("desk: ready")
    return home / ".hub" / "hub.db"


def contents(home: Path) -> dict[str, bytes]:
    """Every file but the lock, which names who last held it, and what SQLite leaves beside a file it read."""
    return {
        str(path.relative_to(home)): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.name not in ("lock", "hub.db-shm", "hub.db-wal")
    }


def said(refused: Done) -> str:
    """The one sentence of a `hub serve` that could not begin."""
    assert refused.code != 0 and refused.out == ""
    assert len(refused.err.strip().splitlines()) == 1, refused.err
    return refused.err


def test_a_database_of_a_newer_version_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    database = used(tmp_path / "home")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO _sqlite_migrations VALUES (999, 'hub', 'm999_future', 'later')")
    before = contents(tmp_path / "home")
    sentence = said(hub(tmp_path / "home", "serve", "--port", "0"))
    assert "newer version of the hub" in sentence and "Use that version" in sentence
    assert contents(tmp_path / "home") == before
    # It is as it was: for the version that wrote it, it works.
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM _sqlite_migrations WHERE id = 999")
    with running(tmp_path / "home") as it:
        it.until("desk: starts when it is used")


def test_a_database_that_another_program_has_locked_is_refused_with_the_fix(tmp_path: Path) -> None:
    database = used(tmp_path / "home")
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        sentence = said(hub(tmp_path / "home", "serve", "--port", "0"))
        other.execute("ROLLBACK")
    assert "another program holds its lock" in sentence and "End the program" in sentence
    with running(tmp_path / "home") as it:
        it.until("desk: starts when it is used")


def as_somebody(home: Path, *arguments: str) -> Done:
    """`hub ARGUMENTS`, as a user whom permissions hold for."""
    before: list[str] = []
    if os.getuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("needs another user than root, or setpriv")
        before = [setpriv, "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        given = environment(HOME="/nonexistent", PYTHONDONTWRITEBYTECODE="1")
        tried = subprocess.run(
            [*before, sys.executable, "-c", "import hub.cli"], capture_output=True, env=given, timeout=SECONDS
        )
        if tried.returncode != 0:
            pytest.skip("needs another user than root who may read this folder")
    ended = subprocess.run(
        [*before, *COMMAND, "--home", str(home), *arguments],
        capture_output=True, text=True, timeout=SECONDS,
        env=environment(HOME="/nonexistent", PYTHONDONTWRITEBYTECODE="1"),
    )  # fmt: skip
    assert "Traceback" not in ended.stderr, ended.stderr
    return Done(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["serve", "--stdio", "--agent", "guest"]])
def test_a_folder_that_may_not_be_written_is_said_and_nothing_is_made(
    command: list[str],
) -> None:
    # Not below pytest's own folder, which is for its owner only.
    base = Path(tempfile.mkdtemp(prefix="hub-tests-"))
    home = furnish(base / "home")
    try:
        for path in (base, home, home / "manifests"):
            path.chmod(0o555)
        before = contents(home)
        sentence = said(as_somebody(home, *command))
        assert str(home) in sentence and "cannot be written" in sentence and "--home" in sentence
        assert contents(home) == before and not (home / ".hub").exists()
    finally:
        for path in (base, home, home / "manifests"):
            path.chmod(0o755)
        shutil.rmtree(base)


@asynccontextmanager
async def agent(home: Path) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A client with a new token of `guest`, and that token's id."""
    issued = done(home, "agents", "token", "guest", "--json").json["token"]
    id = done(home, "agents", "token", "guest", "--list", "--json").json[0]["id"]
    headers = {**STREAMS, "authorization": f"Bearer {issued}"}
    async with httpx.AsyncClient(headers=headers, timeout=SECONDS, trust_env=False) as http:
        yield http, id


async def status(hub: Running, http: httpx.AsyncClient) -> int:
    body = modern("tools/list")
    return (await http.post(hub.url, json=body, headers=headers_of(body))).status_code


@pytest.mark.parametrize("how", ["--revoke", "--rotate", "remove"])
async def test_access_that_ends_closes_open_streams_and_is_refused_at_once(tmp_path: Path, how: str) -> None:
    home = furnish(tmp_path / "home")
    with running(home) as it:
        it.until("desk: ready")
        with anyio.fail_after(SECONDS):
            async with agent(home) as (http, id):
                assert await status(it, http) == 200
                handshake = await http.post(it.url, json=message("initialize", INITIALIZE))
                session = {
                    "mcp-session-id": handshake.headers["mcp-session-id"],
                    "mcp-protocol-version": "2025-11-25",
                }
                body = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
                async with (
                    http.stream("POST", it.url, json=body, headers=headers_of(body)) as listening,
                    http.stream("GET", it.url, headers=session) as older,
                ):
                    assert (listening.status_code, older.status_code) == (200, 200)
                    notes, comments = listening.aiter_lines(), older.aiter_lines()
                    while "acknowledged" not in await anext(notes):
                        pass
                    await anext(comments)
                    end = {
                        "--revoke": ["agents", "token", "guest", "--revoke", id],
                        "--rotate": ["agents", "token", "guest", "--rotate"],
                        "remove": ["agents", "remove", "guest"],
                    }[how]
                    done(home, *end)
                    assert await status(it, http) == 401
                    # Both end, with nothing more said.
                    assert not [line async for line in notes if line.startswith("data")]
                    assert not [line async for line in comments if line.startswith("data: {")]
