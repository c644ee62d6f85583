"""The fault table: a part of its smoke tier, and the page that shows the whole.

`python -m tests.faults --smoke` runs all of it in some minutes, `make faults` the long tier.
"""

from __future__ import annotations

import sys

import pytest

from tests.faults import results
from tests.faults.__main__ import tried
from tests.faults.figures import Row, Scale
from tests.faults.places import HUB
from tests.faults.table import TABLE

QUICK = ("R2", "R5", "R7", "R8", "R11", "R13", "F1")
"""Those that take a few seconds; the others belong to the smoke tier alone."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc, which only Linux has")
@pytest.mark.anyio
@pytest.mark.parametrize("row", [row for row in TABLE if row.id in QUICK], ids=lambda row: row.id)
async def test_what_is_promised_holds(row: Row) -> None:
    found, _ = await tried(row, HUB, Scale(smoke=True))
    assert found.broken == [], found.said


def test_the_page_shows_what_was_measured() -> None:
    page = results.PAGE.read_text("utf-8")
    assert results.rendered(page, results.load()) == page, "run `python -m tests.faults --write`"
