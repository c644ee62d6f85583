"""`docs/threats.md` claims nothing that no test shows, and each threat has a test with its number."""

from __future__ import annotations

import re

from tests.sources import ROOT

PAGE = (ROOT / "docs" / "threats.md").read_text()
NAMED = re.compile(r"`(test_\w+)`")
THREATS = {2, 5, *range(8, 22), 24, 26, 27, 30, 31, 32}


def test_each_test_that_the_page_names_is_there() -> None:
    there = {
        name
        for file in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert set(NAMED.findall(PAGE)) - there == set()


def test_each_threat_has_a_row_that_names_a_test_with_its_number() -> None:
    rows = {int(found[1]): row for row in PAGE.splitlines() if (found := re.match(r"\| T(\d+)\. ", row))}
    assert rows.keys() == THREATS
    for number, row in rows.items():
        assert [name for name in NAMED.findall(row) if f"_t{number}_" in name], number


def test_each_limit_names_a_test() -> None:
    limits = re.split(r"^- ", PAGE.partition("## What the hub does not do")[2], flags=re.MULTILINE)[1:]
    assert len(limits) > 2
    assert [limit for limit in limits if not NAMED.search(limit)] == []
