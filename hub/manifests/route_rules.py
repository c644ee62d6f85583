"""What of a server's manifest does not fit together, where it is about the way of calls.

A retry of a tool that is not safe to be called twice, conditions that nothing can meet, and, over all
manifests together, fallbacks that lead back to where they began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from connectors.base import Connector
from hub.errors import Problem
from hub.manifests.shapes import OverrideShape, ServerShape
from hub.manifests.text import Document, Where
from hub.policy import matches

__all__ = ["loops", "problems_of_replica", "problems_of_routes"]

_SAFE: Final = "{readOnlyHint: true}"
_SAME: Final = "`{idempotentHint: true}`"


def problems_of_routes(document: Document, shape: ServerShape) -> Iterator[Problem]:
    """What is wrong in one server's manifest."""
    if shape.limits.silence is not None and shape.limits.silence >= shape.limits.call:
        yield document.problem(
            ("limits", "silence"), "is not shorter than `call`, so it never counts. Write less, or remove it."
        )
    for pattern, override in shape.tools.override.items():
        here: Where = ("tools", "override", pattern)
        call = override.limits.call or shape.limits.call
        if override.limits.silence is not None and override.limits.silence >= call:
            yield document.problem(
                (*here, "limits", "silence"),
                "is not shorter than `call`, so it never counts. Write less, or remove it.",
            )
        key = _again(override)
        if key is not None and not _may_be_safe(shape, pattern):
            yield document.problem(
                (*here, key),
                f"{pattern!r} is not known to be safe to call twice. Where it changes nothing (more, the "
                f"second time), say so beside it: `annotations: {_SAFE}` or {_SAME}; else remove this.",
            )
        if override.on_invalid is not None and override.output is None:
            yield document.problem(
                (*here, "on_invalid"), "has nothing to go by. Add `output: {…}`, a JSON Schema, or remove it."
            )
        if override.on_invalid == "fallback" and not override.fallback:
            yield document.problem(
                (*here, "on_invalid"), "has nothing to fall back to. Add `fallback: [other__tool]`."
            )


def problems_of_replica(
    document: Document, where: Where, first: tuple[str, Connector], other: tuple[str, Connector]
) -> Iterator[Problem]:
    """What is wrong with a further way to a server, each given as its kind and connector.

    What each really offers is known when it has been asked: see `hub/upstreams/replicas.py`.
    """
    # Here: whoever names the types should not pay for connectors.
    from connectors.package import Package

    kind, connector = other
    if kind == "python":
        yield document.problem(where, "runs in the hub's own process, where one is enough. Remove it.")
    elif isinstance(connector, Package):
        ours = first[1].package.pinned if isinstance(first[1], Package) else None
        theirs = connector.package.pinned
        if ours is None or (ours.kind, ours.name, ours.version) != (theirs.kind, theirs.name, theirs.version):
            yield document.problem(
                where,
                "is another package, or another version of it, so its tools are others. Write the same one, "
                "or make it a server of its own.",
            )
    elif kind != first[0]:
        yield document.problem(
            where,
            f"is of another kind ({kind}, not {first[0]}), so it is another server. Make it one of its own.",
        )


def _again(override: OverrideShape) -> str | None:
    """The key that wants calls made again, where one does."""
    if override.retry is not None and override.retry.attempts > 1:
        return "retry"
    return "on_invalid" if override.on_invalid == "retry" else None


def _may_be_safe(shape: ServerShape, pattern: str) -> bool:
    """Whether the tools of a pattern are safe by the manifest's word, or may be by one that it trusts."""
    reads: bool | None = None
    repeats: bool | None = None
    for other, override in shape.tools.override.items():
        # A pattern counts for another where it has all of its tools.
        if other == pattern or matches(other, pattern):
            said = override.annotations
            reads = reads if said.readOnlyHint is None else said.readOnlyHint
            repeats = repeats if said.idempotentHint is None else said.idempotentHint
    if reads or repeats:
        return True
    return shape.trust == "annotations" and (reads is None or repeats is None)


_Node = tuple[str, str]
"""A server, and a pattern of its tools that has a fallback."""


def loops(servers: Mapping[str, tuple[Document, ServerShape]]) -> dict[str, Problem]:
    """By server: the first of its fallbacks by which one comes back to where one was.

    Args:
        servers: In the order in which they count: of a loop, the last one closes it.
    """
    found: dict[str, Problem] = {}
    kept: dict[str, tuple[Document, ServerShape]] = {}
    for name, (document, shape) in servers.items():
        kept[name] = document, shape
        problem = next(_closing(kept, name), None)
        if problem is not None:
            found[name] = problem
            del kept[name]
    return found


def _closing(servers: Mapping[str, tuple[Document, ServerShape]], name: str) -> Iterator[Problem]:
    document, shape = servers[name]
    for pattern, override in shape.tools.override.items():
        for position, candidate in enumerate(override.fallback):
            if candidate.tool is None:
                continue
            way = _way_back(servers, (name, pattern), candidate.tool, set())
            if way is not None:
                steps = " -> ".join((f"{name}__{pattern}", *way))
                yield document.problem(
                    ("tools", "override", pattern, "fallback", position),
                    f"leads back to where it began: {steps}. Remove one of these fallbacks.",
                )


def _way_back(
    servers: Mapping[str, tuple[Document, ServerShape]], start: _Node, tool: str, seen: set[_Node]
) -> tuple[str, ...] | None:
    """The tools on the way from `tool` to what `start` is about; `None` where there is none."""
    server, _, own = tool.partition("__")
    if server == start[0] and _is_about(servers, start, own):
        return (tool,)
    if server not in servers:
        return None
    for pattern, override in servers[server][1].tools.override.items():
        node = server, pattern
        if node in seen or not override.fallback or not _is_about(servers, node, own):
            continue
        seen.add(node)
        for candidate in override.fallback:
            if candidate.tool is not None:
                way = _way_back(servers, start, candidate.tool, seen)
                if way is not None:
                    return tool, *way
    return None


def _is_about(servers: Mapping[str, tuple[Document, ServerShape]], node: _Node, own: str) -> bool:
    """Whether a server's pattern has the tool that is called so there, or by the manifest."""
    server, pattern = node
    return matches(pattern, own) or servers[server][1].tools.override[pattern].name == own
