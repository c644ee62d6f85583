"""What every test may use."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import settings

from hub import cli
from hub.store.db import Store
from tests.clocks import Clock
from tests.commands import Done
from tests.conformance import Outcome, Selection, Suite, find_suite, run_suite, running_everything
from tests.house import House, house, in_time

# A machine that is busy with something else must not turn a property red.
settings.register_profile("hub", deadline=None)
settings.load_profile("hub")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests ran for a shorter time than they could have."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "shortened":
                terminalreporter.write_line(f"{report.nodeid}: shortened to {value}")


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The hub runs on asyncio; on uvloop where a module is marked so. Trio is not supported."""
    return "asyncio", {"use_uvloop": request.node.get_closest_marker("uvloop") is not None}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "hub.db", clock) as store:
        yield store


@pytest.fixture
async def hub(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """The hub's server, with a function behind it."""
    in_time(request)
    async with house(tmp_path) as it:
        yield it


@pytest.fixture
async def http(hub: House) -> AsyncIterator[httpx.AsyncClient]:
    """An agent of that hub."""
    async with hub.http() as client:
        yield client


@pytest.fixture
def hub_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """`hub ARGUMENTS --home HOME` in this process, which spares its start."""
    monkeypatch.delenv("HUB_HOME", raising=False)

    def run(home: Path, *arguments: str) -> Done:
        cut = arguments.index("--") if "--" in arguments else len(arguments)
        code = cli.run([*arguments[:cut], "--home", str(home), *arguments[cut:]])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


class Direct:
    """What the conformance suite finds at our own server without a hub, each selection once a session."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._outcomes: dict[str, Outcome] = {}

    async def outcome(self, selection: Selection) -> Outcome:
        if selection.name not in self._outcomes:
            async with running_everything() as url:
                self._outcomes[selection.name] = await run_suite(self._suite, selection, url)
        return self._outcomes[selection.name]


@pytest.fixture(scope="session")
def suite() -> Suite:
    """The installed conformance suite. Without npm there is none: skipped on a desk, a failure in CI."""
    if shutil.which("npm") is None and not os.environ.get("CI"):
        pytest.skip("npm was not found on PATH")
    return find_suite()


@pytest.fixture(scope="session")
def direct(suite: Suite) -> Direct:
    return Direct(suite)
