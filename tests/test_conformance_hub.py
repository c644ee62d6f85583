"""The official conformance suite through the hub: not one check fewer than without it.

Our own server stands behind a real `hub serve`, with its names as they are (`names: bare`); an agent that
may use everything comes in with its token, which a proxy adds to each request of the suite.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import (
    REPOSITORY,
    SELECTIONS,
    Outcome,
    Selection,
    Suite,
    run_suite,
    running_everything,
    suite_of,
    table,
)
from tests.conftest import Direct
from tests.homes import running, token, write

pytestmark = [pytest.mark.anyio, pytest.mark.conformance]

STDIO = {"command": [sys.executable, "-m", "tests.servers.everything", "--stdio"]}
NOT_OVER_STDIO = {
    "server-sse-polling": "its tool closes the HTTP stream that it is called on; a pipe has none to close"
}
"""Scenario -> why it needs a server over HTTP."""


@asynccontextmanager
async def through(folder: Path, connect: dict[str, Any]) -> AsyncIterator[tuple[str, str]]:
    """The URL of a hub with our server behind it, and a token for it."""
    write(folder, "all", agent="all", may=["*"], never=["hub__*"])
    write(
        folder, "everything", server="everything", connect=connect, names="bare", results="whole",
        cwd=str(REPOSITORY), start="eager",
    )  # fmt: skip
    with running(folder) as hub:
        hub.until("everything: ready")
        yield hub.url.replace("127.0.0.1", "localhost"), token(folder, "all")


async def examine(suite: Suite, selection: Selection, folder: Path, connect: dict[str, Any]) -> Outcome:
    async with through(folder, connect) as (url, credential):
        return await run_suite(suite, selection, url, headers={"Authorization": f"Bearer {credential}"})


def report(direct: Outcome, hub: Outcome) -> str:
    """Both tables, and what was lost between them."""
    lost = "\n".join(
        f"    {scenario}: {check} ({count})" for (scenario, check), count in direct.lost(hub).items()
    )
    return f"direct\n{table([direct])}through the hub\n{table([hub])}lost\n{lost or '    nothing'}\n"


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda selection: selection.name)
async def test_nothing_is_lost_through_the_hub(
    suite: Suite, direct: Direct, selection: Selection, tmp_path: Path
) -> None:
    """Ours: what passes without the hub passes through it, as often."""
    alone = await direct.outcome(selection)
    async with running_everything() as url:
        behind = await examine(suite, selection, tmp_path, {"url": url})
    sys.stdout.write(report(alone, behind))
    assert not alone.lost(behind), report(alone, behind)


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_nothing_is_lost_with_the_server_behind_a_pipe(
    suite: Suite, direct: Direct, revision: str, tmp_path: Path
) -> None:
    """A process over stdio speaks one era; agents of both get what a server over HTTP gives them."""
    selection = suite_of(revision)
    alone = await direct.outcome(selection)
    behind = await examine(suite, selection, tmp_path, STDIO)
    sys.stdout.write(report(alone, behind))
    lost = {check: count for check, count in alone.lost(behind).items() if check[0] not in NOT_OVER_STDIO}
    assert not lost, report(alone, behind)
