"""How long a result may be, for whom and of what; and the right to read on that goes with it.

What an agent's manifest says counts before all else, as it knows its own window; then what a server's says
of the tool, and of the server; then `hub.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from hub.builtin.definitions import READ, SERVER
from hub.model import Entry
from hub.policy import decide, matches, may_reach, named
from hub.results.settings import DEFAULT, RESULT_URI, WHOLE

if TYPE_CHECKING:
    from hub.manifests.manifest import AgentManifest, Manifests, ServerManifest
    from hub.model import Call

__all__ = ["OWN_RESULTS", "ResultLimits", "with_right_to_read"]

OWN_RESULTS: Final = (f"{SERVER}__{READ.definition['name']}", f"{SERVER}__{RESULT_URI}*")
"""What rules would match to read results."""

_READ: Final = named("tool", SERVER, READ.definition["name"])

Limit = int | Literal["whole"] | None


class ResultLimits:
    def __init__(self, tokens: int | None) -> None:
        """
        Args:
            tokens: Where no manifest says anything; `None`: any number.
        """
        self._tokens: int | None = tokens
        self._agents: Mapping[str, int | None] = {}
        self._servers: Mapping[str, ServerManifest] = {}
        self._known: dict[tuple[str, str], int | None] = {}

    def replace(self, manifests: Manifests) -> None:
        self._agents = {
            name: None if agent.results == WHOLE else agent.results
            for name, agent in manifests.agents.items()
            if agent.results is not None
        }
        self._servers = manifests.servers
        self._known = {}

    def of_agent(self, agent: str) -> int | None:
        """Whatever it calls."""
        return self._agents.get(agent, self._tokens)

    def of(self, call: Call) -> int | None:
        """How many tokens the result of a call may have; `None`: any number. (0.3 us)

        Of what is no tool, what the agent's manifest says counts alone.
        """
        entry = call.entry
        if entry is None or entry.server == SERVER:
            return None
        limit = self._agents.get(call.agent.name, 0)
        if entry.kind != "tool":
            limit = limit or None
        elif limit == 0:
            key = (entry.server, entry.own)
            limit = self._known.get(key, 0)
            if limit == 0:
                limit = self._known[key] = self._of_entry(entry)
        # What an agent cannot read on is given to it whole.
        return limit if limit is None or decide(call.agent.grants, _READ).allowed else None

    def _of_entry(self, entry: Entry) -> int | None:
        manifest = self._servers.get(entry.server)
        found: Limit = None
        if manifest is not None:
            found = manifest.results
            for pattern, override in manifest.tools.override.items():
                if override.results is not None and matches(pattern, entry.own):
                    found = override.results
        if found is None:
            return self._tokens
        return None if found == WHOLE else found


def with_right_to_read(manifests: Manifests, tokens: int | None = DEFAULT.tokens) -> Manifests:
    """The same, where each agent that may get a handle may read what it is of, without a rule.

    Args:
        tokens: What `hub.yaml` says.
    """
    shortening = [name for name, server in manifests.servers.items() if _may_shorten(server, tokens)]
    agents = {}
    for name, agent in manifests.agents.items():
        always = OWN_RESULTS if _may_get_handles(agent, manifests, shortening) else ()
        if agent.rules.always != always:
            agent = replace(agent, rules=replace(agent.rules, always=always))
        agents[name] = agent
    return replace(manifests, agents=agents)


def _may_shorten(server: ServerManifest, tokens: int | None) -> bool:
    written: Limit = server.results
    said = [written] if written is not None else [WHOLE if tokens is None else tokens]
    said.extend(each.results for each in server.tools.override.values() if each.results is not None)
    return any(limit != WHOLE for limit in said)


def _may_get_handles(agent: AgentManifest, manifests: Manifests, shortening: list[str]) -> bool:
    if agent.results == WHOLE:
        return False
    among = shortening if agent.results is None else manifests.servers
    return any(may_reach(agent.rules, server) for server in among)
