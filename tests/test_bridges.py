"""A desktop client starts one `hub serve --stdio` for each window: one hub, one set of servers, one store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import COMMAND, SECONDS, environment
from tests.homes import done, running, write
from tests.house import modern
from tests.sources import ROOT

LEDGER = [sys.executable, str(ROOT / "tests" / "servers" / "ledger.py")]


class Window:
    """One started `hub serve --stdio`, and the client's end of its pipes."""

    def __init__(self, home: Path, agent: str) -> None:
        self.agent = agent
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--stdio", "--agent", agent, "--home", str(home)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(),
        )  # fmt: skip
        self._id = 0

    def ask(self, method: str, **params: Any) -> Any:
        """The result of one request in the modern era."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self._id += 1
        self.process.stdin.write(json.dumps(modern(method, params, self._id)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        answer = json.loads(line)
        assert answer["id"] == self._id
        return answer.get("result", answer)

    def tools(self) -> list[str]:
        return [tool["name"] for tool in self.ask("tools/list")["tools"]]

    def call(self, tool: str, key: str) -> str:
        result = self.ask("tools/call", name=f"ledger__{tool}", arguments={"key": key})
        said: str = result["content"][0]["text"]
        return said

    def leave(self) -> int:
        """Close its stdin, as a client does; the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(SECONDS)

    def ended(self) -> tuple[str, str, int]:
        """What else it wrote to stdout and stderr, and its exit status, while its stdin is open."""
        assert self.process.stdout is not None and self.process.stderr is not None
        return self.process.stdout.read(), self.process.stderr.read(), self.process.wait(SECONDS)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the server `ledger` and three agents that may use different tools of it."""
    home = tmp_path / "home"
    write(home, "ledger", server="ledger", trust="annotations", connect={"command": [*LEDGER, str(tmp_path)]})
    write(home, "anna", agent="anna", may=["ledger__look"], never=["hub__*"])
    write(home, "ben", agent="ben", may=["ledger__append"], never=["hub__*"])
    write(home, "cleo", agent="cleo", may=["ledger__*"], never=["ledger__tick", "hub__*"])
    return home


def starts(home: Path) -> list[str]:
    """Process ids of the server, a line for each start."""
    file = home.parent / "starts"
    return file.read_text().split() if file.exists() else []


@contextmanager
def windows(home: Path, *agents: str) -> Iterator[list[Window]]:
    """Windows of these agents, started at the same moment."""
    with ExitStack() as stack:
        opened = []
        for agent in agents:
            opened.append(Window(home, agent))
            stack.callback(opened[-1].close)
        yield opened


def use_each(home: Path, anna: Window, ben: Window, cleo: Window) -> None:
    """Each lists and uses its own tools, of one server, and the one record says who did what."""
    assert anna.tools() == ["ledger__look"]
    assert ben.tools() == ["ledger__append"]
    assert cleo.tools() == ["ledger__look", "ledger__append"]
    assert anna.call("look", "a") == "a"
    assert ben.call("append", "b") == "b"
    assert cleo.call("append", "c") == "c"
    refused = anna.ask("tools/call", name="ledger__append", arguments={"key": "no"})
    assert refused["error"]["code"] == -32602
    assert (home.parent / "receipts").read_text().split() == ["b", "c"]
    calls = done(home, "calls", "list", "--json").json
    assert [(call["agent"], call["tool"], call["state"]) for call in reversed(calls)] == [
        ("anna", "ledger__look", "done"),
        ("ben", "ledger__append", "done"),
        ("cleo", "ledger__append", "done"),
        ("anna", "ledger__append", "refused"),
    ]
    assert len({call["session"] for call in calls}) == 3


def holder(home: Path) -> int:
    """The process id of the hub that holds the home."""
    return int((home / ".hub" / "lock").read_text())


def test_beside_a_running_hub_three_windows_share_its_server_and_its_record(home: Path) -> None:
    with running(home) as hub:
        hub.until("ledger: ready")
        with windows(home, "anna", "ben", "cleo") as opened:
            use_each(home, *opened)
            assert holder(home) == hub.pid
            assert [window.leave() for window in opened] == [0, 0, 0]
        assert len(starts(home)) == 1


def test_with_no_hub_one_of_three_becomes_it_and_when_it_ends_the_others_are_told(home: Path) -> None:
    with windows(home, "anna", "ben", "cleo") as opened:
        use_each(home, *opened)
        assert len(starts(home)) == 1
        (hub,) = [window for window in opened if window.process.pid == holder(home)]
        others = [window for window in opened if window is not hub]
        assert hub.leave() == 0
        for window in others:
            out, err, code = window.ended()
            assert (out, code) == ("", 1)
            assert "The hub closed the connection: it has ended" in err
            assert "Connect again" in err
        with pytest.raises(ProcessLookupError):
            os.kill(int(starts(home)[0]), 0)
        # As the client does what it was told, there is a hub again, and the record goes on.
        with windows(home, *(window.agent for window in others)) as again:
            assert {len(window.tools()) for window in again} <= {1, 2}
            assert holder(home) in {window.process.pid for window in again}
        assert len(done(home, "calls", "list", "--json").json) == 4


def test_a_window_opened_while_the_hub_ends_is_served(home: Path) -> None:
    """Whatever moment it comes at: by the one that ends, which is then said; or as the next hub."""
    with windows(home, "cleo") as (last,):
        assert last.call("look", "0") == "0"
        for number in range(1, 4):
            with ExitStack() as stack:
                following = Window(home, "cleo")
                stack.callback(following.close)
                assert last.process.stdin is not None
                last.process.stdin.close()
                assert following.call("look", str(number)) == str(number)
                assert last.process.wait(SECONDS) == 0
                last.close()
                last = following
                stack.pop_all()
        last.close()


def test_rules_that_change_count_at_once_in_an_open_window_which_stays_open(home: Path) -> None:
    with running(home) as hub:
        hub.until("ledger: ready")
        with windows(home, "anna") as (window,):
            assert window.tools() == ["ledger__look"]
            write(home, "anna", agent="anna", may=["ledger__append"], never=["hub__*"])
            while (offered := window.tools()) == ["ledger__look"]:
                assert window.process.poll() is None
            assert offered == ["ledger__append"]
            done(home, "agents", "remove", "anna")
            assert window.ended()[2] == 1
