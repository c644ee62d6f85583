"""Which recorded exchange a request is: the same params, or the nearest ones. Pure.

Two params are the same whatever the order of their keys. A secret was taken out before it was recorded: in
its place (`[redacted: ...]`) any text is the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple

from jiter import LosslessFloat

from connectors import jsonrpc
from connectors.base import Json
from connectors.cassette_file import Exchange

__all__ = ["Found", "Matcher", "subject"]

_REDACTED: Final = re.compile(r"\[redacted: [^\]]{0,80}\]")
_COMPARED_MAX: Final = 1000
_SHOWN_MAX: Final = 300
_DIFFERENCES_SHOWN: Final = 5
_NAMES_SHOWN: Final = 5
_NAMED_BY: Final = ("name", "uri", "taskId")


class Found(NamedTuple):
    exchange: Exchange
    exact: bool
    note: str | None
    """What people should know of it: that a secret was not compared, or what is different."""


class _Difference(NamedTuple):
    where: str
    given: Any
    recorded: Any

    def __str__(self) -> str:
        return f"{self.where} ({_shown(self.given)}, recorded: {_shown(self.recorded)})"


class _Absent:
    """In the place of a value that is not there."""


_ABSENT: Final = _Absent()


class Matcher:
    """The exchanges of one server.

    Equal requests get their answers in the order in which those were recorded, then from the first one again.
    """

    def __init__(self, exchanges: Iterable[Exchange]) -> None:
        self._exact: dict[bytes, list[Exchange]] = {}
        self._of: dict[tuple[str, str], list[Exchange]] = {}
        """By method and what it is about."""
        self._redacted: dict[tuple[str, str], list[Exchange]] = {}
        self._played: dict[bytes, int] = {}
        for each in exchanges:
            exchange = replace(each, params=_plain(each.params))
            key = exchange.method, subject(exchange.params)
            self._of.setdefault(key, []).append(exchange)
            if _REDACTED.search(jsonrpc.encode(exchange.params).decode()):
                self._redacted.setdefault(key, []).append(exchange)
            else:
                self._exact.setdefault(_key(exchange.method, exchange.params), []).append(exchange)

    def find(self, method: str, params: Json, *, lenient: bool) -> Found | None:
        """The exchange to answer with; `None` where none is near enough.

        Args:
            params: As they were sent; `_meta` does not count, and no arguments are none at all.
            lenient: Take the nearest one of the same method about the same thing, where none is the same.
        """
        params = _plain(params)
        key = _key(method, params)
        same = self._exact.get(key)
        if same is not None:
            return Found(self._next(key, same), True, None)
        about = method, subject(params)
        without = [each for each in self._redacted.get(about, ()) if not _differences(each.params, params)]
        if without:
            note = "a secret was taken out of what was recorded, and is not compared"
            return Found(self._next(key, without), True, note)
        if not lenient:
            return None
        near = self._nearest(self._of.get(about, ()), params)
        if not near:
            return None
        exchange = self._next(key, near)
        return Found(exchange, False, _difference_text(_differences(exchange.params, params)))

    def nearest(self, method: str, params: Json) -> str:
        """The end of a sentence about what was recorded that is like it."""
        params = _plain(params)
        about = subject(params)
        group = self._of.get((method, about), ())
        if group:
            near = self._nearest(group, params)[0]
            said = _difference_text(_differences(near.params, params))
            return f"the nearest one is different in {said}"
        names = sorted({name for of, name in self._of if of == method})
        if not names:
            return f"nothing was recorded of {method}" if self._of else "nothing was recorded"
        return f"the nearest recorded ones are {', '.join(_shown(name) for name in _like(about, names))}"

    def _next(self, key: bytes, exchanges: Sequence[Exchange]) -> Exchange:
        played = self._played.get(key, 0)
        self._played[key] = played + 1
        return exchanges[played % len(exchanges)]

    def _nearest(self, exchanges: Sequence[Exchange], params: Json) -> list[Exchange]:
        """Those with the fewest differences, the first `_COMPARED_MAX` looked at."""
        some = exchanges[:_COMPARED_MAX]
        counts = [len(_differences(each.params, params)) for each in some]
        least = min(counts, default=0)
        return [each for each, count in zip(some, counts, strict=True) if count == least]


def _like(name: str, names: Sequence[str]) -> list[str]:
    """Some of `names`, the most similar first."""

    def difference(other: str) -> float:
        return -SequenceMatcher(None, name[:200], other[:200]).ratio()

    return sorted(names[:_COMPARED_MAX], key=difference)[:_NAMES_SHOWN]


def _plain(params: Json) -> Json:
    left_out = ("_meta", "arguments") if params.get("arguments") == {} else ("_meta",)
    return {key: params[key] for key in params if key not in left_out}


def subject(params: Json) -> str:
    """What a request is about: a tool, resource, prompt or task; `""` where it names none."""
    reference = params.get("ref")
    where = reference if isinstance(reference, dict) else params
    return next((where[key] for key in _NAMED_BY if isinstance(where.get(key), str)), "")


def _key(method: str, params: Json) -> bytes:
    return jsonrpc.encode([method, _sorted(params)])


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return float(value) if isinstance(value, LosslessFloat) else value


def _differences(recorded: Json, given: Json) -> list[_Difference]:
    return list(_compare("", recorded, given))


def _compare(where: str, recorded: Any, given: Any) -> Iterator[_Difference]:
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key in sorted({*recorded, *given}):
            inner = f"{where}.{key}" if where else str(key)
            yield from _compare(inner, recorded.get(key, _ABSENT), given.get(key, _ABSENT))
    elif isinstance(recorded, list) and isinstance(given, list) and len(recorded) == len(given):
        for position, (one, other) in enumerate(zip(recorded, given, strict=True)):
            yield from _compare(f"{where}[{position}]", one, other)
    elif not _same(recorded, given):
        yield _Difference(where, given, recorded)


def _same(recorded: Any, given: Any) -> bool:
    if isinstance(recorded, str) and "[redacted: " in recorded:
        if _REDACTED.fullmatch(recorded):
            return not isinstance(given, _Absent | dict | list)  # numbers, too, are taken out whole
        parts = (re.escape(part) for part in _REDACTED.split(recorded))
        return isinstance(given, str) and re.fullmatch(".*?".join(parts), given, re.DOTALL) is not None
    if isinstance(recorded, bool) or isinstance(given, bool):
        return recorded is given
    return bool(_sorted(recorded) == _sorted(given))


def _difference_text(differences: Sequence[_Difference]) -> str:
    shown = ", ".join(str(each) for each in differences[:_DIFFERENCES_SHOWN])
    more = len(differences) - _DIFFERENCES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _shown(value: Any) -> str:
    if isinstance(value, _Absent):
        return "not there"
    text = jsonrpc.encode(value).decode()
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
