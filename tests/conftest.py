"""What every test may use."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

from tests.conformance import Outcome, Selection, Suite, find_suite, run_suite, running_everything

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
def anyio_backend() -> str:
    """The hub runs on asyncio (uvloop where there is one); trio is not supported."""
    return "asyncio"


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
