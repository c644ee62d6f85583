"""How results reach a person or a script: data to stdout, everything else to stderr.

Tables and colour only on a terminal, tab-separated lines elsewhere, one document with `--json`.
What servers wrote (names, descriptions, results) is made harmless first: a terminal obeys control
characters, and people are misled by characters that turn the writing direction.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hub.failure import Failure

__all__ = [
    "Progress",
    "clean",
    "note",
    "print_done",
    "print_failure",
    "print_fields",
    "print_json",
    "print_lines",
    "print_list",
    "print_names",
    "print_table",
    "print_text",
    "progress",
]

_sequence = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]).*?(?:\x07|\x1b\\|\x9c|\Z)"  # OSC, DCS, with their text
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]",
    re.DOTALL,
)
_unseen = (
    "\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
)
_control = re.compile(f"[\x00-\x08\x0b-\x1f{_unseen}]")
_escaped = re.compile(f"[{_unseen}]")
_space = re.compile(r"\s+")


def clean(text: str, *, one_line: bool = False) -> str:
    """`text` without what a terminal would obey; line breaks and tabs stay unless `one_line`."""
    text = _control.sub("", _sequence.sub("", text.replace("\r\n", "\n")))
    return _space.sub(" ", text).strip() if one_line else text


def print_json(value: Any, *, indented: bool = False) -> None:
    """One document, indented on a terminal. Lossless: what is dangerous is written as `\\uXXXX`."""
    text = json.dumps(value, ensure_ascii=False, indent=2 if indented or sys.stdout.isatty() else None)
    _write(_escaped.sub(lambda found: json.dumps(found[0])[1:-1], text))


def print_text(text: str) -> None:
    """A server's own text: as it is into a file or pipe, harmless on a terminal."""
    _write(clean(text) if sys.stdout.isatty() else text)


def print_names(names: Sequence[str]) -> None:
    for name in names:
        _write(clean(name, one_line=True))


def print_lines(lines: Sequence[str]) -> None:
    """Lines whose spaces matter."""
    for line in lines:
        _write(clean(line))


def print_list(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str, *, as_json: bool, names: bool
) -> None:
    """A list in the form that was asked for: a document, the first column alone, or a table."""
    if as_json:
        print_json(rows)
    elif names:
        print_names([row[columns[0]] for row in rows])
    else:
        print_table(rows, columns, empty)


_BRIEF_LENGTH = 100
_SHORT_LENGTH = 80


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str, *, spare: Sequence[str] = ()
) -> None:
    """One row a line, under the columns' names.

    Args:
        columns: Keys of the rows; shown in capitals, `_` as a space.
        empty: What to say, on stderr, where there are none.
        spare: Columns that a narrow terminal goes without, the first one first.
    """
    if not rows:
        note(empty)
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if not sys.stdout.isatty():
        for line in [[column.replace("_", " ").upper() for column in columns], *cells]:
            _write("\t".join(line))
        return
    from hub.cli.tables import print_fitted

    if "description" in columns:
        at = list(columns).index("description")
        cells = [[*line[:at], _brief(line[at]), *line[at + 1 :]] for line in cells]
    print_fitted(columns, cells, spare)


def _brief(description: str) -> str:
    """The first sentence, cut where it is long: whole ones fill a terminal. `show` has all of it."""
    first = description.split(". ")[0].removesuffix(".")
    return first if len(first) <= _BRIEF_LENGTH else first[: _BRIEF_LENGTH - 1].rstrip() + "…"


def print_fields(fields: Mapping[str, Any]) -> None:
    """One thing, `key: value` a line, further lines of a value indented; what is empty is left out."""
    for key, value in fields.items():
        if value in (None, "", [], {}):
            continue
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            _write(f"{key}:")
            for item in value:
                _write(f"  {clean(item, one_line=True)}")
        elif isinstance(value, dict | list):
            _write_document(key, value)
        else:
            text = _cell(value) if isinstance(value, bool) else clean(str(value))
            # A line of a server's own must not look like another field.
            _write(f"{key}: {text}".replace("\n", "\n    "))


def _write_document(key: str, value: Any) -> None:
    """As JSON: on the same line what is short, what is not below it."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _SHORT_LENGTH:
        text = f" {text}"
    else:
        text = "\n  " + json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n  ")
    _write(f"{key}:" + _escaped.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def note(text: str) -> None:
    """Something beside the data, for whoever watches."""
    _say(clean(text) + "\n")


def print_done(done: Any, sentence: str, as_json: bool) -> None:
    """What came of something that was done: as a document, or in a sentence beside the data."""
    if as_json:
        print_json(done)
    else:
        note(sentence)


def print_failure(failure: Failure, *, as_json: bool) -> None:
    """One sentence with the fix; with `--json` as the last line of stderr."""
    if as_json:
        _say(json.dumps(failure.as_json()) + "\n")
        return
    note(f"hub: {failure.message}")
    if failure.hint:
        note(failure.hint)


class Progress:
    """What a running operation says, on one line of the terminal that is overwritten; else nothing."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False

    def __call__(self, sentence: str) -> None:
        if self._live:
            _say(f"\r\x1b[K{clean(sentence, one_line=True)[: _width() - 1]}")
            self._shown = True

    def clear(self) -> None:
        if self._shown:
            _say("\r\x1b[K")
            self._shown = False


@contextmanager
def progress() -> Iterator[Progress]:
    shown = Progress()
    try:
        yield shown
    finally:
        shown.clear()


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(_cell(item) for item in value) or "-"
    return clean(str(value), one_line=True)


def _write(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
    except UnicodeEncodeError:
        # A terminal or pipe that is not UTF-8 (LANG=C), or half a character from a server.
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _say(text: str) -> None:
    # In the order in which it was said, also where both go to one file. stderr escapes what it cannot encode.
    sys.stdout.flush()
    sys.stderr.write(text)
    sys.stderr.flush()


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
