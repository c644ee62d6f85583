"""The two verbs: what may I use, and use it.

Agents over HTTP and stdio, the command line, and everything to come go through `entries` and
`call`. Holds the catalog of the moment and each agent's view of it; both are values that are
replaced, so readers need no lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hub import extensions
from hub.approvals.tasks import ApprovalTasks, TaskListening
from hub.catalog import OWN_SCHEME, Catalog
from hub.env import Env
from hub.errors import InvalidParams, NotFound
from hub.model import HUB_KEY, KINDS, Agent, Call, Entry, Handler, Json, Kind, Notify, Result
from hub.policy import decide
from hub.rules.narrow import narrowed
from hub.task_watching import TaskWatching
from hub.tasks import TASK_METHODS, Task, TaskIds
from hub.templates import URI_LENGTH_MAX, has_one_reading, stems_from
from hub.watching import Listener, Watching

__all__ = ["METHOD_KINDS", "Hub", "Sight"]

METHOD_KINDS: Mapping[str, Kind | None] = {
    "tools/call": "tool",
    "resources/read": "resource",
    "prompts/get": "prompt",
    "completion/complete": None,
}
"""The methods that use an entry, and the kind that each uses; a completion says it in its `ref`."""

_REFERENCES: Mapping[str, tuple[Kind, str]] = {
    "ref/prompt": ("prompt", "name"),
    "ref/resource": ("template", "uri"),
}

_SIGHTS_MAX = 1024
_TEXTS_BYTES_MAX = 64 * 1024 * 1024


class Shared:
    """How much all views together keep of what they look like: an agent may have many, each with a token."""

    def __init__(self) -> None:
        self._size = 0
        self._views: dict[int, Texts] = {}

    def grow(self, view: Texts, size: int) -> None:
        if self._size + size > _TEXTS_BYTES_MAX:
            for each in self._views.values():
                each.clear()
            self._views.clear()
            self._size = 0
        self._size += size
        self._views[id(view)] = view

    def drop(self, view: Texts) -> None:
        if self._views.pop(id(view), None) is not None:
            self._size -= sum(map(len, view.values()))


class Texts(dict[Any, bytes]):
    """What one view looks like, as text."""

    def __init__(self, shared: Shared) -> None:
        super().__init__()
        self._shared = shared

    def __setitem__(self, key: Any, text: bytes) -> None:
        self._shared.grow(self, len(text) - len(self.get(key, b"")))
        super().__setitem__(key, text)


@dataclass(slots=True)
class Sight:
    """What one agent may use of one catalog: computed once, then looked up."""

    catalog: Catalog
    agent: Agent
    entries: Mapping[Kind, tuple[Entry, ...]]
    cached: Texts = field(default_factory=lambda: Texts(Shared()))
    """For whoever answers lists: bytes by whatever key it likes. Gone when catalog or grants change."""


class Hub:
    def __init__(
        self,
        env: Env,
        handler: Handler,
        watch: Callable[[Call, Listener], Watching],
        catalog: Catalog | None = None,
        *,
        tasks: TaskIds | None = None,
        watch_tasks: Callable[[TaskWatching | TaskListening], object] = lambda watching: None,
        own_tasks: ApprovalTasks | None = None,
        name: str = "",
    ) -> None:
        """
        Args:
            handler: The chain, ending at the servers.
            watch: Sees to it that the resource which a call reads is heard of.
            tasks: Opens the ids of tasks; without it none is known.
            watch_tasks: Sees to it that tasks of a server, or of the hub's own, are heard of.
            own_tasks: The tasks of the hub's own.
            name: Which hub it is, for clients that are hubs.
        """
        self.env = env
        self.meta: Final[Json] = {HUB_KEY: name} if name else {}
        """What it says of itself beside its capabilities."""
        self.catalog = catalog or Catalog()
        self._tasks = tasks
        self.watch_tasks = watch_tasks
        self.own_tasks = own_tasks
        self._handler = handler
        self._watch = watch
        self._sights: dict[tuple[str, int], Sight] = {}
        self._texts = Shared()
        self._listeners: set[Callable[[frozenset[Kind]], None]] = set()

    def sight(self, agent: Agent) -> Sight:
        """What `agent` may use now."""
        # Of one agent, tokens may differ in what they are good for.
        key = (agent.name, id(agent.grants))
        sight = self._sights.get(key)
        if sight is None or sight.catalog is not self.catalog or sight.agent.grants is not agent.grants:
            if sight is not None:
                self._texts.drop(sight.cached)
            elif len(self._sights) >= _SIGHTS_MAX:
                self._sights.clear()
                self._texts = Shared()
            sight = Sight(
                self.catalog,
                agent,
                {
                    kind: tuple(
                        narrowed(entry, decision)
                        for entry in self.catalog.entries[kind]
                        if (decision := decide(agent.grants, entry)).allowed
                    )
                    for kind in KINDS
                },
                Texts(self._texts),
            )
            self._sights[key] = sight
        return sight

    def entries(self, agent: Agent, kind: Kind) -> tuple[Entry, ...]:
        """What may I use? In a fixed order, without asking any server."""
        return self.sight(agent).entries[kind]

    def call(self, call: Call) -> Awaitable[Result]:
        """Use it: through the chain, to the server, and back.

        Raises:
            HubError: the hub refused it or failed at it.
            connectors.base.RemoteError: the server answered with an error.
        """
        return self._handler(call)

    def new_call(
        self,
        agent: Agent,
        session: str,
        method: str,
        params: Json,
        *,
        capabilities: Mapping[str, Any] | None = None,
        modern: bool = True,
        log_level: str | None = None,
        notify: Notify | None = None,
        labels: Mapping[str, str] | None = None,
        came_by: str | None = None,
    ) -> Call:
        """The call that `params` of `method` stand for, granted or not.

        Raises:
            NotFound: `method` uses no entry, and belongs to no extension that `agent` may use.
            InvalidParams: `params` name nothing at all.
        """
        kind: Kind
        if method in METHOD_KINDS:
            kind, name = _named(method, params)
            entry = self.find(kind, name, agent)
            if (
                kind == "tool"
                and name in self.catalog.for_pages
                and (entry is None or not decide(agent.grants, entry).allowed)
            ):
                entry = self._of_page(agent, name) or entry
        elif method in TASK_METHODS:
            kind, name, entry = "tool", *self._of_task(agent, method, params)
        else:
            kind, speakers = "extension", self.speakers(agent, method)
            if not speakers:
                raise NotFound(f"Unknown method: {method}")
            entry, params = extensions.route(speakers, self.catalog.entries["resource"], method, params)
            name = entry.name
        # What `authorize` will find in the usual case, which saves it a copy of the call (3 us).
        rules = () if entry is None else decide(agent.grants, entry).rules
        return Call(
            self.env.new_id(), agent, session, method, kind, name, entry, params,
            capabilities or {}, modern, log_level, notify, rules, labels, came_by,
        )  # fmt: skip

    def _of_task(self, agent: Agent, method: str, params: Json) -> tuple[str, Entry | None]:
        """The tool that made the task which `params` name, if this agent was ever given that."""
        id = params.get("taskId")
        if not isinstance(id, str):
            raise InvalidParams("Invalid params: 'taskId' must be a string")
        task = self.task(agent, id)
        if task is None:
            return id, None
        entry = self.catalog.find("tool", task.name)
        if entry is None or (entry.server, entry.own) != (task.server, task.tool):
            # Its manifest may have changed what it is called by.
            made = (e for e in self.catalog.entries["tool"] if (e.server, e.own) == (task.server, task.tool))
            entry = next(made, None)
        if entry is None:
            return id, None
        return entry.name, entry

    def _of_page(self, agent: Agent, own: str) -> Entry | None:
        """The tool that a page means by its own name: the only one so called that `agent` may use."""
        found = [
            entry for entry in self.catalog.for_pages.get(own, ()) if decide(agent.grants, entry).allowed
        ]
        return found[0] if len(found) == 1 else None

    def task(self, agent: Agent, id: str) -> Task | None:
        """The task that `agent` was given this id for; `None` where it was not."""
        return self._tasks.open(agent.name, id) if self._tasks is not None else None

    def speakers(self, agent: Agent, method: str) -> tuple[Entry, ...]:
        """The extensions of servers that a method may belong to and `agent` may use."""
        return extensions.speakers(self.catalog, agent.grants, method)

    def extensions(self, agent: Agent, *, modern: bool) -> Json:
        """The extensions to advertise to `agent`, with their settings."""
        used = {entry.server for entries in self.sight(agent).entries.values() for entry in entries}
        return extensions.advertised(self.catalog, agent.grants, used, modern=modern)

    def find(self, kind: Kind, name: str, agent: Agent | None = None) -> Entry | None:
        """The entry that a name or URI stands for, granted or not.

        A URI that no server lists stands for the first template that can have made it, of those by which
        `agent` may read it; the entry's `own` is then the URI itself. One that could be read as another, or
        is very long, stands for none.
        """
        entry = self.catalog.find(kind, name)
        if entry is None and kind == "resource":
            return self._from_template(name, agent)
        return entry

    def _from_template(self, uri: str, agent: Agent | None) -> Entry | None:
        if len(uri) > URI_LENGTH_MAX or not has_one_reading(uri):
            return None
        first: Entry | None = None
        for template in self.catalog.entries["template"]:
            prefix = f"hub+{template.server}:" if template.name != template.own else ""
            own = uri.removeprefix(prefix)
            if uri.startswith(OWN_SCHEME) and not template.own.startswith(OWN_SCHEME):
                continue  # whatever it makes of any URI: this one is the hub's
            if uri.startswith(prefix) and stems_from(template.own, own):
                entry = Entry(
                    "resource", template.server, own, uri, f"{template.server}__{own}", {}, reads_only=True,
                    repeatable=True, route=template.route,
                )  # fmt: skip
                if agent is None or decide(agent.grants, entry).allowed:
                    return entry
                # Nobody is kept from what they may read by a server that they may know nothing of.
                first = first or entry
        return first

    def swap(self, catalog: Catalog) -> None:
        """Put a new catalog in place, and tell who listens which kinds differ."""
        old, self.catalog = self.catalog, catalog
        changed = frozenset(kind for kind in KINDS if old.entries[kind] != catalog.entries[kind])
        if changed:
            for listener in list(self._listeners):
                listener(changed)

    def watch(self, call: Call, listener: Listener) -> Watching:
        """Hear of the resource that `call` would read, whenever it changes, until that is stopped.

        Raises:
            NotFound: there is none, or none that its agent may read: the same sentence.
        """
        if call.entry is None or not decide(call.agent.grants, call.entry).allowed:
            raise NotFound(f"Unknown resource: {call.name}")
        return self._watch(call, listener)

    def on_change(self, listener: Callable[[frozenset[Kind]], None]) -> Callable[[], None]:
        """Call `listener(kinds)` whenever the catalog changes; returns how to stop that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)


def _named(method: str, params: Json) -> tuple[Kind, str]:
    """What kind of entry a request uses, and the name or URI that it gives."""
    kind = METHOD_KINDS[method]
    key, where = ("uri" if kind == "resource" else "name"), params
    if kind is None:
        reference = params.get("ref")
        if not isinstance(reference, dict) or reference.get("type") not in _REFERENCES:
            raise InvalidParams("Invalid params: 'ref' must be a ref/prompt or a ref/resource")
        (kind, key), where = _REFERENCES[reference["type"]], reference
    name = where.get(key)
    if not isinstance(name, str):
        raise InvalidParams(f"Invalid params: '{key}' must be a string")
    return kind, name
