"""What the hub says that it can do: its own, and what the servers behind it add for one agent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hub.model import Json

__all__ = ["OWN", "merged"]

OWN: Final[Json] = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "prompts": {"listChanged": True},
    # The hub itself keeps the level, also for servers that are not there yet.
    "logging": {},
}


def merged(servers: Iterable[Json]) -> Json:
    """The capabilities that an agent is told, but for extensions.

    Args:
        servers: What the servers that it may use declare.
    """
    if any(type(capabilities.get("completions")) is dict for capabilities in servers):
        return {**OWN, "completions": {}}
    return OWN
