"""How much: what a rule, an agent or a server allows over time. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["MONTH", "WORDS", "Quota"]

MONTH: Final = 2_629_746.0
"""Stands for a calendar month, whatever its length; it is the mean of them."""

WORDS: Final[Mapping[float, str]] = {
    1.0: "second",
    60.0: "minute",
    3600.0: "hour",
    86_400.0: "day",
    604_800.0: "week",
    MONTH: "month",
}
"""The periods that there are. A week begins on Monday, and all of them in UTC."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Each is a number and the period in seconds that it counts in; `None` does not limit."""

    rate: tuple[int, float] | None = None
    """Calls in a sliding moment, such as 20 a second: what is over comes again soon."""
    calls: tuple[int, float] | None = None
    """Calls in a calendar period (UTC), such as 1,000 a day: kept over a restart."""
    bytes: tuple[int, float] | None = None
    """Of arguments and results, in a calendar period."""
    cost: tuple[float, float] | None = None
    """In the unit of the servers' manifests, in a calendar period."""
    concurrent: int | None = None
    """Calls under way at once."""
