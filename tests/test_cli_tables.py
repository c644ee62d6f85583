"""Tables on terminals: what a list shows where there is little room, and how one thing is shown."""

from __future__ import annotations

from typing import Any

from hub.cli.output import print_fields
from hub.cli.tables import fitted

COLUMNS = ["id", "agent", "name", "kind", "started", "tool"]
ROW = ["01m800k6e7dchf6zxstrqxv703", "me", "-", "http", "2026-11-21T21:35:58.923Z", "time__convert_time"]
TODAY = "2026-11-21"


def shown(width: int, *rows: list[str], today: str = TODAY) -> dict[str, list[str]]:
    columns, cells = fitted(COLUMNS, rows or (ROW,), ["kind"], width, today)
    return {column: [row[at] for row in cells] for at, column in enumerate(columns)}


def test_a_wide_terminal_gets_all_of_it() -> None:
    assert shown(120) == {column: [cell] for column, cell in zip(COLUMNS, ROW, strict=True)}


def test_on_a_narrower_one_moments_are_short_before_anything_is_left_out() -> None:
    assert shown(90) == {**shown(120), "started": ["21:35:58"]}


def test_a_moment_of_another_day_or_year_says_which() -> None:
    assert shown(90, today="2026-11-22")["started"] == ["11-21 21:35"]
    assert shown(90, today="2027-01-01")["started"] == ["2026-11-21"]


def test_then_empty_columns_go_and_then_what_the_list_can_spare() -> None:
    assert list(shown(80)) == ["id", "agent", "kind", "started", "tool"]
    assert list(shown(70)) == ["id", "agent", "started", "tool"]


def test_what_other_commands_take_and_what_nobody_spared_stays_on_the_narrowest() -> None:
    assert list(shown(10)) == ["id", "agent", "started", "tool"]
    assert shown(10)["id"] == [ROW[0]]


def test_a_column_stays_where_one_row_has_something_in_it() -> None:
    assert "name" in shown(20, ROW, [*ROW[:2], "work", *ROW[3:]])


def test_a_description_takes_the_room_that_is_left_on_one_line() -> None:
    columns, (row,) = fitted(["name", "description"], [["echo", "Says it again. " * 9]], [], 40, TODAY)
    assert (columns, row[1]) == (["name", "description"], "Says it again. Says it again.…")
    assert len(row[0]) + 3 + len(row[1]) + 2 <= 40


def test_one_thing_is_shown_in_words_and_short_parts_of_it_on_one_line(capsys: Any) -> None:
    print_fields({"ready": True, "held": False, "servers": {"ready": 5}, "long": {"words": ["tea"] * 30}})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == ["ready: yes", "held: no", 'servers: {"ready": 5}', "long:", "  {"]
