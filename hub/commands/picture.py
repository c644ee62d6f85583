"""What there is to look at, at one moment: servers, entries, agents, and who may use what.

For people, so it names files, lines and reasons. A running hub and a command without one make the
same picture, of what runs or of what was last known. Field names are a promise to scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.builtin.definitions import SERVER
from hub.catalog import Catalog
from hub.failure import Failure
from hub.manifests.manifest import AgentManifest, Manifests, ServerManifest
from hub.model import KINDS, Entry, Json, Kind
from hub.nearest import nearest
from hub.policy import Grants, Rule, bare, decide
from hub.rules.narrow import narrowed

__all__ = ["Picture", "Status"]


@dataclass(frozen=True, slots=True)
class Status:
    """How one server is doing."""

    state: str
    """As its `Upstream` says, or `unknown` where no hub runs."""
    reason: str | None = None
    doing: str | None = None
    needs_login: bool = False
    """Whether it failed for want of a person's login."""
    since: str | None = None
    retry_at: str | None = None
    waits: bool = False
    """Whether it is tried again only when somebody asks for it."""
    protocol: str | None = None
    """As agreed on last; `None` where it has never been asked what it offers."""
    info: Json | None = None
    capabilities: Json | None = None
    instructions: str | None = None
    last_words: tuple[str, ...] = ()
    breaker: str | None = None
    """`closed`, `open` or `half-open`; `None` where no hub runs."""
    left_alone: str | None = None
    """Why no calls go to it, and until when."""
    held: int = 0
    """How many of its tools are kept back; its instructions count as one."""
    replicas: tuple[Json, ...] = ()
    """The further links to it, as they are."""


@dataclass(frozen=True, slots=True)
class Picture:
    manifests: Manifests
    catalog: Catalog
    statuses: Mapping[str, Status]

    def servers(self) -> list[Json]:
        return [self._server(manifest) for _, manifest in sorted(self.manifests.servers.items())]

    def server(self, name: str) -> Json:
        """Raises `Failure`: there is none."""
        manifest = self.server_manifest(name)
        status = self._status(name)
        left_out = [out for out in self.catalog.left_out if out.server == name]
        return {
            **self._server(manifest),
            "server_info": status.info or {},
            "capabilities": status.capabilities or {},
            "instructions": status.instructions,
            "offers": [
                entry.name for kind in KINDS for entry in self.catalog.entries[kind] if entry.server == name
            ],
            "replicas": list(status.replicas),
            "left_out": [f"{out.kind} {out.name}: {out.why}" for out in left_out],
            "last_words": list(status.last_words),
        }

    def entries(self, kind: Kind, agent: str, server: str | None = None) -> list[Json]:
        """What `agent` may use, as agents get it, with the server that has it.

        Raises:
            Failure: there is no such agent or server.
        """
        grants = self.agent_manifest(agent).grants()
        if server not in (None, SERVER):
            self.server_manifest(server)
        return [
            _brief(narrowed(entry, decision))
            for entry in self.catalog.entries[kind]
            if server in (None, entry.server) and (decision := decide(grants, entry)).allowed
        ]

    def resources(self, agent: str, server: str | None = None) -> list[Json]:
        """Resources, then the templates of more. Raises as `entries`."""
        return self.entries("resource", agent, server) + self.entries("template", agent, server)

    def entry(self, kind: Kind, name: str, agent: str) -> Json:
        """One entry with its whole definition, as `agent` gets it.

        Raises:
            Failure: there is none, or `agent` may not use it (people may know the difference).
        """
        grants = self.agent_manifest(agent).grants()
        entry = self.catalog.find(kind, name)
        if entry is None:
            raise self.unknown(kind, name)
        self.must_be_allowed(grants, agent, entry)
        return {
            "name": entry.name,
            "server": entry.server,
            "own_name": entry.own,
            "grant": entry.grant,
            "reads_only": entry.reads_only,
            "quarantined": entry.held,
            "definition": narrowed(entry, decide(grants, entry)).definition,
        }

    def agents(self) -> list[Json]:
        return [self._agent(manifest) for _, manifest in sorted(self.manifests.agents.items())]

    def agent(self, name: str) -> Json:
        """Raises `Failure`: there is none."""
        return self._agent(self.agent_manifest(name))

    def can(
        self,
        agent: str,
        name: str,
        pairs: Sequence[str] = (),
        at: float = 0.0,
        labels: Mapping[str, str] | None = None,
    ) -> Json:
        """Whether `agent` may use what is called `name` (or known to rules so), and which rule says it.

        Args:
            pairs: Arguments as `KEY=VALUE`; none and no labels ask about the entry alone.
            at: The moment of the call, in seconds since 1970, UTC.
            labels: Of the session that the call belongs to.

        Raises:
            Failure: there is no such agent.
            InvalidParams: a pair is no argument.
        """
        # Here: lists need neither, and are to be there at once.
        from hub.commands.arguments import read_arguments
        from hub.rules.explain import explained, quarantined

        grants = self.agent_manifest(agent).grants()
        found = [
            entry
            for kind in KINDS
            for entry in self.catalog.by_name[kind].values()
            if name in (entry.name, entry.grant, entry.alias)
        ]
        entry = found[0] if found else bare(name)
        arguments = None
        if pairs or labels is not None:
            schema = entry.theirs.get("inputSchema", {}) if entry.kind == "tool" else {}
            arguments, _ = read_arguments(pairs, schema)
        found_out = explained(grants, entry, arguments, at, labels)
        if entry.held and found_out.allowed:
            found_out = quarantined(found_out, entry)
        return {
            "agent": agent,
            "name": name,
            "grant": entry.grant,
            "allowed": found_out.allowed,
            "known": bool(found),
            "file": found_out.file,
            "line": found_out.rule.line if found_out.rule else None,
            "rule": found_out.rule.id if found_out.rule else None,
            "rules": [rule.id for rule in found_out.rules],
            "pattern": found_out.pattern,
            "argument": found_out.argument,
            "sends": found_out.params.get("arguments", {}) if found_out.params is not None else None,
            "reason": found_out.reason,
            "why": found_out.why,
            "change": found_out.change,
        }

    def must_be_allowed(self, grants: Grants, agent: str, entry: Entry) -> None:
        """Raises `Failure`: `agent` may not use it."""
        decision = decide(grants, entry)
        if not decision.allowed:
            why = _why(grants, decision.rule, decision.pattern)
            raise Failure(
                "denied",
                f"Agent {agent!r} may not use {entry.name!r}: {why}.",
                f"Change {grants.file}, or use another agent with --agent.",
            )

    def server_manifest(self, name: str) -> ServerManifest:
        """Raises `Failure`: there is none, with what is wrong in the file that may be meant."""
        manifest = self.manifests.servers.get(name)
        if manifest is None:
            raise self._no("server", name, list(self.manifests.servers))
        return manifest

    def agent_manifest(self, name: str) -> AgentManifest:
        """Raises `Failure`: there is none."""
        manifest = self.manifests.agents.get(name)
        if manifest is None:
            raise self._no("agent", name, list(self.manifests.agents))
        return manifest

    def unknown(self, kind: Kind, name: str) -> Failure:
        unlearnt = [each for each in sorted(self.manifests.servers) if self._status(each).protocol is None]
        hint = f"`hub {kind}s list` shows those there are."
        if unlearnt:
            hint += (
                f" Not asked yet what they offer: {', '.join(unlearnt)} (`hub servers check {unlearnt[0]}`)."
            )
        known = [entry.name for entry in self.catalog.entries[kind]]
        near = next((each for each in known if each.endswith(f"__{name}")), None) or nearest(name, known)
        meant = f" Did you mean {near!r}?" if near else ""
        return Failure("not_found", f"There is no {kind} {name[:200]!r}.{meant}", hint)

    def _no(self, what: str, name: str, known: list[str]) -> Failure:
        broken = [str(each) for each in self.manifests.problems if each.file and each.file.stem == name]
        if broken:
            return Failure("manifest", f"The {what} {name!r} is left out: {broken[0]}")
        names = f"Those there are: {', '.join(sorted(known))}." if known else "There are none yet."
        add = f"hub agents add {name} --may 'SERVER__*'" if what == "agent" else f"hub add {name} -- COMMAND"
        return Failure("not_found", f"There is no {what} {name[:80]!r}. {names}", f"`{add}` makes one.")

    def _status(self, name: str) -> Status:
        return self.statuses.get(name) or Status("unknown")

    def _server(self, manifest: ServerManifest) -> Json:
        status = self._status(manifest.name)
        counts = {
            f"{kind}s": sum(entry.server == manifest.name for entry in self.catalog.entries[kind])
            for kind in KINDS
        }
        held = status.held
        to_look_at = f"{held} quarantined: `hub tools changed {manifest.name}`" if held else None
        return {
            "name": manifest.name,
            "title": manifest.title,
            "status": _in_words(status, manifest),
            "state": status.state,
            **(counts if status.protocol is not None else dict.fromkeys(counts)),
            "protocol": status.protocol,
            "quarantined": held if status.protocol is not None else None,
            "note": status.doing or _failed(status) or status.left_alone or to_look_at,
            "since": status.since,
            "retry_at": status.retry_at,
            "breaker": status.breaker,
            "kind": manifest.connect_kind,
            "connects_to": manifest.connect.describe(),
            "start": manifest.start,
            "file": str(manifest.file),
        }

    def _agent(self, manifest: AgentManifest) -> Json:
        grants = manifest.grants()
        return {
            "name": manifest.name,
            "title": manifest.title,
            "may": [f"{pattern}{_besides(rule)}" for rule in grants.may for pattern in rule.use],
            "never": [f"{pattern}{_besides(rule)}" for rule in grants.never for pattern in rule.use],
            "tools": sum(decide(grants, entry).allowed for entry in self.catalog.entries["tool"]),
            "file": str(manifest.file),
        }


def _besides(rule: Rule) -> str:
    """What a rule says beside its patterns, in short: without it, `*` of one server would look like all."""
    named = {"server": rule.servers, "tag": rule.tags}
    said = [f"{key}: {' '.join(names)}" for key, names in named.items() if names]
    if rule.read_only is not None:
        said.append(f"readOnly: {str(rule.read_only).lower()}")
    more = {"with": rule.with_, "only": rule.only, "ask": rule.ask, "when": rule.when, "limits": rule.limits}
    said += [key for key, value in more.items() if value]
    said += ["repeat"] if rule.repeat else []
    return f" {{{', '.join(said)}}}" if said else ""


def _failed(status: Status) -> str | None:
    """Why it failed, and when it is tried again."""
    if status.reason is None or status.retry_at is None or status.needs_login:
        return status.reason
    when = f"{status.retry_at[11:19]} UTC"
    when = f"when it is asked for, from {when} on" if status.waits else f"at {when}"
    return f"{status.reason.removesuffix('.')}. Next try {when}."


def _in_words(status: Status, manifest: ServerManifest) -> str:
    if status.state == "failed" and status.needs_login:
        return "needs login"
    if status.left_alone is not None and status.state in ("ready", "stopped"):
        return "degraded"
    if status.state == "stopped" and status.reason is None and manifest.start == "on-demand":
        return "on demand"
    return "not running" if status.state == "unknown" else status.state


def _why(grants: Grants, rule: Rule | None, pattern: str | None) -> str:
    if rule is None:
        return f"no rule of {grants.file} allows it"
    return f"{grants.file}:{rule.line}: {rule.id} {pattern!r}"


def _brief(entry: Entry) -> Json:
    given = entry.definition
    description: Any = given.get("description")
    if entry.kind == "tool":
        return {
            "name": entry.name,
            "server": entry.server,
            "description": description,
            "inputSchema": given["inputSchema"],
        }
    if entry.kind == "prompt":
        return {
            "name": entry.name,
            "server": entry.server,
            "description": description,
            "arguments": given.get("arguments", []),
        }
    return {
        "uri": entry.name,
        "server": entry.server,
        "name": given.get("name"),
        "description": description,
        "mimeType": given.get("mimeType"),
        "template": entry.kind == "template",
    }
