"""What a manifest says of the way of a call, as a person writes it: times, `retry`, `breaker`, `fallback`.

Only the shapes, and what may stand there. `hub/route.py` is what it means, `route_rules.py` what fits.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema, model_validator

from hub import units
from hub.route import Breaking, Candidate, Contract, Retry, Route
from hub.rules.schemas import check

__all__ = [
    "Breaker",
    "BreakerShape",
    "CandidateShape",
    "Duration",
    "Fallback",
    "OnInvalid",
    "Output",
    "ReplicasOf",
    "RetryOf",
    "RetryShape",
    "TimesShape",
    "route_of",
]

_CANDIDATES_MAX: Final = 8
_REPLICAS_MAX: Final = 16

Duration = Annotated[
    float,
    BeforeValidator(units.seconds),
    WithJsonSchema({"type": "string", "pattern": units.DURATION_PATTERN, "examples": ["30s"]}),
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RetryShape(_Shape):
    """How often a call is tried that may be made twice, or that was never sent."""

    attempts: Annotated[int, Strict(), Field(ge=1, le=10)] = 3
    """In all; 1: once."""
    wait: Duration = 0.2
    """Before the second; doubled before each further one."""
    most: Duration = 5.0
    """The longest time to wait, but for a server that asks for longer."""

    def retry(self) -> Retry:
        return Retry(self.attempts, self.wait, self.most)


class BreakerShape(_Shape):
    """When a server is left alone for a while."""

    failures: Annotated[int, Strict(), Field(ge=1, le=1000)] = 5
    """Calls in a row that failed, with no answer between."""
    wait: Duration = 1.0
    """Until one call may try it again; doubled each time that it fails too, up to 2 minutes."""

    def breaking(self) -> Breaking:
        return Breaking(self.failures, self.wait)


class TimesShape(_Shape):
    """Of one tool, in the place of its server's."""

    call: Duration | None = None
    """Until a call has to be answered."""
    silence: Duration | None = None
    """After how long without a word of a call it is given up."""


class CandidateShape(_Shape):
    """What stands in for a tool whose server does not answer: exactly one of `tool`, `cached`, `value`."""

    tool: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Another tool: `server__tool`."""
    arguments: dict[str, str] | None = None
    """By the name of its argument, which one of the first tool's it is; left out: all, by the same names."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    """Arguments that it gets besides."""
    cached: Duration | None = None
    """What the tool last answered the same agent to the same arguments, if it is not older."""
    value: Any = None
    """This answer."""

    @model_validator(mode="after")
    def _is_one(self) -> CandidateShape:
        named = self.model_fields_set & {"tool", "cached", "value"}
        if len(named) != 1 or (self.tool is None and self.cached is None and "value" not in named):
            raise ValueError("must say one thing. Write other__tool, {cached: 10m} or {value: …}.")
        if self.tool is None and not self.model_fields_set.isdisjoint({"arguments", "fixed"}):
            raise ValueError("has arguments, but no tool that gets them. Write {tool: other__tool, …}.")
        return self

    def candidate(self) -> Candidate:
        return Candidate(self.tool, self.arguments, self.fixed or None, self.cached, self.value)


def _times(value: Any) -> Any:
    """`retry: 3`."""
    return {"attempts": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _candidate(value: Any) -> Any:
    return {"tool": value} if isinstance(value, str) else value


def _output(schema: Any) -> Any:
    check(schema)
    return schema


def _replicas(value: Any) -> Any:
    # What stands in each is checked by its connector.
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= _REPLICAS_MAX:
            raise ValueError(f"must be from 1 to {_REPLICAS_MAX}, the first one counted.")
        return ({},) * (value - 1)
    if isinstance(value, list) and len(value) < _REPLICAS_MAX:
        return tuple(value)
    raise ValueError(
        "must be how many there are to be in all, or a list of ways to reach further ones. "
        "Write 3, or [{url: https://…}]."
    )


ReplicasOf = Annotated[
    tuple[Any, ...],
    BeforeValidator(_replicas),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": _REPLICAS_MAX},
                {"type": "array", "items": {"type": "object"}, "maxItems": _REPLICAS_MAX - 1},
            ]
        }
    ),
]
RetryOf = Annotated[RetryShape, BeforeValidator(_times, json_schema_input_type=int | RetryShape)]
Breaker = Literal["off"] | BreakerShape
Output = Annotated[
    dict[str, Any], BeforeValidator(_output), WithJsonSchema({"type": "object", "minProperties": 1})
]
OnInvalid = Literal["error", "retry", "fallback"]
Fallback = Annotated[
    tuple[
        Annotated[CandidateShape, BeforeValidator(_candidate, json_schema_input_type=str | CandidateShape)],
        ...,
    ],
    Field(max_length=_CANDIDATES_MAX),
]


def route_of(
    call_seconds: float | None,
    silence_seconds: float | None,
    retry: RetryShape | None,
    output: dict[str, Any] | None = None,
    on_invalid: OnInvalid | None = None,
    fallback: tuple[CandidateShape, ...] = (),
) -> Route | None:
    """What it means; `None` where nothing is said."""
    route = Route(
        call_seconds,
        silence_seconds,
        None if retry is None else retry.retry(),
        None if output is None else Contract(output, on_invalid or "error"),
        tuple(each.candidate() for each in fallback),
    )
    return None if route == Route() else route
