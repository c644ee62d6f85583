"""The page that shows the fault table is what was measured, and has every row that there is a script for.

`python -m tests.faults --smoke` (CI runs it) tries all of it in some minutes, `make faults` is the long tier.
"""

from __future__ import annotations

from tests.faults import results
from tests.faults.table import TABLE
from tests.sources import ROOT


def test_the_page_shows_what_was_measured() -> None:
    page = results.PAGE.read_text("utf-8")
    assert results.rendered(page, results.load()) == page, "run `python -m tests.faults --write`"


def test_each_script_is_a_row_of_the_table_in_its_order() -> None:
    scripts = {path.stem.split("_")[0].upper() for path in (ROOT / "tests" / "faults").glob("[a-z][0-9]*.py")}
    ids = [row.id for row in TABLE]
    assert {f"{id[0]}{int(id[1:]):02}" for id in ids} == scripts
    assert len(set(ids)) == len(ids)
