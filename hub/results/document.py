"""A long result that can be read a place at a time: by pointer, by range, by search.

Knows the outline and how to get at a stretch of the text, and reads no more of it than it needs: a group
of some kilobytes for one item. For a worker thread: a search goes through all of the text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, Final

from connectors.jsonrpc import Budget, encode, parse
from hub.counted import counted
from hub.nearest import nearest
from hub.results.outline import Group, Node
from hub.results.pointers import joined, split

__all__ = ["Document", "Hit", "NoSuchPlace", "Text", "TooLong", "count_of", "is_long", "kind_of"]

_BUDGET: Final = Budget(1 << 30, 1 << 30)
_WINDOW: Final = 65_536
_AROUND: Final = 60
"""Characters of context on each side of what was searched for."""
_NAMED_MAX: Final = 12
_LOOKED_AT_MAX: Final = 1000

Fetch = Callable[[int, int], str]
"""The text from one character to another."""


class NoSuchPlace(Exception):
    """`str()` says what is there instead: the nearest place that exists."""


class TooLong(Exception):
    """What lies at a place is more than was asked for at most."""


@dataclass(frozen=True, slots=True)
class Text:
    """A result that is no JSON: all of it."""

    count: int
    """Characters."""


@dataclass(frozen=True, slots=True)
class Hit:
    steps: tuple[str | int, ...]
    start: int | None
    """Of a text: at which of its characters."""
    words: str
    """What was found, with some of what is around it."""
    is_key: bool = False


Place = Any
"""A `Node` or a `Text`, of which only parts are read; else the value itself, which is short."""


def is_long(place: Place) -> bool:
    return isinstance(place, Node | Text)


def kind_of(place: Place) -> str:
    """Its type, as JSON Schema calls it; `text` of a result that is no JSON."""
    if isinstance(place, Node):
        return place.kind
    if isinstance(place, Text):
        return "text"
    for type_, name in _TYPES:
        if isinstance(place, type_):
            return name
    return "null" if place is None else "number"


_TYPES: Final = ((bool, "boolean"), (str, "string"), (dict, "object"), (list, "array"), (int, "integer"))


def count_of(place: Place) -> int | None:
    """Items, members or characters; `None` of what has none."""
    if isinstance(place, Node | Text):
        return place.count
    return len(place) if isinstance(place, str | list | dict) else None


class Document:
    def __init__(self, root: Node | None, length: int, fetch: Fetch) -> None:
        """
        Args:
            root: Of its outline; `None` of a text that is no JSON.
            length: Of the text, in characters.
        """
        self.root: Node | Text = Text(length) if root is None else root
        self.length = length
        self._fetch = fetch

    def find(self, pointer: str, within: Place = None) -> tuple[tuple[str | int, ...], Place]:
        """What lies at a place, and the way there.

        Args:
            within: Where the pointer begins; left out: at the whole.

        Raises:
            NoSuchPlace: nothing does.
        """
        place: Place = self.root if within is None else within
        steps: list[str | int] = []
        for step in split(pointer):
            place, taken = self._step(place, step, steps)
            steps.append(taken)
        return tuple(steps), place

    def _step(self, place: Place, step: str, before: list[str | int]) -> tuple[Place, str | int]:
        kind = kind_of(place)
        if kind == "array":
            position = int(step) if step.isascii() and step.isdecimal() and len(step) < 12 else -1
            count = count_of(place) or 0
            if 0 <= position < count and str(position) == step:
                return (place[position] if isinstance(place, list) else self._item(place, position)), position
            has = f"an array of {counted(count, 'item')}" + (f", 0 to {count - 1}" if count else "")
            raise NoSuchPlace(_nothing([*before, step], before, has))
        if kind == "object":
            found = place.get(step, _MISSING) if isinstance(place, dict) else self._member(place, step)
            if found is not _MISSING:
                return found, step
            keys = list(islice(self.keys(place), _LOOKED_AT_MAX))
            has = "an empty object" if not keys else f"an object with {_named(keys)}"
            near = nearest(step, keys)
            raise NoSuchPlace(_nothing([*before, step], before, has, near))
        has = f"{kind}: nothing lies below that"
        raise NoSuchPlace(_nothing([*before, step], before, has))

    # Children

    def items(self, place: Place, start: int = 0) -> Iterator[Place]:
        """Of an array, from a position on."""
        if isinstance(place, list):
            yield from islice(place, start, None)
            return
        for group in place.groups[self._group_of(place, start) :]:
            if group.child is not None:
                yield group.child
            else:
                yield from self._values(group, "[]")[max(0, start - group.first) :]

    def members(self, place: Place, start: int = 0) -> Iterator[tuple[str, Place]]:
        """Of an object, from a position on."""
        if isinstance(place, dict):
            yield from islice(place.items(), start, None)
            return
        for group in place.groups[self._group_of(place, start) :]:
            if group.child is not None:
                yield group.key or "", group.child
            else:
                yield from list(self._values(group, "{}").items())[max(0, start - group.first) :]

    def keys(self, place: Place) -> Iterator[str]:
        return (key for key, _ in self.members(place))

    def characters(self, place: Place, start: int, end: int) -> str:
        """Of a string or a text."""
        if isinstance(place, str):
            return place[start:end]
        if isinstance(place, Text):
            return self._fetch(start, min(end, place.count))
        found = []
        for group in place.groups[self._group_of(place, start) :]:
            if group.first >= end:
                break
            piece: str = self._values(group, '""')
            found.append(piece[max(0, start - group.first) : end - group.first])
        return "".join(found)

    def value(self, place: Place, most: int) -> Any:
        """All that lies there.

        Raises:
            TooLong: it is more than `most` characters of JSON.
        """
        if not is_long(place):
            return place
        if isinstance(place, Text):
            if place.count > most:
                raise TooLong
            return self._fetch(0, place.count)
        if place.kind == "string":
            if place.count > most:
                raise TooLong
            return self.characters(place, 0, place.count)
        if place.groups and place.groups[-1].end - place.groups[0].start > most:
            raise TooLong
        if place.kind == "array":
            return [self.value(each, most) for each in self.items(place)]
        return {key: self.value(each, most) for key, each in self.members(place)}

    def _item(self, node: Node, position: int) -> Place:
        return next(self.items(node, position))

    def _member(self, node: Node, key: str) -> Place:
        for group in node.groups:
            if group.child is not None:
                if group.key == key:
                    return group.child
                continue
            values = self._values(group, "{}")
            if key in values:
                return values[key]
        return _MISSING

    def _group_of(self, node: Node, position: int) -> int:
        return max(0, bisect_right(node.groups, position, key=_FIRST) - 1)

    def _values(self, group: Group, brackets: str) -> Any:
        text = self._fetch(group.start, group.end)
        return parse(f"{brackets[0]}{text}{brackets[1]}".encode(), _BUDGET)

    # Search

    def search(self, words: str, steps: tuple[str | int, ...], place: Place) -> Iterator[Hit]:
        """Where texts, numbers and keys at or below a place hold `words`, upper and lower case alike."""
        wanted = words.lower()
        if isinstance(place, Text) or (isinstance(place, Node) and place.kind == "string"):
            yield from self._in_long_text(wanted, steps, place)
        elif not isinstance(place, Node):
            yield from _within(wanted, steps, place)
        elif place.kind == "array":
            for group in place.groups:
                if group.child is not None:
                    yield from self.search(words, (*steps, group.first), group.child)
                elif self._may_hold(group, wanted):
                    for position, each in enumerate(self._values(group, "[]"), group.first):
                        yield from _within(wanted, (*steps, position), each)
        else:
            for group in place.groups:
                if group.child is not None:
                    assert group.key is not None
                    if wanted in group.key.lower():
                        yield Hit((*steps, group.key), None, group.key, is_key=True)
                    yield from self.search(words, (*steps, group.key), group.child)
                elif self._may_hold(group, wanted):
                    yield from _within(wanted, steps, self._values(group, "{}"))

    def _may_hold(self, group: Group, wanted: str) -> bool:
        text = self._fetch(group.start, group.end)
        # What may be written with escapes cannot be told without reading it.
        hidden = "\\" in text and (not _plain(wanted) or _escaped(text) is not None)
        return hidden or wanted in text.lower()

    def _in_long_text(self, wanted: str, steps: tuple[str | int, ...], place: Place) -> Iterator[Hit]:
        overlap = len(wanted) - 1
        for start in range(0, place.count, _WINDOW):
            window = self.characters(place, start, start + _WINDOW + overlap)
            for at in _places(wanted, window, _WINDOW):
                words = self.characters(
                    place, max(0, start + at - _AROUND), start + at + len(wanted) + _AROUND
                )
                yield Hit(steps, start + at, words)


_plain = re.compile(r"[ !#-.0-[\]-~]*").fullmatch
_escaped = re.compile(r"\\u00[2-7]").search
_MISSING: Final = object()
_FIRST: Final = attrgetter("first")


def _within(wanted: str, steps: tuple[str | int, ...], value: Any) -> Iterator[Hit]:
    if isinstance(value, dict):
        for key, each in value.items():
            if wanted in key.lower():
                yield Hit((*steps, key), None, key, is_key=True)
            yield from _within(wanted, (*steps, key), each)
    elif isinstance(value, list):
        for position, each in enumerate(value):
            yield from _within(wanted, (*steps, position), each)
    elif isinstance(value, str):
        at = value.lower().find(wanted)
        if at >= 0:
            yield Hit(steps, at, value[max(0, at - _AROUND) : at + len(wanted) + _AROUND])
    elif value is not None and not isinstance(value, bool):
        text = encode(value).decode()
        if wanted in text.lower():
            yield Hit(steps, None, text)


def _places(wanted: str, text: str, before: int) -> Iterator[int]:
    """One a line at most: whoever reads on sees the others."""
    low = text.lower()
    at = low.find(wanted)
    while 0 <= at < before:
        yield at
        line_end = low.find("\n", at)
        at = low.find(wanted, max(line_end, at + len(wanted), at + 1) if line_end >= 0 else at + len(wanted))


def _nothing(asked: list[str | int], before: list[str | int], has: str, near: str | None = None) -> str:
    where = joined(before)
    what = f"the nearest place that exists is {where!r}" if where else 'the whole ("")'
    meant = f" Did you mean {joined([*before, near])!r}?" if near is not None else ""
    return f"There is nothing at {joined(asked)!r}; {what}, {has}.{meant}"


def _named(keys: list[str]) -> str:
    shown = ", ".join(keys[:_NAMED_MAX])[:300]
    return f"the keys {shown}" + (", …" if len(keys) > _NAMED_MAX else "")
