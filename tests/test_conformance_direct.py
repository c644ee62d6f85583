"""The official conformance suite against our own server, without the hub.

It shows that the server which stands behind the hub in the other tests is right in itself: what fails
there is then the hub's. Each test is one selection of the suite, a few seconds each.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import pytest

from tests.conformance import (
    SELECTIONS,
    Selection,
    Suite,
    run_suite,
    running_everything,
    suite_of,
    table,
)
from tests.conftest import Direct

pytestmark = [pytest.mark.anyio, pytest.mark.conformance]

KNOWN_FAILURES: dict[tuple[str, str], str] = {}
"""(scenario, check id) -> why our server cannot pass it. Empty: it passes everything."""

FEWEST_CHECKS = {
    "all 2025-03-26": 3,
    "all 2025-06-18": 56,
    "all 2025-11-25": 84,
    "all 2026-07-28": 152,
    "required 2025-11-25": 84,
    "required 2026-07-28": 196,
    "all": 276,
}
"""How many checks pass at this version of the suite: what silently does not run is a failure too."""


@pytest.fixture
async def everything() -> AsyncIterator[str]:
    async with running_everything() as url:
        yield url


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda selection: selection.name)
async def test_the_everything_server_passes_the_suite(direct: Direct, selection: Selection) -> None:
    """Ours: a check may fail only with a reason in `KNOWN_FAILURES`, and none may go missing."""
    outcome = await direct.outcome(selection)
    sys.stdout.write(table([outcome]))
    unexplained = [check for check in outcome.failures if (check.scenario, check.id) not in KNOWN_FAILURES]
    assert not unexplained, table([outcome])
    assert outcome.count("SUCCESS") >= FEWEST_CHECKS[selection.name]


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_the_suite_finds_the_same_through_the_header_proxy(
    suite: Suite, everything: str, revision: str
) -> None:
    """The proxy that carries a token must not cost a check: streams, resumption, Host included."""
    selection = suite_of(revision)
    outcome = await run_suite(suite, selection, everything, headers={"Authorization": "Bearer x"})
    assert not outcome.failures, table([outcome])
    assert outcome.count("SUCCESS") >= FEWEST_CHECKS[selection.name]


async def test_a_server_that_is_not_there_fails_the_suite(suite: Suite) -> None:
    """The reading of the results is not blind: nothing listens at this port."""
    outcome = await run_suite(suite, suite_of("2025-11-25"), "http://localhost:9/mcp")
    assert outcome.exit_code != 0
    assert len(outcome.failures) > 20
