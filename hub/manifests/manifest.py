"""Manifests: what people wrote about servers and agents, loaded and checked.

One YAML file says one thing; its first key says what. A registry `server.json` or a client's
`mcpServers` file in the same folder is read as it is (`hub/manifests/foreign.py`). A file that is not valid
is left out with a sentence (file, line, key, what is wrong, the fix) and costs nothing else.

Nothing is started, connected to or expanded here: `${VAR}` is filled in when a server starts.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from connectors.base import MODERN_VERSIONS, Connector, Era
from connectors.mirror import BadMark, mirrored
from hub.catalog import Offer, Override, View
from hub.errors import ManifestError, Problem
from hub.identity.claims import Identified
from hub.manifests import foreign
from hub.manifests.problems import problems_of
from hub.manifests.route_rules import loops, problems_of_routes
from hub.manifests.route_shape import BreakerShape, RetryShape, route_of
from hub.manifests.rules import rules_of
from hub.manifests.shapes import AgentShape, Limits, ServerShape, Tools
from hub.manifests.text import Document, Where, parse, read
from hub.manifests.ways import Ways
from hub.model import Json, Kind
from hub.nearest import did_you_mean
from hub.policy import Grants
from hub.results.limits import with_right_to_read
from hub.route import Breaking
from hub.variables import names_in

__all__ = ["SCHEMA_COMMENT", "AgentManifest", "Limits", "Manifests", "ServerManifest", "load", "load_text"]

SCHEMA_COMMENT: Final = "# yaml-language-server: $schema=../.hub/manifest.schema.json"
"""The first line of every manifest that we write; the hub writes the schema there when it starts."""

SUFFIXES: Final = (".yaml", ".yml", ".json")

_PROJECTS_FILE: Final = ".mcp.json"
"""What clients call the file in which a project names its servers."""

_RENAMED: Final = frozenset({"server", "title", "connect"})
_FIRST_KEY: Final = "A manifest begins with 'server: NAME' or 'agent: NAME'."


@dataclass(frozen=True, slots=True)
class ServerManifest:
    """One server, checked. Two that are equal mean the same: nothing needs to be restarted."""

    name: str
    title: str
    connect: Connector
    connect_kind: str
    """The key that named the connector: `command`, `url`, `package` ..."""
    era: Era
    start: Literal["on-demand", "eager"]
    share: Literal["auto", "hub", "session"]
    cwd: str | None
    """As written; relative to the hub's home."""
    trust: Literal["annotations"] | None
    results: int | Literal["whole"] | None
    names: Literal["prefixed", "bare"]
    check: Literal["arguments"] | None
    limits: Limits
    """Seconds (`connect`, `call`, `silence`, `idle`), requests (`concurrent`) and bytes (`message`)."""
    retry: RetryShape | None
    breaker: BreakerShape | Literal["off"]
    replicas: tuple[Connector, ...]
    """Further ways to reach the same server."""
    tools: Tools
    file: Path

    @property
    def fingerprint(self) -> str:
        """Changes when what it connects to does: what was learnt from it no longer counts then."""
        return hashlib.sha256(f"{self.connect_kind} {self.connect!r} {self.era}".encode()).hexdigest()

    @property
    def breaking(self) -> Breaking | None:
        """When it is left alone for a while; `None`: never."""
        return None if self.breaker == "off" else self.breaker.breaking()

    @property
    def call_seconds_max(self) -> float:
        """The longest that a call of it may take once it is up."""
        own = (override.limits.call or 0.0 for override in self.tools.override.values())
        return max(self.limits.call, *own, 0.0)

    def secrets(self) -> frozenset[str]:
        """The names of the secrets that its start takes."""
        return names_in(self.connect, self.cwd)

    def offer(
        self, version: str | None, capabilities: Json, definitions: Mapping[Kind, tuple[Json, ...]]
    ) -> Offer:
        """What it offers, by what was learnt from it.

        Args:
            version: The protocol version that it speaks.
        """
        said = capabilities.get("extensions")
        extensions = said.items() if isinstance(said, dict) else ()
        return Offer(
            self.name,
            self.view(),
            definitions,
            {name: settings for name, settings in extensions if isinstance(settings, dict)},
            _unfit(definitions.get("tool", ())) if self.mirrors(version) else {},
        )

    def mirrors(self, version: str | None) -> bool:
        """Whether it is told arguments again in HTTP headers, where its tools want that."""
        return version in MODERN_VERSIONS and not self.connect.lasting

    def view(self) -> View:
        """How its offer is to be shown."""
        return View(
            bare=self.names == "bare",
            trusted=self.trust == "annotations",
            allow=self.tools.allow,
            deny=self.tools.deny,
            overrides=tuple(
                Override(
                    pattern,
                    override.title,
                    override.description,
                    override.annotations.model_dump(exclude_none=True),
                    override.cost,
                    override.name,
                    override.fix,
                    override.default,
                    override.tags,
                    route_of(
                        override.limits.call,
                        override.limits.silence,
                        override.retry,
                        override.output,
                        override.on_invalid,
                        override.fallback,
                    ),
                )
                for pattern, override in self.tools.override.items()
            ),
            route=route_of(None, self.limits.silence, self.retry),
        )


def _unfit(tools: Iterable[Json]) -> dict[str, str]:
    """Tools that no client may call over HTTP (specification 2026-07-28, server/tools, "x-mcp-header")."""
    found: dict[str, str] = {}
    for tool in tools:
        if isinstance(tool, dict):
            try:
                mirrored(tool.get("inputSchema"))
            except BadMark as error:
                found[str(tool.get("name"))] = str(error)
    return found


@dataclass(frozen=True, slots=True)
class AgentManifest:
    """One agent and what it may use, checked."""

    name: str
    title: str
    rules: Grants
    file: Path
    identified: tuple[Identified, ...] = ()
    """How other issuers' tokens name it."""
    results: int | Literal["whole"] | None = None

    def grants(self) -> Grants:
        """Always the same object, so that what was computed from it can be kept."""
        return self.rules


@dataclass(frozen=True, slots=True)
class Manifests:
    """All that a folder holds; what is not valid is only in `problems`."""

    servers: Mapping[str, ServerManifest] = field(default_factory=dict)
    agents: Mapping[str, AgentManifest] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def load(*paths: Path) -> Manifests:
    """Read manifests: of folders (their `.yaml`, `.yml` and `.json` files, by name) and of single files.

    A folder that does not exist is empty. Never raises for what is in a file; at most 256 KiB of
    each are read. Where a name stands twice, the first one stays.
    """
    loader = _Loader()
    for path in paths:
        for file in _files(path, loader.problems):
            try:
                loader.add(read(file))
            except ManifestError as error:
                loader.problems.extend(error.problems)
    return loader.manifests()


def load_text(file: Path, text: str) -> Manifests:
    """Check a text as if it stood in `file`."""
    loader = _Loader()
    try:
        loader.add(parse(file, text))
    except ManifestError as error:
        loader.problems.extend(error.problems)
    return loader.manifests()


def _files(path: Path, problems: list[Problem]) -> Iterable[Path]:
    try:
        if not path.is_dir():
            return [path] if path.exists() else []
        if path.stat().st_mode & stat.S_IWOTH:
            said = (
                "may be written by anybody on this machine, so nothing in it counts. Run `chmod o-w` on it."
            )
            problems.append(Problem(path, None, "", said))
            return []
        names = sorted(item.name for item in path.iterdir())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problems.append(
            Problem(path, None, "", f"cannot be read: {reason}. Make the folder readable for the hub.")
        )
        return []
    for name in names:
        if name.endswith(".toml"):
            said = "is TOML, which is not read. `hub add` writes a manifest of each server that it names."
            problems.append(Problem(path / name, None, "", said))
    # Other hidden files are editors' swap files and our own half-written ones.
    return [
        path / name
        for name in names
        if name == _PROJECTS_FILE or (name.endswith(SUFFIXES) and not name.startswith("."))
    ]


class _Loader:
    """Collects what files hold; what is found wrong is noted and skipped."""

    def __init__(self) -> None:
        self.servers: dict[str, ServerManifest] = {}
        self.agents: dict[str, AgentManifest] = {}
        self.problems: list[Problem] = []
        self._ways = Ways()
        self._places: dict[tuple[str, str], str] = {}
        self._written: dict[str, tuple[Document, ServerShape]] = {}

    def manifests(self) -> Manifests:
        for name, problem in loops(self._written).items():
            self.problems.append(problem)
            del self.servers[name]
        return with_right_to_read(Manifests(self.servers, self.agents, tuple(self.problems)))

    def add(self, document: Document) -> None:
        """One file, whatever it is. Raises `ManifestError`."""
        value = document.value
        if value is None:
            raise _refused(document, (), f"is empty. {_FIRST_KEY}")
        if not isinstance(value, dict):
            raise _refused(document, (), f"is not a mapping. {_FIRST_KEY}")
        keys = [key for key in value if key != "$schema"]
        first = keys[0] if keys else ""
        if first == "server":
            self._add_server(document)
        elif first == "agent":
            self._add_agent(document)
        elif foreign.is_foreign(value):
            for part in foreign.servers(document, self.problems):
                try:
                    self._add_server(part)
                except ManifestError as error:
                    self.problems.extend(error.problems)
        elif "server" in keys or "agent" in keys:
            key = "server" if "server" in keys else "agent"
            raise _refused(document, (key,), f"must be the first key, before '{first}'. Move it to the top.")
        else:
            hint = did_you_mean(first, ["server", "agent"])
            hint = hint if hint.startswith("Did") else _FIRST_KEY
            raise _refused(document, (first,), f"does not say what this file is about. {hint}")

    def _add_server(self, document: Document) -> None:
        """Raises `ManifestError`."""
        problems: list[Problem] = []
        value = {key: item for key, item in document.value.items() if key != "$schema"}
        kind, connector = "", None
        if "connect" in value:
            kind, connector = self._ways.way(document, ("connect",), value["connect"], problems)
        try:
            shape = ServerShape.model_validate(value)
        except ValidationError as error:
            problems.extend(problems_of(error, ServerShape, document))
        else:
            problems.extend(problems_of_routes(document, shape))
            written = {key: getattr(shape, key) for key in ServerShape.model_fields if key not in _RENAMED}
            written["replicas"] = self._ways.further(document, (kind, connector), shape.replicas, problems)
        if problems or connector is None:
            raise ManifestError(sorted(problems, key=lambda problem: problem.line or 0))
        self._claim("server", shape.server, document)
        self._written[shape.server] = document, shape
        title = shape.title or shape.server
        self.servers[shape.server] = ServerManifest(
            shape.server, title, connector, kind, file=document.file, **written
        )

    def _add_agent(self, document: Document) -> None:
        """Raises `ManifestError`."""
        value = {key: item for key, item in document.value.items() if key != "$schema"}
        try:
            shape = AgentShape.model_validate(value)
        except ValidationError as error:
            raise ManifestError(problems_of(error, AgentShape, document)) from None
        self._claim("agent", shape.agent, document)
        rules = Grants(
            f"{document.file.parent.name}/{document.file.name}",
            tuple(rules_of(document, "may", shape.may)),
            tuple(rules_of(document, "never", shape.never)),
            None if shape.limits is None else shape.limits.quota(),
        )
        self.agents[shape.agent] = AgentManifest(
            shape.agent,
            shape.title or shape.agent,
            rules,
            document.file,
            tuple(Identified(each.issuer, tuple(sorted(each.claims.items()))) for each in shape.identify),
            shape.results,
        )

    def _claim(self, what: str, name: str, document: Document) -> None:
        """Raises `ManifestError` where the name is taken."""
        where: Where = (what,)
        first = self._places.get((what, name))
        if first is not None:
            message = (
                f"the name '{name}' is taken: {first} has it, and stays. Rename one of the two, or remove it."
            )
            raise _refused(document, where, message)
        self._places[what, name] = f"{document.file}:{document.line(where)}"


def _refused(document: Document, where: Where, message: str) -> ManifestError:
    return ManifestError([document.problem(where, message)])
