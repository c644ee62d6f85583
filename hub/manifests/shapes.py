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
    model_validator,
)

from hub import units
from hub.manifests import route_shape
from hub.manifests.quota_shape import Bytes, Calls, Cost, Price, QuotaShape, Rate, Repeat
from hub.manifests.route_shape import Duration
from hub.manifests.when_shape import WhenShape
from hub.results import settings as result_settings
from hub.rules.quota import Quota
from hub.rules.schemas import check

__all__ = [
    "AgentShape", "Annotations", "IdentifyShape", "Limits", "OverrideShape", "RuleShape", "ServerShape",
    "TargetShape", "Tools", "WhenShape",
]  # fmt: skip

_SERVER_NAME: Final = r"^[a-z][a-z0-9-]{0,23}$"
_AGENT_NAME: Final = r"^[a-z][a-z0-9-]{0,62}$"
_PATTERN_LENGTH_MAX: Final = 1024


def _server_name(name: str) -> str:
    if name == "hub":
        raise ValueError("'hub' is the name of the hub's own tools. Choose another.")
    return _any_server_name(name)


def _any_server_name(name: str) -> str:
    if re.fullmatch(_SERVER_NAME[1:-1], name) is None:
        raise ValueError(
            f"{name[:60]!r} is not a server's name. Write a lower-case letter, then lower-case letters, "
            "digits and '-', at most 24 characters in all."
        )
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


def _one(value: Any) -> Any:
    """One mapping for a list of one."""
    return [value] if isinstance(value, dict) else value


def _rule(value: Any) -> Any:
    return {"use": [value]} if isinstance(value, str) else value


def _argument_schema(schema: Any) -> Any:
    check(schema)
    return schema


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


ServerName = Annotated[
    str, AfterValidator(_server_name), WithJsonSchema({"type": "string", "pattern": _SERVER_NAME})
]
AnyServerName = Annotated[
    str, AfterValidator(_any_server_name), WithJsonSchema({"type": "string", "pattern": _SERVER_NAME})
]
"""The hub's own as well."""
AgentName = Annotated[
    str, AfterValidator(_agent_name), WithJsonSchema({"type": "string", "pattern": _AGENT_NAME})
]
Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = tuple[Pattern, ...]
Size = Annotated[
    int,
    BeforeValidator(lambda written: units.size_bytes(written, least=1024)),
    _text_schema(units.SIZE_PATTERN, "64MiB"),
]
ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,48}$")]
Tag = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Text = Annotated[str, StringConstraints(max_length=16_384)]
Flag = Annotated[bool, Strict()]
ResultsLimit = Annotated[
    int | Literal["whole"],
    BeforeValidator(result_settings.limit),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": result_settings.TOKENS_LEAST}, {"const": "whole"}]}
    ),
]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Annotations(_Shape):
    """What a person says of a tool; what is left out stays as the server says it."""

    title: Text | None = None
    readOnlyHint: Flag | None = None  # noqa: N815 (the protocol's own names)
    destructiveHint: Flag | None = None  # noqa: N815
    idempotentHint: Flag | None = None  # noqa: N815
    openWorldHint: Flag | None = None  # noqa: N815


class OverrideShape(_Shape):
    """What is shown instead of the server's own words."""

    name: ToolName | None = None
    """What it is called instead, after `server__`. Of one tool: the key is then no pattern."""
    title: Text | None = None
    description: Text | None = None
    annotations: Annotations = Annotations()
    fix: dict[Text, Any] = Field(default_factory=dict)
    """Arguments that agents neither see nor choose, and what they are."""
    default: dict[Text, Any] = Field(default_factory=dict)
    """Arguments that agents may leave out, and what they are then."""
    tags: Annotated[
        tuple[Tag, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[Tag, ...])
    ] = ()
    """Words by which rules can speak of it."""
    cost: Price | None = None
    """Of one call, in a unit of your choice."""
    results: ResultsLimit | None = None
    """How many tokens its result may have and still be given as it is; `whole`: any number."""
    limits: route_shape.TimesShape = route_shape.TimesShape()
    """Its own times."""
    retry: route_shape.RetryOf | None = None
    output: route_shape.Output | None = None
    """A JSON Schema of its structured result, instead of the server's own."""
    on_invalid: route_shape.OnInvalid | None = None
    """What to do with a result that does not fit it; left out: `error`."""
    fallback: route_shape.Fallback = ()
    """What stands in for it, in this order, where its server does not answer."""


def _named_one_by_one(overrides: dict[str, OverrideShape]) -> dict[str, OverrideShape]:
    for pattern, override in overrides.items():
        if override.name is not None and ("*" in pattern or "?" in pattern):
            raise ValueError(
                f"{pattern!r} may be many tools, which cannot share one name. Write the one tool's own name."
            )
    return overrides


class Tools(_Shape):
    """Which of the server's tools are offered at all, and how. Patterns match the server's own names."""

    allow: Patterns = ("*",)
    deny: Patterns = ()
    override: Annotated[dict[Pattern, OverrideShape], AfterValidator(_named_one_by_one)] = Field(
        default_factory=dict
    )
    changed: Literal["quarantine", "serve"] = "quarantine"
    """What becomes of a tool that its server defines otherwise than before: kept back until a person has
    approved it (`hub tools changed`), or served as it is."""
    new: Literal["serve", "quarantine"] = "serve"
    """The same of a tool that its server did not have before."""


class Limits(_Shape):
    """How long and how much. In the file with units; here seconds and bytes."""

    connect: Duration = 30.0
    """Until a server that is started has to answer. (Installing a package has its own limit.)"""
    call: Duration = 60.0
    """Until a call has to be answered."""
    silence: Duration | None = None
    """After how long without a word of a call (its progress, for one) it is given up."""
    idle: Duration = 600.0
    """After how long without a call a server's process is ended."""
    concurrent: Annotated[int, Strict(), Field(ge=1, le=10_000)] | None = None
    """Requests under way at once; left out: 64 for a process, no limit for HTTP."""
    message: Size = 64 * 1024**2
    """The largest message that is taken from the server."""
    memory: Size | None = None
    """Memory that its process, and each that it starts, may have of its own (Linux)."""
    files: Annotated[int, Strict(), Field(ge=16, le=1_000_000)] | None = None
    """Files that its process, and each that it starts, may have open (Linux)."""
    processes: Annotated[int, Strict(), Field(ge=1, le=1_000_000)] | None = None
    """How many its process and all that it starts may be together, each thread counted (Linux)."""
    rate: Rate | None = None
    """Calls in any second or minute, of all agents together."""
    calls: Calls | None = None
    """Calls in an hour, day, week or month (UTC), of all agents together."""
    bytes: Bytes | None = None
    """Of arguments and results, of all agents together."""
    cost: Cost | None = None
    """In the unit of `cost` of its tools, of all agents together."""

    def quota(self) -> Quota | None:
        """What it may be used in all; `None` where that is not limited."""
        quota = Quota(self.rate, self.calls, self.bytes, self.cost)
        return None if quota == Quota() else quota


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
    results: ResultsLimit | None = None
    """How many tokens a result may have and still be given as it is; `whole`: any number."""
    names: Literal["prefixed", "bare"] = "prefixed"
    check: Literal["arguments"] | None = None
    """`arguments`: a call's arguments are checked by the tool's schema before anything is sent."""
    limits: Limits = Limits()
    retry: route_shape.RetryOf | None = None
    """How often a call is tried that may be made twice, or that was never sent."""
    breaker: route_shape.Breaker = route_shape.BreakerShape()
    """When it is left alone for a while; `off`: never."""
    replicas: route_shape.ReplicasOf = ()
    """Further ways to reach the same, or how many there are to be in all."""
    tools: Tools = Tools()


class TargetShape(_Shape):
    """Which entries a rule is about: those to which all of it applies."""

    use: Annotated[
        Patterns, AfterValidator(_not_none), BeforeValidator(_listed, json_schema_input_type=str | Patterns)
    ] = ("*",)
    """Patterns over `server__tool` (and `server__URI`)."""
    server: Annotated[
        tuple[AnyServerName, ...],
        BeforeValidator(_listed, json_schema_input_type=str | tuple[AnyServerName, ...]),
    ] = ()
    tag: Annotated[
        tuple[Tag, ...], BeforeValidator(_listed, json_schema_input_type=str | tuple[Tag, ...])
    ] = ()
    readOnly: Flag | None = None  # noqa: N815 (as the protocol spells it)

    @model_validator(mode="after")
    def _says_which(self) -> TargetShape:
        if self.model_fields_set.isdisjoint({"use", "server", "tag", "readOnly"}):
            raise ValueError("does not say what it is about. Add `use`, `server`, `tag` or `readOnly`.")
        return self


class RuleShape(TargetShape):
    """One rule of what an agent may use."""

    with_: dict[Text, Annotated[Any, AfterValidator(_argument_schema)]] | None = Field(
        default=None, alias="with"
    )
    """By argument, what it must be: a JSON Schema. It must be there and fit."""
    only: Flag = False
    """Whether other arguments than those are refused."""
    ask: Literal["human"] | None = None
    """Whether a person has to approve the very call."""
    when: WhenShape | None = None
    limits: QuotaShape | None = None
    """How much may be used by this rule."""
    repeat: Repeat | None = None
    """How often in a row the same call may have the same result."""


class IdentifyShape(_Shape):
    """How an agent is known to an issuer of tokens that hub.yaml's `oauth` names."""

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """Exactly as its tokens have it in `iss`."""
    claims: dict[Text, Text] = Field(min_length=1)
    """What its tokens must claim: each is that text, or a list that holds it."""


class AgentShape(_Shape):
    """One agent, and what it may use. Nothing is allowed that no rule allows."""

    agent: AgentName
    title: Text | None = None
    identify: Annotated[
        tuple[IdentifyShape, ...],
        BeforeValidator(_one, json_schema_input_type=IdentifyShape | tuple[IdentifyShape, ...]),
    ] = ()
    """Whose tokens prove it besides the hub's own. One, or a list of which any will do."""
    may: tuple[Annotated[RuleShape, BeforeValidator(_rule, json_schema_input_type=str | RuleShape)], ...] = ()
    never: tuple[
        Annotated[TargetShape, BeforeValidator(_rule, json_schema_input_type=str | TargetShape)], ...
    ] = ()
    """A deny always wins."""
    limits: QuotaShape | None = None
    """How much may be used, by all rules together."""
    results: ResultsLimit | None = None
    """How many tokens a result may have and still be given as it is; `whole`: any number."""
