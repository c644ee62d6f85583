"""The shapes of the two kinds of manifest, as a person writes them.

Only shapes: which keys there are, what may stand there, and in which unit. `connect:` is checked
apart, by the connector that it names. What the hub works with is in `manifest.py`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema

from hub import units

__all__ = [
    "AgentShape",
    "Annotations",
    "Limits",
    "OverrideShape",
    "RuleShape",
    "ServerShape",
    "Tools",
]

_SERVER_NAME: Final = r"^[a-z][a-z0-9-]{0,23}$"
_AGENT_NAME: Final = r"^[a-z][a-z0-9-]{0,62}$"
_PATTERN_LENGTH_MAX: Final = 1024


def _server_name(name: str) -> str:
    if re.fullmatch(_SERVER_NAME[1:-1], name) is None:
        raise ValueError(
            f"{name[:60]!r} is not a server's name. Write a lower-case letter, then lower-case letters, "
            "digits and '-', at most 24 characters in all."
        )
    if name == "hub":
        raise ValueError("'hub' is the name of the hub's own tools. Choose another.")
    return name


def _agent_name(name: str) -> str:
    if re.fullmatch(_AGENT_NAME[1:-1], name) is None:
        raise ValueError(
            f"{name[:80]!r} is not an agent's name. Write a lower-case letter, then lower-case letters, "
            "digits and '-', at most 63 characters in all."
        )
    return name


def _pattern(pattern: str) -> str:
    if not 0 < len(pattern) <= _PATTERN_LENGTH_MAX:
        raise ValueError(f"must have 1 to {_PATTERN_LENGTH_MAX} characters. '*' stands for everything.")
    return pattern


def _not_none(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise ValueError("names nothing. Write a pattern such as 'git__*', or remove the rule.")
    return patterns


def _listed(value: Any) -> Any:
    """One text for a list of one."""
    return [value] if isinstance(value, str) else value


def _rule(value: Any) -> Any:
    return {"use": [value]} if isinstance(value, str) else value


def _not_yet(value: Any) -> Any:
    # Read and ignored, it would allow more than its author meant to.
    raise ValueError(
        "is not supported yet by this version, and without it more would be allowed than is written here. "
        "Remove it, or narrow `use` and `never` instead."
    )


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


ServerName = Annotated[
    str, AfterValidator(_server_name), WithJsonSchema({"type": "string", "pattern": _SERVER_NAME})
]
AgentName = Annotated[
    str, AfterValidator(_agent_name), WithJsonSchema({"type": "string", "pattern": _AGENT_NAME})
]
Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = tuple[Pattern, ...]
Duration = Annotated[float, BeforeValidator(units.seconds), _text_schema(units.DURATION_PATTERN, "30s")]
Size = Annotated[
    int,
    BeforeValidator(lambda written: units.size_bytes(written, least=1024)),
    _text_schema(units.SIZE_PATTERN, "64MiB"),
]
Text = Annotated[str, StringConstraints(max_length=16_384)]
Flag = Annotated[bool, Strict()]
Reserved = SkipJsonSchema[Annotated[Any, BeforeValidator(_not_yet)]]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Annotations(_Shape):
    """What a person says of a tool; what is left out stays as the server says it."""

    title: Text | None = None
    readOnlyHint: Flag | None = None  # noqa: N815 (the protocol's own names)
    destructiveHint: Flag | None = None  # noqa: N815
    idempotentHint: Flag | None = None  # noqa: N815
    openWorldHint: Flag | None = None  # noqa: N815


class OverrideShape(_Shape):
    """What is shown instead of the server's own words."""

    title: Text | None = None
    description: Text | None = None
    annotations: Annotations = Annotations()


class Tools(_Shape):
    """Which of the server's tools are offered at all, and how. Patterns match the server's own names."""

    allow: Patterns = ("*",)
    deny: Patterns = ()
    override: dict[Pattern, OverrideShape] = Field(default_factory=dict)


class Limits(_Shape):
    """How long and how much. In the file with units; here seconds and bytes."""

    connect: Duration = 30.0
    """Until a server that is started has to answer. (Installing a package has its own limit.)"""
    call: Duration = 60.0
    """Until a call has to be answered."""
    idle: Duration = 600.0
    """After how long without a call a server's process is ended."""
    concurrent: Annotated[int, Strict(), Field(ge=1, le=10_000)] | None = None
    """Requests under way at once; left out: 64 for a process, no limit for HTTP."""
    message: Size = 64 * 1024**2
    """The largest message that is taken from the server."""


class ServerShape(_Shape):
    """One server that the hub reaches."""

    server: ServerName
    """Its name: the first part of its tools' names."""
    title: Text | None = None
    connect: Any
    """How to reach it: exactly one kind."""
    era: Literal["auto", "modern", "legacy"] = "auto"
    """Which generation of the protocol to speak with it."""
    start: Literal["on-demand", "eager"] = "on-demand"
    share: Literal["auto", "hub", "session"] = "auto"
    """Whether agents' sessions share one link to it."""
    cwd: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Where its command runs; left out: the hub's folder."""
    trust: Literal["annotations"] | None = None
    """`annotations`: what the server says of its tools may decide something (which only read)."""
    results: Literal["whole"] | None = None
    names: Literal["prefixed", "bare"] = "prefixed"
    check: Literal["arguments"] | None = None
    """`arguments`: a call's arguments are checked by the tool's schema before anything is sent."""
    limits: Limits = Limits()
    tools: Tools = Tools()


class RuleShape(_Shape):
    """One rule of what an agent may use."""

    use: Annotated[
        Patterns, AfterValidator(_not_none), BeforeValidator(_listed, json_schema_input_type=str | Patterns)
    ]
    """Patterns over `server__tool` (and `server__URI`)."""
    with_: Reserved = Field(default=None, alias="with")
    ask: Reserved = None
    when: Reserved = None
    limits: Reserved = None
    only: Reserved = None


class AgentShape(_Shape):
    """One agent, and what it may use. Nothing is allowed that no rule allows."""

    agent: AgentName
    title: Text | None = None
    may: tuple[Annotated[RuleShape, BeforeValidator(_rule, json_schema_input_type=str | RuleShape)], ...] = ()
    never: Patterns = ()
    """A deny always wins."""
    limits: Reserved = None
