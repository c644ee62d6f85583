"""What tools last answered, for `cached:` of a fallback: in memory, bounded, an agent's own.

By agent, tool and arguments. Not kept: a tool's own failure, a question, a task, and what is too large.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from connectors.jsonrpc import encode
from hub.canonical import canonical
from hub.env import Env
from hub.model import Call, Entry, Result

__all__ = ["Answers", "Kept"]

_BYTES_MAX: Final = 32 * 1024 * 1024
_ANSWER_BYTES_MAX: Final = 1024 * 1024
_ANSWERS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Kept:
    result: Result
    age_seconds: float


@dataclass(frozen=True, slots=True)
class _Answer:
    result: Result
    at: float
    size: int


class Answers:
    def __init__(self, env: Env) -> None:
        self._env = env
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        """The oldest first."""
        self._bytes = 0

    def keep(self, call: Call, entry: Entry, result: Result) -> None:
        if result.get("isError") is True or result.get("resultType", "complete") != "complete":
            return
        size = len(encode(result))
        if size > _ANSWER_BYTES_MAX:
            return
        key = _key(call, entry)
        self._drop(key)
        # As a plain object: the text that it was read from may be longer than what it says.
        self._answers[key] = _Answer(dict(result), self._env.monotonic(), size)
        self._bytes += size
        while self._bytes > _BYTES_MAX or len(self._answers) > _ANSWERS_MAX:
            self._drop(next(iter(self._answers)))

    def find(self, call: Call, entry: Entry, age_seconds: float) -> Kept | None:
        """What was answered to the same call, at most so long ago."""
        answer = self._answers.get(_key(call, entry))
        if answer is None:
            return None
        age = self._env.monotonic() - answer.at
        return Kept(answer.result, age) if age <= age_seconds else None

    def _drop(self, key: bytes) -> None:
        dropped = self._answers.pop(key, None)
        if dropped is not None:
            self._bytes -= dropped.size


def _key(call: Call, entry: Entry) -> bytes:
    asked = [call.agent.name, entry.grant, call.params.get("arguments") or {}]
    return hashlib.sha256(canonical(asked)).digest()
