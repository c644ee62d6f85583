"""What one run of the server holds: its tasks, its listeners, and what may change while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcp.server import ServerRequestContext

from tests.servers.everything.changes import Changes
from tests.servers.everything.tasks import TaskBook


@dataclass
class State:
    """The lifespan value of the server; every request sees it as `context.lifespan_context`."""

    tasks: TaskBook
    changes: Changes = field(default_factory=Changes)
    has_dynamic_tool: bool = False
    has_dynamic_prompt: bool = False
    has_dynamic_resource: bool = False
    watched_version: int = 1
    cancelled: int = 0
    """How many calls of `hang` were."""


Context = ServerRequestContext[State]
