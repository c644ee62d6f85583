"""Ways to reach one server. Knows nothing of the hub.

A *kind* is named by the key that selects it under `connect:` in a manifest. Other packages add
kinds through the entry-point group `mcp_tool_hub.connectors`; nothing is ever written in here.
Classes are named, not imported: what a hub does not use, it does not load.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points

from connectors.base import Connector

__all__ = ["KINDS", "connector_class", "kinds"]

KINDS: Mapping[str, str] = {
    "command": "connectors.stdio:Stdio",
    "url": "connectors.http:Http",
    "python": "connectors.python:Python",
    "package": "connectors.package:Package",
    "cassette": "connectors.cassette:Cassette",
}


def kinds() -> dict[str, str]:
    """Every kind that can be used here: `key -> "module:Class"`, ours first."""
    found = {point.name: point.value for point in entry_points(group="mcp_tool_hub.connectors")}
    return {**found, **KINDS}


def connector_class(target: str) -> type[Connector]:
    """The class behind one value of `kinds()`."""
    module, _, name = target.partition(":")
    loaded: type[Connector] = getattr(import_module(module), name)
    return loaded
