"""Each time that a run touches the world, counted: so that exactly the n-th can fail, for each n.

Nothing is left to chance here: a seed's course has so many operations, each of a kind that can fail in some
ways. What Python opens, renames, locks or maps is seen by an audit hook of the interpreter, whoever does it;
all else is told by the parts of the simulation where it happens.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["DISK", "WAYS", "Failing", "Operations", "Watcher", "all_of", "spread"]

WAYS: Final[Mapping[str, tuple[str, ...]]] = {
    "connect": ("refused", "unanswered", "unusable"),  # a link to a server
    "ask": ("unsent", "broken"),  # what is written to a server
    "answer": ("broken", "unanswered"),  # what is read from one
    "accept": ("cut",),  # a connection of an agent
    "receive": ("cut",),  # what is read from an agent
    "send": ("cut",),  # what is written to one
    "open": ("files", "full", "failed"),  # a file
    "file": ("full", "failed"),  # made room for, written, flushed, renamed, removed, locked, mapped
    "database": ("unopened",),
    "statement": ("full", "failed"),  # of the store's writer
    "begin": ("locked", "failed"),
    "commit": ("full", "failed", "undone"),
    "query": ("failed",),  # of its readers
    "thread": ("none",),
    "random": ("none",),
    "clock": ("ahead", "back"),  # it is off by an hour from there on
}
"""Kinds of operations, and how each may fail."""
DISK: Final = frozenset({"open", "file", "database", "statement", "begin", "commit", "query"})

_ERRORS: Final = {"files": errno.EMFILE, "full": errno.ENOSPC, "failed": errno.EIO}
_EVENTS: Final[Mapping[str, str]] = {
    "open": "open", "os.mkdir": "file", "os.rename": "file", "os.remove": "file", "os.chmod": "file",
    "os.truncate": "file", "os.listdir": "file", "os.scandir": "file", "fcntl.flock": "file",
    "mmap.__new__": "file",
}  # fmt: skip
"""Of the interpreter (PEP 578), with the kind of operation that they announce."""
_UNANNOUNCED: Final = ("posix_fallocate", "pwrite", "write", "fsync")
"""What the hub asks of `os` by a descriptor, and no event tells."""


@dataclass(frozen=True, slots=True)
class Failing:
    """Which operation of a course fails, and how: `123.full`."""

    number: int
    """From 1."""
    way: str

    @classmethod
    def read(cls, text: str) -> Failing:
        number, _, way = text.partition(".")
        return cls(int(number), way)

    def __str__(self) -> str:
        return f"{self.number}.{self.way}"


class Operations:
    """Of one run. Counts only while it is told to."""

    def __init__(self, failing: Failing | None = None) -> None:
        self.counts = False
        self.kinds: list[str] = []
        """Of each operation so far."""
        self.listener: Callable[[str, str], None] | None = None
        """Told of the one that fails: its kind, and a sentence."""
        self._failing = failing

    def next(self, kind: str) -> str | None:
        """One is about to be done: how it fails, if it does."""
        if not self.counts:
            return None
        self.kinds.append(kind)
        failing = self._failing
        if failing is None or len(self.kinds) != failing.number:
            return None
        if failing.way not in WAYS[kind]:
            raise ValueError(f"operation {failing.number} is of the kind {kind!r}: {', '.join(WAYS[kind])}")
        if self.listener is not None:
            self.listener(kind, f"operation {failing.number} fails: {kind}, {failing.way}")
        return failing.way

    def file(self, kind: str) -> None:
        """The same of a file: raises `OSError`."""
        way = self.next(kind)
        if way is not None:
            code = _ERRORS[way]
            raise OSError(code, os.strerror(code))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What the simulation itself does in the meantime is not counted."""
        before, self.counts = self.counts, False
        try:
            yield
        finally:
            self.counts = before


class Watcher:
    """Sees what this process does to files in a folder. One a process: its hook stays until the end."""

    def __init__(self, folder: Path) -> None:
        self.operations = Operations()
        """Of the run that goes on."""
        self._folder = os.fspath(folder)
        sys.addaudithook(self._hear)
        for name in _UNANNOUNCED:
            setattr(os, name, self._announced(getattr(os, name)))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.operations.counts and event in _EVENTS:
            where = arguments[0]
            if isinstance(where, str | os.PathLike):
                is_ours = os.fspath(where).startswith(self._folder)
            else:
                # By its descriptor: the hub has no others. (To make a file of one is no operation.)
                is_ours = event != "open"
            if is_ours:
                self.operations.file(_EVENTS[event])

    def _announced(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def announced(*arguments: Any) -> Any:
            if self.operations.counts:
                self.operations.file("file")
            return function(*arguments)

        return announced


def all_of(kinds: Sequence[str]) -> list[Failing]:
    """Each operation of a course, in each way that it may fail."""
    return [Failing(number, way) for number, kind in enumerate(kinds, 1) for way in WAYS[kind]]


def spread(kinds: Sequence[str], most: int) -> list[Failing]:
    """So many of these at most: as many of each kind and way as of any other, evenly over the course."""
    groups: dict[tuple[str, str], list[Failing]] = {}
    for each in all_of(kinds):
        groups.setdefault((kinds[each.number - 1], each.way), []).append(each)
    chosen: list[Failing] = []
    left = sorted(groups.values(), key=len)
    while left:
        group = left.pop(0)
        count = min(len(group), (most - len(chosen)) // (len(left) + 1))
        chosen += [group[(2 * at + 1) * len(group) // (2 * count)] for at in range(count)]
    return sorted(chosen, key=lambda each: each.number)
