"""Durations and sizes as people write them: `500ms`, `30s`, `10m`, `2h`; `64KiB`, `4MiB`, `1GiB`; moments.

A number without a unit is refused: nobody can tell seconds from milliseconds by looking.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["DURATION_PATTERN", "SIZE_PATTERN", "lifetime_seconds", "seconds", "size_bytes", "utc"]

DURATION_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"
SIZE_PATTERN: Final = r"^[0-9]+(B|KiB|MiB|GiB)$"

_SECONDS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES: Final[Mapping[str, int]] = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_LIFETIME_DAYS_MAX: Final = 3660
_SECONDS_MAX: Final = 7 * 24 * 3600.0
_BYTES_MAX: Final = 1024**3
_DIGITS_MAX: Final = 12

_number = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)").fullmatch


def seconds(written: Any) -> float:
    """A duration in seconds, over 0 and at most a week.

    Raises:
        ValueError: it is none; with a sentence that says how to write it.
    """
    amount, unit = _split(written, "a duration", "30s, 10m or 500ms")
    if unit not in _SECONDS:
        raise ValueError(_wrong_unit(amount, unit, "30s, 10m or 500ms"))
    value = float(amount) * _SECONDS[unit]
    if value <= 0:
        raise ValueError("must be more than zero. Write a duration such as 30s.")
    if value > _SECONDS_MAX:
        raise ValueError("is longer than a week. Write at most 168h.")
    return value


def lifetime_seconds(written: Any) -> float:
    """How long something may live, in seconds: as `seconds`, and in days, up to ten years.

    Raises:
        ValueError: it is none; with a sentence that says how to write it.
    """
    amount, unit = _split(written, "a duration", "30d, 12h or 10m")
    if unit not in {**_SECONDS, "d": 0.0}:
        raise ValueError(_wrong_unit(amount, unit, "30d, 12h or 10m"))
    value = float(amount) * (24 * 3600.0 if unit == "d" else _SECONDS[unit])
    if not 0 < value <= _LIFETIME_DAYS_MAX * 24 * 3600.0:
        raise ValueError(f"must be more than zero and at most {_LIFETIME_DAYS_MAX}d.")
    return value


def size_bytes(written: Any, *, least: int = 1, most: int = _BYTES_MAX) -> int:
    """A size in bytes, at least `least` and at most `most` (a whole number of GiB).

    Raises:
        ValueError: it is none; with a sentence that says how to write it.
    """
    amount, unit = _split(written, "a size", "64KiB or 4MiB")
    if unit not in _BYTES:
        raise ValueError(_wrong_unit(amount, unit, "64KiB or 4MiB"))
    if "." in amount:
        raise ValueError("must be a whole number. Write a size such as 512KiB.")
    value = int(amount) * _BYTES[unit]
    if not least <= value <= most:
        raise ValueError(f"must be from {least} bytes to {most // 1024**3}GiB.")
    return value


def utc(seconds: float) -> str:
    """A moment, given in seconds since 1970: `2026-11-21T09:30:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _split(written: Any, what: str, examples: str) -> tuple[str, str]:
    # YAML gives a number where no unit follows it; bool is an int to Python, not to people.
    text = written if isinstance(written, str) else str(written) if _is_number(written) else ""
    found = _number(text.strip())
    if found is None or len(found[1]) > _DIGITS_MAX:
        raise ValueError(f"must be {what}. Write it as {examples}.")
    return found[1], found[2]


def _is_number(written: Any) -> bool:
    return isinstance(written, int | float) and not isinstance(written, bool)


def _wrong_unit(amount: str, unit: str, examples: str) -> str:
    if unit == "":
        return f"{amount} has no unit. Write it as {examples}."
    return f"{unit!r} is not a unit. Write it as {examples}."
