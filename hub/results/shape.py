"""What a long result looks like, in as few words as are allowed: types, counts, keys and first items.

    /items: array of 312500: {id: integer, name: string, owner?: {login: string}, tags: string[]}
    /total: 312500
    First of /items: {"id":1,"name":"tea"}

The types are a sketch of its schema, found by looking at some of it: `?` marks a key that not all have.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from connectors.jsonrpc import encode
from hub.counted import counted
from hub.model import Json
from hub.results.document import Document, Place, count_of, is_long, kind_of
from hub.results.pointers import joined

__all__ = ["brief", "cut", "shape", "shortened", "sketch"]

_LOOKED_AT: Final = 20
"""Items of an array that its sketch is made from."""
_KEY_LENGTH_MAX: Final = 40
_DETAILS: Final = (
    # keys shown, levels of the sketch, levels of places, bytes of a first item
    (24, 3, 3, 400),
    (16, 3, 3, 240),
    (10, 2, 2, 160),
    (6, 2, 2, 80),
    (4, 1, 1, 0),
    (1, 1, 0, 0),
)
_BRIEF: Final = ((3, 200, 50), (1, 60, 24), (1, 20, 12), (0, 8, 6))
"""Items, characters and members that are kept, from more to less."""


def shape(document: Document, steps: tuple[str | int, ...], place: Place, bytes_max: int) -> str:
    """Some lines about what lies at `steps`."""
    text = ""
    for keys, levels, depth, sample in _DETAILS:
        text = "\n".join(_lines(document, steps, place, keys, levels, depth, sample))
        if len(text.encode()) <= bytes_max:
            return text
    return cut(text, bytes_max)


def cut(text: str, bytes_max: int) -> str:
    """The beginning of it, with a mark where something is missing."""
    data = text.encode()
    if len(data) <= bytes_max:
        return text
    return data[: max(0, bytes_max - 3)].decode("utf-8", "ignore") + "…"


def _lines(
    document: Document,
    steps: tuple[str | int, ...],
    place: Place,
    keys: int,
    levels: int,
    depth: int,
    sample: int,
) -> Iterator[str]:
    kind, where = kind_of(place), _in_line(joined(steps)) or '""'
    if kind == "array":
        some = list(islice(document.items(place), _LOOKED_AT))
        yield f"{where}: array of {count_of(place)}: {_union(document, some, levels, keys)}"
        if some and sample:
            first = encode(brief(document, some[0], 1, max(8, sample // 8), keys)).decode()
            yield f"First of {where}: {cut(first, sample)}"
    elif kind == "object" and (is_long(place) or not steps):
        total = count_of(place) or 0
        yield f"{where}: object with {counted(total, 'key')}"
        shown = islice(document.members(place), keys) if depth else ()
        for key, each in shown:
            yield from _lines(document, (*steps, key), each, keys, levels, depth - 1, sample)
        if total > keys and depth:
            yield f"… and {counted(total - keys, 'more key')}"
    elif kind in ("string", "text"):
        total = count_of(place) or 0
        begins = document.characters(place, 0, min(total, max(20, sample // 2)))
        quoted = encode(begins).decode()
        yield (
            f"{where}: {quoted}"
            if len(begins) == total
            else f"{where}: {kind} of {counted(total, 'character')}: {quoted}…"
        )
    elif kind == "object":
        yield f"{where}: {sketch(document, place, levels, keys)}"
    else:
        yield f"{where}: {encode(place).decode()[:100]}"


def _in_line(name: str) -> str:
    """A name that its server made up, so that it cannot look like lines of ours."""
    return name if name.isprintable() else repr(name)


def sketch(document: Document, place: Place, levels: int = 3, keys: int = 24) -> str:
    """Its type in the manner of TypeScript."""
    return _union(document, [place], levels, keys)


def _union(document: Document, places: list[Place], levels: int, keys: int) -> str:
    """One type for all of them."""
    by_kind: dict[str, list[Place]] = {}
    for place in places:
        by_kind.setdefault(kind_of(place), []).append(place)
    if "number" in by_kind:
        by_kind.pop("integer", None)
    found = []
    for kind, some in by_kind.items():
        if kind == "object":
            found.append(_object(document, some, levels, keys))
        elif kind == "array":
            inner = [each for place in some for each in islice(document.items(place), 3)][:_LOOKED_AT]
            of = _union(document, inner, levels - 1, keys) if inner and levels > 0 else ""
            found.append(f"({of})[]" if "|" in of and not of.startswith("{") else f"{of}[]")
        else:
            found.append(kind)
    return " | ".join(found) or "nothing"


def _object(document: Document, places: list[Place], levels: int, keys: int) -> str:
    total = max(count_of(place) or 0 for place in places)
    if levels <= 0:
        return f"{{{counted(total, 'key')}}}" if total else "{}"
    values: dict[str, list[Place]] = {}
    for place in places:
        for key, each in islice(document.members(place), keys):
            values.setdefault(key, []).append(each)
    shown = [
        f"{_in_line(cut(key, _KEY_LENGTH_MAX))}{'' if len(some) == len(places) else '?'}: "
        f"{_union(document, some, levels - 1, keys)}"
        for key, some in islice(values.items(), keys)
    ]
    more = max(total, len(values)) - len(shown)
    return "{" + ", ".join([*shown, *([f"… {more} more"] if more > 0 else [])]) + "}"


def brief(document: Document, place: Place, items: int, characters: int, members: int) -> Any:
    """A value of the same form with fewer items, shorter texts and fewer members."""
    kind = kind_of(place)
    if kind == "array":
        return [
            brief(document, each, items, characters, members) for each in islice(document.items(place), items)
        ]
    if kind == "object":
        return {
            key: brief(document, each, items, characters, members)
            for key, each in islice(document.members(place), members)
        }
    if kind in ("string", "text"):
        total = count_of(place) or 0
        words = document.characters(place, 0, min(total, characters))
        return words if len(words) == total else words + "…"
    return place


def shortened(value: Any, schema: Json, bytes_max: int) -> Json | None:
    """A shorter `structuredContent` of the same form, which fits the output schema that clients check it by.

    `None` where what would be shorter does not fit: where a schema wants a thousand items, say. In an object
    as `value`, so that `null` is told from that.
    """
    # Here: what only reads results does not pay for it.
    import json

    import jsonschema_rs

    try:
        fits = jsonschema_rs.validator_for(json.loads(encode(schema)), retriever=_refuse).is_valid
    except (ValueError, jsonschema_rs.ReferencingError):
        return None
    nothing = Document(None, 0, lambda start, end: "")
    smallest = None
    for items, characters, members in _BRIEF:
        tried = brief(nothing, value, items, characters, members)
        data = encode(tried)
        if fits(json.loads(data)):
            smallest = tried
            if len(data) <= bytes_max:
                break
    return None if smallest is None else {"value": smallest}


def _refuse(uri: str) -> Any:
    raise ValueError(f"the schema refers to another document: {uri[:200]}")
