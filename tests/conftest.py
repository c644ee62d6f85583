"""What every test may use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from hypothesis import settings

from hub import cli
from hub.store.db import Store
from tests.clocks import Clock
from tests.commands import Done
from tests.conformance import Outcome, Selection, Suite, find_suite, run_suite, running_everything
from tests.house import House, house, in_time
from tests.oauth_room import Authority, Guarded, authority, guarded
from tests.sources import ROOT

# Neither a machine that is busy with something else nor chance must turn a property red: the same cases each
# time. `--hypothesis-profile=chance` looks for others.
settings.register_profile("hub", deadline=None, derandomize=True)
settings.register_profile("chance", deadline=None, derandomize=False)
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("both_loops") and "anyio_backend" in metafunc.fixturenames:
        loops = {name: ("asyncio", {"use_uvloop": name == "uvloop"}) for name in ("uvloop", "asyncio")}
        metafunc.parametrize("anyio_backend", loops.values(), ids=loops)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database is, or will be."""
    return tmp_path / "hub.db"


@pytest.fixture
async def store(path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with Store.open(path, clock) as store:
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
async def tea() -> AsyncIterator[tuple[Authority, Guarded]]:
    """An authorization server, and a server that wants its tokens."""
    with anyio.fail_after(60):
        async with authority() as by, guarded(by) as server:
            yield by, server


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


@pytest.fixture(scope="module")
def everything() -> Iterator[str]:
    """The URL of our own server of both eras, which does all that there is to do."""
    command = [sys.executable, "-m", "tests.servers.everything", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


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
