"""Packages as the real command installs them: one that cannot be had costs only itself, and says why."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.commands import DESK
from tests.homes import INSTALL_SECONDS, done, need_node, running, write


def server(home: Path, name: str) -> Any:
    return done(home, "servers", "show", name, "--json").json


def test_a_package_that_cannot_be_installed_costs_only_itself_and_says_why(tmp_path: Path) -> None:
    """A version that does not exist of a package that does: a free name could be somebody's tomorrow."""
    home = tmp_path / "home"
    write(home, "bad", server="bad", connect={"package": {"pypi": "iniconfig", "version": "99.99.99"}})
    write(home, "desk", server="desk", connect={"command": DESK})
    write(home, "me", agent="me", may=["*"])
    with running(home) as it:
        it.until("desk: ready")
        reason = it.until(r"bad: failed: (.*)")
        assert reason.startswith("iniconfig 99.99.99 did not install (exit status 1). ")
        assert "99.99.99" in reason.partition("). ")[2]
        shown = server(home, "bad")
        # It is tried again from time to time: it may be at it right now.
        assert shown["state"] in ("failed", "starting")
        assert shown["note"].startswith(reason.rstrip(".")) or shown["state"] == "starting"
        assert done(home, "tools", "call", "desk__typed", "text=tea", "--json").json["structuredContent"] == {
            "text": "tea"
        }
        names = [tool["name"] for tool in done(home, "tools", "list", "--json").json]
        assert {name.partition("__")[0] for name in names} == {"desk", "hub"}


def test_an_npm_package_that_cannot_be_installed_says_so(tmp_path: Path) -> None:
    need_node()
    home = tmp_path / "home"
    package = {"npm": "@modelcontextprotocol/server-everything", "version": "99.99.99"}
    write(home, "bad", server="bad", connect={"package": package})
    with running(home) as it:
        reason = it.until(r"bad: failed: (.*)", INSTALL_SECONDS)
    assert "did not install" in reason and "99.99.99" in reason.partition("). ")[2]


def test_a_server_that_needs_an_older_sdk_is_installed_with_it_once_and_works(tmp_path: Path) -> None:
    """`with: ["mcp<2"]`: this one dies on the SDK of today. The command itself installs it here."""
    home, file = tmp_path / "home", tmp_path / "tea.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE tea (name TEXT)")
        connection.execute("INSERT INTO tea VALUES ('oolong')")
    package = {
        "pypi": "mcp-server-sqlite",
        "version": "2025.4.25",
        "with": ["mcp<2"],
        "args": ["--db-path", str(file)],
    }
    write(home, "sqlite", server="sqlite", connect={"package": package})
    write(home, "me", agent="me", may=["sqlite__*"])
    query = ["tools", "call", "sqlite__read_query", "query=SELECT name FROM tea", "--json"]
    with running(home) as it:
        assert it.until(r"sqlite: (ready, 6 tools, 2025-11-25)", INSTALL_SECONDS)
        said = done(home, *query).json["content"][0]["text"]
        assert "oolong" in said
    # Moved, it is still what was installed: nothing is installed again, and no path in it counts.
    (folder,) = (path for path in (home / ".hub" / "data" / "packages").iterdir() if path.is_dir())
    marked = (folder / "installed.json").stat().st_mtime_ns
    moved = home.rename(tmp_path / "moved")
    with running(moved) as it:
        it.until("sqlite: starts when it is used")
        assert done(moved, *query).json["content"][0]["text"] == said
    (folder,) = (path for path in (moved / ".hub" / "data" / "packages").iterdir() if path.is_dir())
    assert (folder / "installed.json").stat().st_mtime_ns == marked
