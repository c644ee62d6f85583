"""What a person's manifest says of the way of a call: its times, when it is made again, and what stands in
for it. Values only, and pure. Who goes by them: `middleware/retry.py`, `middleware/fallback.py` and
`upstreams/breaker.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = [
    "CONTRACT",
    "DEADLINE",
    "ROUTE",
    "STANDS_IN",
    "Breaking",
    "Candidate",
    "Contract",
    "Retry",
    "Route",
]

DEADLINE: Final = "hub/deadline-seconds"
"""In a request's `_meta`: after how many seconds its answer is worth nothing. Never lengthens a limit."""
STANDS_IN: Final = "hub/stands-in"
"""In the `_meta` of a call that stands in for another, in the record alone: for which tool and call."""
ROUTE: Final = "hub/route"
"""In a result's `_meta`: that something else has answered, and what."""
CONTRACT: Final = "hub/contract"
"""In a result's `_meta`: that the tool answered what its manifest does not let pass, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call is tried in all, and how long is waited before the second try."""

    attempts: int
    wait_seconds: float
    """Doubled each time, up to `most_seconds`; half of it is by chance."""
    most_seconds: float


@dataclass(frozen=True, slots=True)
class Contract:
    """What a tool's structured result must be, beyond what its server says."""

    schema: Mapping[str, Any]
    on_invalid: Literal["error", "retry", "fallback"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing that stands in for a tool: another tool, what it last answered, or a fixed answer."""

    tool: str | None = None
    """As rules know it: `server__tool`."""
    arguments: Mapping[str, str] | None = None
    """By its argument, which of the first tool's it is; `None`: all of them, by the same names."""
    fixed: Mapping[str, Any] | None = None
    """Arguments that it gets besides."""
    cached_seconds: float | None = None
    """How old an answer to the same agent's same call may be."""
    value: Any = None

    @property
    def word(self) -> str:
        """What the answer's `_meta` says of it."""
        return self.tool or ("cached" if self.cached_seconds is not None else "value")


@dataclass(frozen=True, slots=True)
class Route:
    """Of one entry. What is `None` or empty is as for all others."""

    call_seconds: float | None = None
    """Until it has to be answered."""
    silence_seconds: float | None = None
    """How long nothing may be heard of it."""
    retry: Retry | None = None
    contract: Contract | None = None
    fallback: tuple[Candidate, ...] = ()

    def over(self, other: Route | None) -> Route:
        """This, and what `other` says where this says nothing."""
        if other is None:
            return self
        return Route(
            other.call_seconds if self.call_seconds is None else self.call_seconds,
            other.silence_seconds if self.silence_seconds is None else self.silence_seconds,
            self.retry or other.retry,
            self.contract or other.contract,
            self.fallback or other.fallback,
        )


@dataclass(frozen=True, slots=True)
class Breaking:
    """When a server is left alone for a while."""

    failures: int
    """In a row, with no answer between."""
    wait_seconds: float
    """Until one call may try again; longer each time that it fails too."""
