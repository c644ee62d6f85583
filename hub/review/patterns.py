"""What a pattern lets through beyond what it looks like: of regular expressions, and of globs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from hub.policy import matches

__all__ = ["alternatives", "any_character", "begins", "covers", "ends", "is_open_word", "literal_start"]

_RUN: Final = "\ue000"
_ONE: Final = "\ue001"
_SPECIAL: Final = frozenset(".^$|?*+()[]{}")

_dot_in_host = re.compile(r"(?<=[A-Za-z0-9])(?<!\\)\.(?=[A-Za-z])").search


def covers(wide: str, narrow: str) -> bool:
    """Whether the glob `wide` matches all that the glob `narrow` does. True only where that is sure."""
    return all(
        matches(wide, narrow.replace("*", _RUN * length).replace("?", _ONE)) for length in (0, 1, 2, 7)
    )


def alternatives(pattern: str) -> list[str]:
    """The parts between the `|` that stand in no group; those of the group, where all of it is one."""
    parts, start = [], 0
    for at, character, depth in _walk(pattern):
        if character == "|" and depth == 0:
            parts.append(pattern[start:at])
            start = at + 1
    parts.append(pattern[start:])
    if len(parts) == 1:
        found = re.match(r"(\^?)\((?:\?:)?", pattern)
        if found is not None and _closes(pattern, found.end(1)) == len(pattern) - 1:
            inner = alternatives(pattern[found.end() : -1])
            return [f"{found[1]}{each}" for each in inner]
    return parts


def begins(part: str) -> bool:
    """Whether an alternative says how a text begins."""
    return re.match(r"\(*(\?:)?\^", part) is not None


def ends(part: str) -> bool:
    """Whether an alternative says how a text ends, in some of its own alternatives at least."""
    return re.search(r"(?<!\\)\$\)*$", part) is not None


def is_open_word(part: str) -> bool:
    """Whether it ends in the middle of what may be a longer word: `^/srv/reports`."""
    found = re.search(r"(\\?)([A-Za-z0-9_])$", part)
    # A class such as \w, and the name of a property, is no letter.
    return found is not None and not found[1]


def any_character(pattern: str) -> str | None:
    """Where an address has a `.` that stands for any character: that part of it."""
    for found in re.finditer(r"://[^/?#]*", pattern):
        if _dot_in_host(found[0]) is not None:
            return found[0]
    return None


def literal_start(part: str) -> str:
    """The text that an alternative begins with, as far as it is one: of `^/srv/a\\.b/[a-z]`, `/srv/a.b/`."""
    text, rest = "", part.removeprefix("^")
    while rest:
        if rest[0] == "\\" and len(rest) > 1 and not rest[1].isalnum():
            text, rest = text + rest[1], rest[2:]
        elif rest[0] in _SPECIAL or rest[0] == "\\":
            break
        else:
            text, rest = text + rest[0], rest[1:]
    # What may be repeated, or left out, is not sure to be there.
    return text[:-1] if rest[:1] in ("?", "*", "{") and rest[:1] else text


def _walk(pattern: str) -> Iterator[tuple[int, str, int]]:
    """Each character that is itself in no class and not escaped, and how many groups are open before it."""
    depth, at, in_class = 0, 0, False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            at += 2
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        else:
            if character == ")":
                depth -= 1
            yield at, character, depth
            if character == "(":
                depth += 1
        at += 1


def _closes(pattern: str, start: int) -> int | None:
    """Where the group that is opened at `start` ends."""
    opened = False
    for at, character, depth in _walk(pattern):
        if at == start and character == "(":
            opened = True
        elif opened and character == ")" and depth == 0:
            return at
    return None
