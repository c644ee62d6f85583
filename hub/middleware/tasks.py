"""Tasks go out with ids of the hub's own, and what is asked of a task goes in with its server's.

Inside `authorize`: what made a task must be granted still, whenever the task is asked for.

Source: SEP-2663, the extension `io.modelcontextprotocol/tasks`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from connectors.base import RemoteError
from hub.approvals.tasks import own_id
from hub.errors import NotFound, UpstreamFailed
from hub.model import Call, Handler, Json, Result
from hub.tasks import TASK_METHODS, TaskIds, with_ids

__all__ = ["Tasks"]


class Tasks:
    def __init__(self, ids: TaskIds, own: Callable[[Call, str], Awaitable[Result]]) -> None:
        """
        Args:
            own: Answers for a task of the hub's own.
        """
        self._ids = ids
        self._own = own

    async def __call__(self, call: Call, inner: Handler) -> Result:
        if call.method in TASK_METHODS:
            return await self._ask(call, inner)
        result = await inner(call)
        if result.get("resultType") != "task":
            return result
        assert call.entry is not None
        entry, own = call.entry, result.get("taskId")
        if type(own) is not str:
            raise UpstreamFailed(f"Server {entry.server!r} made a task but gave no id of it", sent=True)
        return with_ids(result, lambda id: self._ids.give(call.agent.name, entry, id))

    async def _ask(self, call: Call, inner: Handler) -> Result:
        """Of a task: its server's id on the way in, and on the way out the one that the agent gave."""
        given = call.params["taskId"]
        task = self._ids.open(call.agent.name, given)
        if task is None:
            raise NotFound(f"Unknown task: {given}")

        approval = own_id(task.own)
        if approval is not None:
            return await self._own(call, approval)

        def renamed(id: str) -> str:
            assert call.entry is not None
            return given if id == task.own else self._ids.give(call.agent.name, call.entry, id)

        try:
            result = await inner(replace(call, params={**call.params, "taskId": task.own}))
        except RemoteError as error:
            data: Json | None = with_ids(error.data, renamed) if isinstance(error.data, dict) else error.data
            raise RemoteError(error.code, error.message.replace(task.own, given), data) from None
        return with_ids(result, renamed)
