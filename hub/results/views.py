"""What an agent gets to read of a long result: as much of a place as fits a budget, and how to go on.

Every answer is one JSON text. It says where it is from (`at`), and where there is more, from where to go on
(`next`). What does not fit at all is described instead (`shape`). Never over the budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from connectors.jsonrpc import encode
from hub.model import Json
from hub.results.document import Document, NoSuchPlace, Place, TooLong, count_of, kind_of
from hub.results.pointers import joined, split
from hub.results.shape import cut, shape

__all__ = ["Query", "view"]

_BYTES_A_TOKEN: Final = 4
_ROOM_FOR_THE_REST: Final = 160
"""Bytes of an answer that are not what was asked for."""
_CELL_BYTES_MAX: Final = 400
_HIT_BYTES_MAX: Final = 200
_LOOKED_AT_MAX: Final = 200
_HITS_MAX: Final = 10_000
_SEARCH_LENGTH_MAX: Final = 256
_COLUMNS_MAX: Final = 64
"""Each of those costs time for every item, or every character, that is looked at."""


@dataclass(frozen=True, slots=True)
class Query:
    at: str = ""
    """A JSON Pointer."""
    start: int | None = None
    """The first item, member, character or hit."""
    count: int | None = None
    search: str | None = None
    columns: tuple[str, ...] = ()
    """Of an array of objects: keys, or pointers into each."""


def view(document: Document, query: Query, tokens_max: int) -> Json:
    """
    Raises:
        NoSuchPlace: nothing lies there, or what does has no such columns.
    """
    _check(query)
    steps, place = document.find(query.at)
    room = _Room(tokens_max * _BYTES_A_TOKEN - _ROOM_FOR_THE_REST - len(encode(joined(steps))))
    start = query.start or 0
    if query.search:
        return {"at": joined(steps), **_hits(document, query, steps, place, start, room)}
    kind = kind_of(place)
    if query.columns:
        if kind != "array":
            raise NoSuchPlace(f"Columns are of an array; at {joined(steps)!r} is a {kind}.")
        return {"at": joined(steps), **_rows(document, query, steps, place, start, room)}
    if query.start is None and query.count is None:
        try:
            value = document.value(place, room.left)
            if room.takes(value):
                return {"at": joined(steps), "value": value}
        except TooLong:
            pass
    if kind == "array":
        found = _page(document, document.items(place, start), query.count, room)
        if found or start >= (count_of(place) or 0) or query.count == 0:
            return {"at": joined(steps), **_range("items", found, start, place)}
        return _described(document, (*steps, start), next(document.items(place, start)), room)
    if kind in ("string", "text"):
        return {"at": joined(steps), **_characters(document, place, start, query.count, room)}
    if kind == "object" and (query.start is not None or query.count is not None):
        pairs = _page(document, document.members(place, start), query.count, room)
        members = dict(pairs)
        if members or start >= (count_of(place) or 0) or query.count == 0:
            return {"at": joined(steps), **_range("members", members, start, place)}
        key, value = next(document.members(place, start))
        return _described(document, (*steps, key), value, room)
    return _described(document, steps, place, room)


def _check(query: Query) -> None:
    """Whether it can be answered in a moment. Raises `NoSuchPlace`."""
    if query.search and len(query.search) > _SEARCH_LENGTH_MAX:
        raise NoSuchPlace(f"Search for at most {_SEARCH_LENGTH_MAX} characters.")
    if query.search and (query.start or 0) > _HITS_MAX:
        raise NoSuchPlace(f"A search finds at most {_HITS_MAX} places: search below one of them, with `at`.")
    if len(query.columns) > _COLUMNS_MAX:
        raise NoSuchPlace(f"Ask for at most {_COLUMNS_MAX} columns.")


class _Room:
    """How many bytes are left."""

    def __init__(self, left: int) -> None:
        self.left = max(0, left)

    def takes(self, value: Any) -> bool:
        size = len(encode(value)) + 1
        if size > self.left:
            return False
        self.left -= size
        return True


def _page(document: Document, places: Iterable[Place], count: int | None, room: _Room) -> list[Any]:
    """As many items, or pairs of key and value, as there is room for."""
    found: list[Any] = []
    for each in islice(places, count):
        try:
            if isinstance(each, tuple):
                value: Any = (each[0], document.value(each[1], room.left))
            else:
                value = document.value(each, room.left)
        except TooLong:
            break
        if not room.takes(value):
            break
        found.append(value)
    return found


def _range(name: str, found: Any, start: int, place: Place) -> Json:
    total = count_of(place) or 0
    answer: Json = {"from": start, "total": total, name: found}
    if start + len(found) < total:
        answer["next"] = start + len(found)
    return answer


def _characters(document: Document, place: Place, start: int, count: int | None, room: _Room) -> Json:
    total = count_of(place) or 0
    end = min(total, start + (room.left if count is None else min(count, room.left)))
    text = document.characters(place, start, end)
    while len(encode(text)) > room.left:
        text = text[: len(text) * room.left // (len(encode(text)) + 1)]
    answer: Json = {"from": start, "total": total, "text": text}
    if start + len(text) < total:
        answer["next"] = start + len(text)
    return answer


def _described(document: Document, steps: tuple[str | int, ...], place: Place, room: _Room) -> Json:
    """Instead of a value that is too long to be given."""
    return {"at": joined(steps), "shape": cut(shape(document, steps, place, room.left * 3 // 4), room.left)}


def _hits(
    document: Document,
    query: Query,
    steps: tuple[str | int, ...],
    place: Place,
    start: int,
    room: _Room,
) -> Json:
    assert query.search is not None
    found: list[Json] = []
    more = False
    count = _LOOKED_AT_MAX if query.count is None else query.count
    for hit in islice(document.search(query.search, steps, place), start, None):
        said: Json = {"at": joined(hit.steps)}
        if hit.start is not None:
            said["from"] = hit.start
        said["key" if hit.is_key else "text"] = cut(hit.words, _HIT_BYTES_MAX)
        more = len(found) >= count or not room.takes(said)
        if more:
            break
        found.append(said)
    answer: Json = {"search": query.search, "from": start, "hits": found}
    if more and found:
        answer["next"] = start + len(found)
    return answer


def _rows(
    document: Document,
    query: Query,
    steps: tuple[str | int, ...],
    place: Place,
    start: int,
    room: _Room,
) -> Json:
    columns = [split(name) if name.startswith("/") else [name] for name in query.columns]
    room.takes(list(query.columns))
    _check_columns(document, query.columns, columns, steps, place)
    rows: list[list[Any]] = []
    for item in islice(document.items(place, start), query.count):
        row = [_cell(document, item, column) for column in columns]
        if not room.takes(row):
            break
        rows.append(row)
    return {"columns": query.columns, **_range("rows", rows, start, place)}


def _check_columns(
    document: Document,
    names: tuple[str, ...],
    columns: list[list[str]],
    steps: tuple[str | int, ...],
    place: Place,
) -> None:
    """Raises `NoSuchPlace` for a column that none of the first items has."""
    some = list(islice(document.items(place), _LOOKED_AT_MAX))
    for name, column in zip(names, columns, strict=True):
        if some and all(_cell(document, item, column, _ABSENT) is _ABSENT for item in some):
            keys = dict.fromkeys(
                key for item in some if kind_of(item) == "object" for key in islice(document.keys(item), 50)
            )
            shown = ", ".join(list(keys)[:24])
            has = f"they have {cut(shown, 600)}" if keys else f"they are each a {kind_of(some[0])}"
            raise NoSuchPlace(
                f"No item of {joined(steps)!r} has {cut(name, 100)!r}, of the first {len(some)}: {has}."
            )


_ABSENT: Final = object()


def _cell(document: Document, item: Place, column: list[str], missing: Any = None) -> Any:
    if item is None:
        return missing
    try:
        _, place = document.find(joined(column), item)
    except NoSuchPlace:
        return missing
    try:
        value = document.value(place, _CELL_BYTES_MAX)
        if len(encode(value)) <= _CELL_BYTES_MAX:
            return value
    except TooLong:
        pass
    if kind_of(place) in ("string", "text"):
        return document.characters(place, 0, _CELL_BYTES_MAX // 4) + "…"
    return f"({kind_of(place)} of {count_of(place)})"
