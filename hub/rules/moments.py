"""Whether a rule's `when` holds at a moment. Reads no clock; a time zone's rules come from the system."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from hub.policy import When

__all__ = ["DAYS", "holds", "in_words"]

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def holds(when: When, at: float, labels: Mapping[str, str] | None = None) -> bool:
    """
    Args:
        at: Seconds since 1970, UTC.
        labels: Of the session.
    """
    if when.labels and any((labels or {}).get(key) != value for key, value in when.labels.items()):
        return False
    if not when.days and when.between is None:
        return True
    local = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(when.zone))
    day, minute = local.weekday(), local.hour * 60 + local.minute
    if when.between is not None:
        start, end = when.between
        if start <= end and not start <= minute < end:
            return False
        if start > end and end <= minute < start:
            return False
        if start > end and minute < end:
            day = (day - 1) % 7  # It began yesterday.
    return not when.days or day in when.days


def in_words(when: When) -> str:
    """`mon, tue from 09:00 to 17:00 (Europe/Prague)`."""
    said = [", ".join(DAYS[day] for day in sorted(when.days))] if when.days else []
    if when.between is not None:
        start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in when.between)
        said.append(f"from {start} to {end}")
    if said:
        said.append(f"({when.zone})")
    if when.labels:
        said.append(
            "in sessions labelled " + ", ".join(f"{key}={value}" for key, value in when.labels.items())
        )
    return " ".join(said) or "always"
