"""What a fault script finds: sentences with figures, and which promises did not hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.places import Start

__all__ = ["Figures", "Row", "Scale", "at", "milliseconds"]

MEGABYTE = 1024**2


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done: little in the smoke tier, which CI runs; all in the long one."""

    smoke: bool

    def __call__(self, smoke: int, long: int) -> int:
        return smoke if self.smoke else long

    def bound(self, long: float) -> float:
        """A bound of a time: wide in the smoke tier, which must not fail for what else the machine does."""
        return 10 * long if self.smoke else long


@dataclass(slots=True)
class Figures:
    """`say` in the order in which people want to read it."""

    said: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def say(self, measured: str, holds: bool = True) -> None:
        """One figure, and whether the promise about it holds."""
        self.said.append(measured)
        if not holds:
            self.broken.append(measured)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    id: str
    fault: str
    promise: str
    run: Callable[[Start, Path, Scale], Awaitable[Figures]]
    """`(how to start what is tried, a folder, how much)`."""
    others: bool = False
    """Whether it needs nothing of what is tried but a URL and commands of servers."""


def at(times: Sequence[float], percent: int) -> float:
    """The percentile of some times; 0 of none."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"
