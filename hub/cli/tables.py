"""A table on a terminal, fitted to its width: what matters least gives way first.

Where all of it has room, all of it is there. On a narrower terminal, in this order: moments become
short, long cells are folded, columns in which nothing stands go, then those that the list can spare.
What stands first in a row is what other commands take: it stays whole on the narrowest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from hub.env import SystemEnv

__all__ = ["fitted", "print_fitted"]

_GAP = 3
_LEAST_DESCRIPTION = 20
_FOLDED = 20
_ANY = 1_000_000

_moment = re.compile(r"(\d{4})-(\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z").fullmatch


def print_fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str]) -> None:
    """Print `rows`, whose cells are plain texts of one line, under the columns' names.

    Args:
        spare: Columns that may be left out where there is no room, the first one first.
    """
    # Here, not above: it costs 70 ms, and a script never sees it.
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(no_color=bool(os.environ.get("NO_COLOR")), highlight=False)
    today = datetime.fromtimestamp(SystemEnv().now(), UTC).date().isoformat()
    columns, rows = fitted(columns, rows, spare, console.width, today)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    widths = _widths([columns, *rows])
    has_room = _together(widths) <= console.width
    for number, column in enumerate(columns):
        least = widths[number] if number == 0 or has_room else None
        table.add_column(head(column), no_wrap=number == 0, min_width=least, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def head(column: str) -> str:
    return column.replace("_", " ").upper()


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], width: int, today: str
) -> tuple[list[str], list[list[str]]]:
    """The columns and rows to show on a terminal of `width` characters.

    Args:
        today: The date, as in `2026-11-21`: a moment of this day is shown by its time (UTC) alone.
    """
    table = [list(columns), *map(list, rows)]
    if _together(_widths(table, _ANY)) > width:
        table[1:] = [[_short(cell, today) for cell in row] for row in table[1:]]
    empty = [name for name in columns[1:] if all(row[columns.index(name)] == "-" for row in rows)]
    for name in (*empty, *spare):
        if name in table[0] and _together(_widths(table)) > width:
            at = table[0].index(name)
            table = [row[:at] + row[at + 1 :] for row in table]
    if "description" in table[0]:
        at = table[0].index("description")
        others = _widths([row[:at] + row[at + 1 :] for row in table], _ANY)
        room = max(_LEAST_DESCRIPTION, width - _together(others) - _GAP)
        table[1:] = [[*row[:at], _cut(row[at], room), *row[at + 1 :]] for row in table[1:]]
    return table[0], table[1:]


def _widths(table: Sequence[Sequence[str]], most: int = _FOLDED) -> list[int]:
    """How wide each column is to be, where all but the first may be folded to `most`."""
    first, *others = (max(map(len, cells)) for cells in zip(*table, strict=True))
    return [first, *(min(each, most) for each in others)]


def _together(widths: Sequence[int]) -> int:
    """With the spaces between columns and at both ends."""
    return sum(widths) + _GAP * (len(widths) - 1) + 2


def _short(cell: str, today: str) -> str:
    """A moment as one reads it on the same day; anything else as it is."""
    found = _moment(cell)
    if found is None:
        return cell
    if cell.startswith(today):
        return found[3]
    return f"{found[2]} {found[3][:5]}" if cell[:4] == today[:4] else cell[:10]


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1].rstrip() + "…"
