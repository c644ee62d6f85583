"""Stands where a server would, for the hub's own tools: no process, no link, always there.

Its calls come the way of every call, so they are authorized, limited and recorded like any other. Their
arguments have been judged by the tools' own schemas before (`Fleet.checks_arguments`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from hub.builtin import definitions
from hub.builtin.definitions import SERVER, Definition
from hub.catalog import Offer
from hub.errors import NotFound
from hub.model import Call, Json, Result
from hub.templates import stems_from

__all__ = ["SERVER", "Own", "OwnPrompt", "OwnTemplate", "OwnTool", "Wrong", "is_a_persons_word", "said"]

_WHOLE_MAX: Final = 2**53


class Wrong(Exception):
    """What was asked of a tool cannot be done: `str()` is what the model reads. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class OwnTool:
    name: str
    """Without the server's: `session` is `hub__session` to agents."""
    definition: Json
    run: Callable[[Call, Json], Awaitable[Result]]
    """`(call, arguments)`. May raise `Wrong`, and any `HubError`."""
    reads_only: bool = False

    @classmethod
    def of(cls, defined: Definition, run: Callable[[Call, Json], Awaitable[Result]]) -> OwnTool:
        return cls(defined.definition["name"], defined.definition, run, defined.reads_only)


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    name: str
    definition: Json
    run: Callable[[Call, Json], Awaitable[Result]]


@dataclass(frozen=True, slots=True)
class OwnTemplate:
    uri: str
    """A URI template, level 1."""
    definition: Json
    read: Callable[[Call, str], Awaitable[Result]]
    """`(call, uri)`. May raise `NotFound`."""


class Own:
    """Everything is added before the hub starts; what there is does not change afterwards."""

    def __init__(self) -> None:
        self._tools: dict[str, OwnTool] = {}
        self._prompts: dict[str, OwnPrompt] = {}
        self._templates: list[OwnTemplate] = []

    def add(self, *added: OwnTool | OwnPrompt | OwnTemplate) -> None:
        for each in added:
            if isinstance(each, OwnTool):
                self._tools[each.name] = each
            elif isinstance(each, OwnPrompt):
                self._prompts[each.name] = each
            else:
                self._templates.append(each)

    @property
    def offer(self) -> Offer:
        return definitions.offer(
            [
                Definition({**tool.definition, "name": tool.name}, tool.reads_only)
                for tool in self._tools.values()
            ],
            [{**template.definition, "uriTemplate": template.uri} for template in self._templates],
            [{**prompt.definition, "name": prompt.name} for prompt in self._prompts.values()],
        )

    async def send(self, call: Call) -> Result:
        """Do what is asked. Raises what that raises, but `Wrong`."""
        assert call.entry is not None
        own = call.entry.own
        if call.method == "completion/complete":
            return {"completion": {"values": []}}
        arguments = call.params.get("arguments") or {}
        try:
            if call.method == "tools/call" and own in self._tools:
                tool = self._tools[own]
                return await tool.run(call, _with_plain_numbers(tool.definition, arguments))
            if call.method == "prompts/get" and own in self._prompts:
                return await self._prompts[own].run(call, arguments)
            if call.method == "resources/read":
                for template in self._templates:
                    if stems_from(template.uri, own):
                        return await template.read(call, own)
        except Wrong as wrong:
            if call.method != "tools/call":
                raise NotFound(str(wrong)) from None
            return {"content": [{"type": "text", "text": str(wrong)}], "isError": True}
        raise NotFound(f"Unknown {call.kind}: {call.name}")


def _with_plain_numbers(definition: Json, arguments: Json) -> Json:
    """`10.0` and `1e1` are whole numbers too: from here on Python's own. Raises `Wrong`: one is too large."""
    for name, known in definition["inputSchema"]["properties"].items():
        if name not in arguments or known.get("type") != "integer":
            continue
        value = arguments[name]
        number = value if type(value) is int else int(Decimal(str(value)))
        if abs(number) > _WHOLE_MAX:
            raise Wrong(f"{name} must be at most {_WHOLE_MAX}.")
        if number is not value:
            arguments = {**arguments, name: number}
    return arguments


def is_a_persons_word(call: Call, argument: str) -> bool:
    """Whether a rule that lets this very call through says something of that argument, and stands in the
    agent's manifest. An agent writes the rules of its child tokens itself: those only narrow."""
    grants = call.agent.grants
    while grants.within is not None:
        grants = grants.within
    spoken = [rule for rule in call.rules if rule.with_ is not None and argument in rule.with_]
    return any(rule is each for rule in spoken for each in grants.may)


def said(text: str, structured: Json | None = None) -> Result:
    """A tool's result: what a model reads, and the same for programs."""
    result: Result = {"content": [{"type": "text", "text": text}]}
    if structured is not None:
        result["structuredContent"] = structured
    return result
