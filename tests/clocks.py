"""Clocks that a test moves, so that it waits for nothing."""

from __future__ import annotations

from dataclasses import dataclass

from hub.env import SystemEnv

NOON = 1_800_014_400.0
"""2027-01-15 12:00:00 UTC, a Friday."""


class Clock(SystemEnv):
    """The real clocks, so many seconds ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def noon() -> Clock:
    """A clock at `NOON`: no hour, day, week or month ends in the middle of a test."""
    clock = Clock()
    clock.ahead = NOON - SystemEnv().now()
    return clock


@dataclass
class SetEnv(SystemEnv):
    """The real world, but for its clocks: they stand where a test sets them."""

    seconds: float = NOON

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds
