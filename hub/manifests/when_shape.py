"""`when:` as a person writes it: `{days: mon-fri, hours: "09:00-17:30", zone: Europe/Prague}`.

Only the shape, and what each may be. `hub/rules/moments.py` is what it means.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from hub.rules.moments import DAYS

__all__ = ["WhenShape"]

_HOURS: Final = r"^([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])$"
_DAYS: Final = r"^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$"

Text = Annotated[str, StringConstraints(max_length=16_384)]


def _days(written: Any) -> Any:
    names = [written] if isinstance(written, str) else written
    found: set[int] = set()
    for name in names if isinstance(names, list | tuple | set | frozenset) else [names]:
        first, _, last = str(name).lower().partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{str(name)[:40]!r} is no day. Write mon-fri, or a list of {', '.join(DAYS)}.")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found.update(day % 7 for day in range(start, end + 1 if end >= start else end + 8))
    return frozenset(found)


def _hours(written: Any) -> Any:
    found = re.fullmatch(_HOURS[1:-1], written) if isinstance(written, str) else None
    if found is None:
        raise ValueError('must be a time from and a time until. Write "09:00-17:30".')
    start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if start == end or start == 1440:
        raise ValueError("must not be empty. For whole days leave `hours` out.")
    return start, end


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"{name[:60]!r} is no time zone here. Write one such as Europe/Prague, or UTC."
        ) from None
    return name


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


class WhenShape(BaseModel):
    """At which times."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: Annotated[frozenset[int], BeforeValidator(_days), _text_schema(_DAYS, "mon-fri")] = frozenset()
    """`mon-fri`, or a list: [mon, wed]. Of hours over midnight, the day on which they begin."""
    hours: Annotated[tuple[int, int], BeforeValidator(_hours), _text_schema(_HOURS, "09:00-17:30")] | None = (
        None
    )
    """`09:00-17:30`; `22:00-06:00` is over midnight."""
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """The time zone of both: `Europe/Prague`."""
    labels: dict[Text, Text] = Field(default_factory=dict)
    """Labels that a person gave the session (`hub sessions label`)."""

    @model_validator(mode="after")
    def _says_when(self) -> WhenShape:
        if not self.days and self.hours is None and not self.labels:
            raise ValueError("does not say when. Add `days`, `hours` or `labels`.")
        return self
