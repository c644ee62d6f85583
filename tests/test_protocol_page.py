"""`docs/protocol.md` claims nothing that no test shows."""

from __future__ import annotations

import re

from tests.sources import ROOT

PAGE = (ROOT / "docs" / "protocol.md").read_text()
NAMED = re.compile(r"`(test_\w+)`")


def test_each_test_that_the_page_names_is_there() -> None:
    named = set(NAMED.findall(PAGE))
    there = {
        name
        for file in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert len(named) > 50
    assert named - there == set()


def test_each_feature_and_each_limit_names_a_test() -> None:
    table = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(table) > 15
    assert [row for row in table if not NAMED.search(row)] == []
    limits = re.split(r"^- ", PAGE.partition("## What the hub cannot do")[2], flags=re.MULTILINE)[1:]
    assert len(limits) > 4
    assert [limit for limit in limits if not NAMED.search(limit)] == []
