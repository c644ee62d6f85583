"""An agent run is cut in the middle, and another process goes on with what the hub tells it of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from hub.results.count import tokens
from tests.commands import SECONDS, environment
from tests.homes import token
from tests.ledger_room import furnish, lines, started
from tests.sources import ROOT


def run(url: str, credential: str, which: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.scripted_agent", url, credential, which]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment())


def test_an_agent_that_was_cut_off_goes_on_where_it_was(tmp_path: Path) -> None:
    home = furnish(tmp_path)
    with started(home) as hub:
        hub.until("ledger: ready")
        credential = token(home)
        with run(hub.url, credential, "first") as first:
            assert first.stdout is not None and first.stdout.readline() == "cut\n"
            first.kill()
            assert first.wait(SECONDS) == -signal.SIGKILL
        assert lines(tmp_path / "receipts") == ["a"]
        assert hub.end(signal.SIGKILL) == -signal.SIGKILL
    with started(home) as hub:
        brief, end = finish(hub.url, credential)
    assert "Append a, b, c" in brief and "b is next" in brief and tokens(brief) <= 300
    assert end == "all are there"
    assert lines(tmp_path / "receipts") == ["a", "b", "c"]


def finish(url: str, credential: str) -> tuple[str, str]:
    """The brief that the second run was given, and what it said at its end."""
    with run(url, credential, "second") as second:
        said, _ = second.communicate(timeout=4 * SECONDS)  # what it imports alone takes seconds
    assert second.returncode == 0
    brief, end = said.splitlines()
    return json.loads(brief), end
