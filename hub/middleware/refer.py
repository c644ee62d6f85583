"""Arguments that point into a result are filled in: `{"$result": ID, "at": "/items/3/id"}`.

So data goes from one server to another without passing the model. Before `authorize`, so that rules judge
what is sent; the agent may read the result, or the call is refused; and `check` judges what was filled in
by the tool's own schema. `record` has the arguments as the agent wrote them, and the record says of each
reference what it stood for. Where it came from goes on with the call (`Call.sources`).

A call without references pays 0.3 us, and about 0.2 for each argument that is an object or an array.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any, Final

from hub.errors import Denied
from hub.model import Call, Handler, Json, Result
from hub.policy import decide
from hub.results.results import FILLED_BYTES_MAX, Results, Unreadable

__all__ = ["Refer"]

_KEY: Final = "$result"
_REFERENCES_MAX: Final = 32
_OWN_BYTES_MAX: Final = 32 * 1024**2
_ALL_BYTES_MAX: Final = 96 * 1024**2
"""As JSON, in all calls that are under way: of one agent, and of all. In memory it is a few times that."""
_METHODS: Final = ("tools/call", "prompts/get")
_HOLDERS: Final = (dict, list)


class Refer:
    def __init__(self, results: Results) -> None:
        self._results = results
        self._taken: Counter[str] = Counter()
        """By agent: how much was filled into its calls that are under way."""

    def __call__(self, call: Call, inner: Handler) -> Awaitable[Result]:
        arguments = call.params.get("arguments")
        if arguments and call.method in _METHODS:
            for each in arguments.values():
                # No walk, and no coroutine of its own, in the usual case.
                if type(each) in _HOLDERS and next(_references(each, ""), None) is not None:
                    return self._referred(call, inner)
        return inner(call)

    async def _referred(self, call: Call, inner: Handler) -> Result:
        """Raises `Denied`, `StoreError`, and what `inner` raises."""
        if call.entry is None or not decide(call.agent.grants, call.entry).allowed:
            # Whatever it points at: what may not be used answers as what does not exist.
            return await inner(call)
        arguments: Json = call.params["arguments"]
        found = [each for key in arguments for each in _references(arguments[key], f"/{key}")]
        if len(found) > _REFERENCES_MAX:
            raise _denied(f"At most {_REFERENCES_MAX} values of results can be filled into one call.")
        taken = _Taken(self._taken, call.agent.name)
        try:
            return await inner(await self._filled_in(call, arguments, found, taken))
        finally:
            taken.leave()

    async def _filled_in(
        self, call: Call, arguments: Json, found: list[tuple[str, Json]], taken: _Taken
    ) -> Call:
        left = FILLED_BYTES_MAX
        uses, labels, values = [], set(call.sources), dict[int, Any]()
        for where, reference in found:
            id, pointer = _read(reference, where)
            try:
                filled = await self._results.value(call.agent, id, pointer, left)
            except Unreadable as error:
                raise _denied(f"The argument at {where!r}: {error}") from None
            left -= filled.size_bytes
            taken.take(filled.size_bytes)
            uses.append(filled.use(call.id, pointer, where))
            labels.update(filled.labels)
            values[_which(reference)] = filled.value
        await self._results.note(uses)
        params = {**call.params, "arguments": _filled(arguments, values)}
        return replace(call, params=params, sources=tuple(sorted(labels)))


class _Taken:
    """What one call has in memory of what was filled in, and all of them together."""

    def __init__(self, all: Counter[str], agent: str) -> None:
        self._all = all
        self._agent = agent
        self._size = 0

    def take(self, size: int) -> None:
        """Raises `Denied`: it is too much."""
        self._size += size
        self._all[self._agent] += size
        if self._all[self._agent] > _OWN_BYTES_MAX or self._all.total() > _ALL_BYTES_MAX:
            raise _denied(
                "Too much is being filled into calls that are under way: try again once they have ended."
            )

    def leave(self) -> None:
        self._all[self._agent] -= self._size
        if not self._all[self._agent]:
            del self._all[self._agent]


def _which(reference: Json) -> int:
    """Which of the objects of the call it is; they all live as long as the call does."""
    return id(reference)


def _references(value: Any, where: str) -> Iterator[tuple[str, Json]]:
    if type(value) is dict:
        if type(value.get(_KEY)) is str:
            yield where, value
            return
        for key, each in value.items():
            if type(each) in _HOLDERS:
                yield from _references(each, f"{where}/{key}")
    elif type(value) is list:
        for position, each in enumerate(value):
            if type(each) in _HOLDERS:
                yield from _references(each, f"{where}/{position}")


def _read(reference: Json, where: str) -> tuple[str, str]:
    pointer = reference.get("at", "")
    if type(pointer) is not str or not reference.keys() <= {_KEY, "at"}:
        raise _denied(
            f'The argument at {where!r} is no reference: write {{"{_KEY}": "ID", "at": "/items/0/id"}}, with '
            "nothing else in it. `at` is a JSON Pointer; without it all of the result is meant."
        )
    return reference[_KEY], pointer


def _filled(value: Any, values: dict[int, Any]) -> Any:
    if type(value) is dict:
        if _which(value) in values:
            return values[_which(value)]
        return {key: _filled(each, values) for key, each in value.items()}
    if type(value) is list:
        return [_filled(each, values) for each in value]
    return value


def _denied(message: str) -> Denied:
    return Denied(f"{message} Nothing was sent.", "reference")
