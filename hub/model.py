"""The nouns, frozen. No I/O, no clock, nothing that can wait.

An agent uses an entry of an upstream: that use is a `Call`. Params and results are the plain
dicts of the protocol, from edge to edge; nobody modifies one in place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from hub.policy import Grants, Rule
    from hub.route import Route

__all__ = [
    "HUB_KEY",
    "KINDS",
    "Agent",
    "Call",
    "Curation",
    "Entry",
    "Handler",
    "Json",
    "Kind",
    "Middleware",
    "Notify",
    "Result",
]

Json = dict[str, Any]
Result = dict[str, Any]
Notify = Callable[[str, Json], None]
"""`(method, params)`: what is said to the agent while its call runs. Must not block."""

HUB_KEY = "hub/instance"
"""In `_meta`, beside the hub's capabilities: which hub it is, so that it knows when it has reached itself."""

Kind = Literal["tool", "resource", "template", "prompt", "extension"]
KINDS: tuple[Kind, ...] = ("tool", "resource", "template", "prompt")
"""The kinds that servers list. (An extension that a server speaks is used, but listed nowhere.)"""


@dataclass(frozen=True, slots=True)
class Curation:
    """What a person's manifest does to the arguments of one tool."""

    fixed: Mapping[str, Any]
    """Filled in by the hub, and not the agent's to choose."""
    defaults: Mapping[str, Any]
    """Filled in where the agent leaves them out."""
    theirs: Json
    """The server's own definition: what is shown differs from it in the arguments."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tool, resource, resource template or prompt of one server, or an extension that it speaks."""

    kind: Kind
    server: str
    own: str
    """Its name (tool, prompt), URI, URI template or identifier at its server."""
    name: str
    """What agents call it by."""
    grant: str
    """What rules match: `server__name` or `server__URI`, also where `name` is bare."""
    definition: Json
    """As agents get it in a list."""
    reads_only: bool = False
    """Known to change nothing: by the manifest's word, or the server's where the manifest trusts it."""
    tags: tuple[str, ...] = ()
    """What a person's manifest calls it, for rules."""
    alias: str | None = None
    """What rules match as well: `server__name` by the name that a person gave it."""
    curation: Curation | None = None
    cost: float = 0.0
    """Of one call, by the manifest's word, in a unit that a person chose."""
    repeatable: bool = False
    """Known to do no more when it is done twice: it only reads, or is idempotent, by the same words."""
    route: Route | None = None
    """What its manifest says of the way of its calls, where it says anything."""
    held: bool = False
    """Kept back until a person has looked at its definition: it is in no list, and no call of it goes out."""

    @property
    def theirs(self) -> Json:
        """The definition as its server has it, where it comes to arguments."""
        return self.definition if self.curation is None else self.curation.theirs


@dataclass(frozen=True, slots=True)
class Agent:
    """Who asks: an identity proved by a credential. There is no empty one."""

    name: str
    grants: Grants
    token: str | None = None
    """The id of the token that proved it; `None` where the operating system did (stdio, admin socket)."""
    counted: bool = False
    """Whether that token is good for a number of calls only."""


T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def _frozen_when_checked(cls: type[T]) -> type[T]:
    """Frozen for the type checker alone: to make a frozen one takes 2 us more, and there is one a call."""
    return dataclass(slots=True)(cls)


@_frozen_when_checked
class Call:
    """One use of one entry by one agent in one session."""

    id: str
    agent: Agent
    session: str
    method: str
    """`tools/call`, `resources/read`, `prompts/get`, `completion/complete`, a task's, or an extension's."""
    kind: Kind
    """Of the entry that it names."""
    name: str
    """The name or URI that the agent gave; of a task, the name of the tool that made it."""
    entry: Entry | None
    """What it named, granted or not; `None` where there is no such entry."""
    params: Json
    """As the agent sent them, without the protocol's own keys in `_meta`."""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    """What the agent's client declared for this request."""
    modern: bool = True
    """Whether the agent speaks the era of 2026-07-28."""
    log_level: str | None = None
    notify: Notify | None = None
    rules: tuple[Rule, ...] = ()
    """The rules of `may` that allow this very call; their conditions hold together. (For what stands
    inside of `authorize`, which sees to them. What is asked of a task has none.)"""
    labels: Mapping[str, str] | None = None
    """Of its session, where it has any."""
    came_by: str | None = None
    """The session that its connection has, which may go on as another; `None` where it named its own."""
    sources: tuple[str, ...] = ()
    """Where of its arguments comes what was filled in from results: `server:NAME`, `tag:NAME`."""
    answer: Result | None = None
    """What stands in for its server's answer: nothing is sent."""
    tried: tuple[str, ...] = ()
    """What it stands in for: the tools that did not answer, as rules know them."""
    keyed: bool = False
    """Whether it came with a key under which it is made once (see `middleware/once.py`)."""


Handler = Callable[[Call], Awaitable[Result]]


class Middleware(Protocol):
    """What may happen to a call on its way; `inner` is the rest of that."""

    def __call__(self, call: Call, inner: Handler) -> Awaitable[Result]: ...
