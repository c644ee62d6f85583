"""Ids of tasks, as agents get them: sealed words that say whose task it is, where, and of which tool.

A task is a server's: the hub keeps no list of them. What the agent is given in place of the server's
own id says all that is needed to find the task again, after a restart too; another agent's id, or one
that was made up, opens for nobody.

Source: SEP-2663, the extension `io.modelcontextprotocol/tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hub.model import Entry, Json
from hub.seal import Broken, Seal

__all__ = ["TASKS", "TASK_METHODS", "Task", "TaskIds", "declares_tasks", "with_ids"]

TASKS: Final = "io.modelcontextprotocol/tasks"
TASK_METHODS: Final = ("tasks/get", "tasks/update", "tasks/cancel")

_PURPOSE: Final = "taskId"
_SECONDS: Final = 10 * 365 * 86_400.0
"""How long an id opens: its server decides how long the task itself lives, and may change its mind."""
_RELATED: Final = "io.modelcontextprotocol/related-task"


@dataclass(frozen=True, slots=True)
class Task:
    """What a sealed id says."""

    server: str
    tool: str
    """The name there of the tool that made it."""
    name: str
    """What agents called that tool by."""
    own: str
    """The server's own id of it."""


class TaskIds:
    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def give(self, agent: str, entry: Entry, own: str) -> str:
        """The id that `agent` is given for a task which its use of `entry` made."""
        words = [agent, entry.server, entry.own, entry.name, own]
        return self._seal.close(_PURPOSE, words, seconds=_SECONDS)

    def open(self, agent: str, id: str) -> Task | None:
        """The task that an id was given for; `None` for one that `agent` was never given."""
        try:
            whose, server, tool, name, own = self._seal.open(_PURPOSE, id)
        except Broken:
            return None
        return Task(server, tool, name, own) if whose == agent else None


def declares_tasks(capabilities: Mapping[str, Any]) -> bool:
    """Whether a client says that it can handle a task."""
    extensions = capabilities.get("extensions")
    return isinstance(extensions, dict) and TASKS in extensions


def with_ids(value: Json, renamed: Callable[[str], str]) -> Json:
    """A result, or a notification's params, with every task id in it renamed. Not in place.

    That is `taskId`, also of a nested `task` and of the result that a finished task holds, and what
    `_meta` says to be related.
    """
    changed = dict(value)
    if isinstance(value.get("taskId"), str):
        changed["taskId"] = renamed(value["taskId"])
    for key in ("task", "result"):
        if isinstance(value.get(key), dict):
            changed[key] = with_ids(value[key], renamed)
    meta = value.get("_meta")
    if isinstance(meta, dict) and isinstance(meta.get(_RELATED), dict):
        changed["_meta"] = {**meta, _RELATED: with_ids(meta[_RELATED], renamed)}
    return changed
