"""Takes known secrets out of what servers say when something went wrong.

A server that fails may repeat its credentials: on stderr, in an error, in a tool's own failure. Those
texts are looked through, and nothing else is: a result that is no error passes untouched, at no cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

from connectors.base import RemoteError
from hub.model import Result

__all__ = ["MASKED", "Mask"]

MASKED: Final = "[secret]"

_LENGTH_LEAST: Final = 8
"""A shorter one would turn up by chance in any text."""
_VALUES_MAX: Final = 1024
_DEPTH_MAX: Final = 64


class Mask:
    """Knows values by what servers were started with; the oldest are forgotten where there are too many."""

    def __init__(self) -> None:
        self._values: dict[str, None] = {}

    def learn(self, values: Iterable[str]) -> None:
        for value in values:
            # A key of several lines is written a line at a time; in a URL it is quoted.
            for form in (value, *value.splitlines(), quote(value, safe="")):
                if len(form) >= _LENGTH_LEAST:
                    self._values.pop(form, None)
                    self._values[form] = None
        while len(self._values) > _VALUES_MAX:
            del self._values[next(iter(self._values))]

    def text(self, text: str) -> str:
        found = [value for value in self._values if value in text]
        # The longest first: one may be a part of another.
        for value in sorted(found, key=len, reverse=True):
            text = text.replace(value, MASKED)
        return text

    def error(self, error: RemoteError) -> RemoteError:
        """The same object where there is nothing to take out."""
        message, data = self.text(error.message), self._within(error.data, _DEPTH_MAX)
        if message == error.message and data == error.data:
            return error
        return RemoteError(error.code, message, data)

    def result(self, result: Result) -> Result:
        """A tool's own failure."""
        if not self._values:
            return result
        masked: Result = self._within(result, _DEPTH_MAX)
        return masked

    def _within(self, value: Any, depth: int) -> Any:
        if type(value) is str:
            return self.text(value)
        if not depth:
            return value
        if isinstance(value, dict):
            return {self.text(key): self._within(each, depth - 1) for key, each in value.items()}
        if type(value) is list:
            return [self._within(each, depth - 1) for each in value]
        return value
