"""`limits:` as a person writes it: `{rate: 20/s, calls: 1000/day, bytes: 10MB/day, cost: 5/day}`.

Only the shape, and what each may be. `hub/rules/quota.py` is what it means.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema

from hub.rules.quota import MONTH, WORDS, Quota

__all__ = ["Bytes", "Calls", "Cost", "Price", "QuotaShape", "Rate", "Repeat"]

_SHORT: Final[Mapping[str, float]] = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_PERIODS: Final[Mapping[str, float]] = {**_SHORT, **{word: seconds for seconds, word in WORDS.items()}}
_SLIDING: Final = (1.0, 60.0)
_CALENDAR: Final = (3600.0, 86_400.0, 604_800.0, MONTH)
_BYTES: Final[Mapping[str, int]] = {
    "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_RATE_MAX: Final = 10_000
"""As many moments are remembered for each who is limited."""
_NUMBER_MAX: Final = 10**12
_DIGITS_MAX: Final = 15
_written = re.compile(r"([0-9]+)(\.[0-9]+)? ?([A-Za-z]*) ?/ ?([A-Za-z]+)").fullmatch

Pair = tuple[int, float]


def _split(value: Any, example: str) -> tuple[str, str, str, float]:
    """Whole part, fraction with its point, unit and period."""
    found = _written(value.strip()) if isinstance(value, str) else None
    if found is None or len(found[1]) + len(found[2] or "") > _DIGITS_MAX:
        raise ValueError(f"must be a number and a period. Write it as {example}.")
    if found[4] not in _PERIODS:
        raise ValueError(
            f"{found[4][:20]!r} is not a period. Write second, minute, hour, day, week or month: {example}."
        )
    return found[1], found[2] or "", found[3], _PERIODS[found[4]]


def _whole(value: Any, example: str) -> Pair:
    whole, fraction, unit, period = _split(value, example)
    if fraction or unit:
        raise ValueError(f"must count calls, in whole numbers without a unit. Write it as {example}.")
    if not 0 < int(whole) <= _NUMBER_MAX:
        raise ValueError(f"must be from 1 to {_NUMBER_MAX}. To allow none, leave the rule out.")
    return int(whole), period


def _rate(value: Any) -> Pair:
    number, period = _whole(value, "20/s or 100/minute")
    if period not in _SLIDING:
        raise ValueError(
            f"counts in a second or a minute. For a longer time write `calls: {number}/{WORDS[period]}`."
        )
    if number > _RATE_MAX:
        raise ValueError(f"must be at most {_RATE_MAX}. Write fewer, in a shorter time.")
    return number, period


def _calendar(period: float, key: str, written: str) -> float:
    if period not in _CALENDAR:
        raise ValueError(
            f"counts in an hour, a day, a week or a month (UTC). Write `{key}: {written}/hour`; "
            "how many calls in a second or a minute is said by `rate`."
        )
    return period


def _calls(value: Any) -> Pair:
    number, period = _whole(value, "1000/day")
    return number, _calendar(period, "calls", str(number))


def _bytes(value: Any) -> Pair:
    example = "10MB/day"
    whole, fraction, unit, period = _split(value, example)
    if unit not in _BYTES:
        what = f"{unit[:20]!r} is not a unit of size" if unit else "has no unit"
        raise ValueError(f"{what}. Write B, kB, MB, GB, KiB, MiB or GiB: {example}.")
    if fraction:
        raise ValueError("must be a whole number. Write a size such as 512KiB/hour.")
    number = int(whole) * _BYTES[unit]
    if not 0 < number <= _NUMBER_MAX:
        raise ValueError("must be from 1 byte to 1000 GB.")
    return number, _calendar(period, "bytes", f"{whole}{unit}")


def _cost(value: Any) -> tuple[float, float]:
    whole, fraction, unit, period = _split(value, "5/day or 0.50/hour")
    if unit:
        raise ValueError("has no unit: it counts in that of `cost` in the servers' manifests. Write 5/day.")
    number = float(whole + fraction)
    if not 1e-6 <= number <= 1e9:
        raise ValueError("must be from 0.000001 to 1000000000.")
    return number, _calendar(period, "cost", whole + fraction)


def _price(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1e9:
        raise ValueError("must be a number from 0 to 1000000000: what one call costs. Write 0.02.")
    return float(value)


def _text(read: Callable[[Any], Any], pattern: str, example: str) -> tuple[BeforeValidator, WithJsonSchema]:
    return BeforeValidator(read), WithJsonSchema(
        {"type": "string", "pattern": pattern, "examples": [example]}
    )


_END: Final = r" ?/ ?(h|d|hour|day|week|month)$"
Rate = Annotated[Pair, *_text(_rate, r"^[0-9]+ ?/ ?(s|min|second|minute)$", "20/s")]
Calls = Annotated[Pair, *_text(_calls, r"^[0-9]+" + _END, "1000/day")]
Bytes = Annotated[Pair, *_text(_bytes, r"^[0-9]+ ?(B|[kK]B|MB|GB|KiB|MiB|GiB)" + _END, "10MB/day")]
Cost = Annotated[tuple[float, float], *_text(_cost, r"^[0-9]+(\.[0-9]+)?" + _END, "5/day")]
Price = Annotated[float, BeforeValidator(_price), WithJsonSchema({"type": "number", "minimum": 0})]
Concurrent = Annotated[int, Strict(), Field(ge=1, le=10_000)]
Repeat = Annotated[int, Strict(), Field(ge=1, le=1000)]


class QuotaShape(BaseModel):
    """How much may be used, over time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: Rate | None = None
    """Calls in any second or minute."""
    calls: Calls | None = None
    """Calls in an hour, day, week or month (UTC)."""
    bytes: Bytes | None = None
    """Of arguments and results."""
    cost: Cost | None = None
    """In the unit of `cost` in the servers' manifests."""
    concurrent: Concurrent | None = None
    """Calls under way at once."""

    def quota(self) -> Quota | None:
        """What it means; `None` where it limits nothing."""
        quota = Quota(self.rate, self.calls, self.bytes, self.cost, self.concurrent)
        return None if quota == Quota() else quota
