"""What a process writes for people on its stderr: bytes to lines that may stand in a log or on a terminal.

Bounded in every way: the length of a line, the lines a second, the bytes a second.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

__all__ = ["LINE_MAX", "StderrLines", "harmless", "is_chatter"]

LINE_MAX: Final = 4096
"""Characters; what is over is left out."""

_LINES_A_SECOND: Final = 500
_BYTES_A_SECOND: Final = 16 * 1024 * 1024

_escape = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)?")
_unprintable = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def harmless(text: str) -> str:
    """Text of a server as it may stand in a log or on a terminal: one line, no colours, no control
    or direction characters (threat T21)."""
    return _unprintable.sub("\ufffd", _escape.sub("", text))


_npm = re.compile(
    r"npm (?:notice\b|(?:error|ERR!)(?: 404)?"
    r"(?:\s*$|\s+(?:A complete log of this run|Note that you can|tarball, )))"
)


def is_chatter(line: str) -> bool:
    """Whether npm or npx says it in any case: news of itself, where its log lies. Never why it failed."""
    return _npm.match(line) is not None


class StderrLines:
    """Bytes to lines, at a bounded cost: lines over 500 a second are counted and left out, and
    over 16 MiB a second nothing is read until the second is over."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, emit: Callable[[str], None], pause: Callable[[bool], None]
    ) -> None:
        self._loop = loop
        self._emit = emit
        self._pause = pause
        self._pending = bytearray()
        self._lines = self._bytes = self._left_out = 0
        self._second: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        if self._second is None:
            self._second = self._loop.call_later(1.0, self._next_second)
        self._bytes += len(data)
        if self._bytes > _BYTES_A_SECOND:
            self._pause(True)
        start = 0
        while self._lines < _LINES_A_SECOND and (end := data.find(b"\n", start)) >= 0:
            self._add(data[start:end])
            self._flush()
            start = end + 1
        last = data.rfind(b"\n", start)
        if last >= 0:
            self._left_out += data.count(b"\n", start)
            self._pending.clear()
            start = last + 1
        self._add(data[start:])

    def close(self) -> None:
        """What stands without a newline is a line too."""
        if self._pending:
            self._flush()
        if self._second is not None:
            self._second.cancel()
            self._next_second()

    def _add(self, part: bytes) -> None:
        """Up to four bytes a character; what is over is dropped up to the next newline."""
        self._pending += part[: 4 * LINE_MAX - len(self._pending)]

    def _flush(self) -> None:
        self._lines += 1
        text = self._pending.decode(errors="replace").rstrip("\r")
        self._pending.clear()
        self._emit(harmless(text)[:LINE_MAX])

    def _next_second(self) -> None:
        if self._left_out:
            self._emit(f"... {self._left_out} more lines, left out")
        if self._bytes > _BYTES_A_SECOND:
            self._pause(False)
        self._lines = self._bytes = self._left_out = 0
        self._second = None
