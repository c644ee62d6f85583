"""Which tasks one stream of an agent hears of: only its own, by the ids that it was given.

Of each task one state waits at most, the newest: a notification carries the whole task. Where some may
have been missed, the task is asked for once, as the agent itself could.

Source: SEP-2663, "Task Status Notifications".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio

from connectors.base import SUBSCRIPTION_ID_KEY, RemoteError
from hub.approvals.tasks import TaskListening, own_id
from hub.errors import HubError
from hub.hub import Hub
from hub.model import Agent, Call, Json
from hub.policy import decide
from hub.server.subscriptions import SUBSCRIPTIONS_MAX, Note
from hub.task_watching import TASK_TOLD, TaskWatching
from hub.tasks import with_ids
from hub.upstreams.moved import outward

__all__ = ["TaskSubscriptions"]

log = logging.getLogger(__name__)

_CATCH_UP_SECONDS: Final = 5.0
_NOT_TOLD: Final = ("resultType", "_meta")
"""What a result says of itself, and a notification does not."""


@dataclass(frozen=True, slots=True)
class _Held:
    call: Call
    given: str
    """The id that the agent knows."""
    own: str


class TaskSubscriptions:
    def __init__(self, hub: Hub, wake: Callable[[], None]) -> None:
        """
        Args:
            wake: Called when there is something to take.
        """
        self._hub = hub
        self._wake = wake
        self._watchings: list[TaskWatching | TaskListening] = []
        self._pending: dict[str, tuple[_Held, Json]] = {}
        self._stale: dict[str, _Held] = {}

    async def add(self, calls: Sequence[Call], seconds: float) -> list[str]:
        """Hear of the tasks that these calls ask for. Returns the ids of those that are told of.

        What the agent was never given, or may not use any longer, is left out, as what there is not.
        """
        by_server: dict[tuple[str, bool], list[_Held]] = {}
        for call in calls[:SUBSCRIPTIONS_MAX]:
            given = call.params["taskId"]
            task = self._hub.task(call.agent, given)
            if task is None or call.entry is None or not decide(call.agent.grants, call.entry).allowed:
                continue
            of_hub = own_id(task.own) is not None
            by_server.setdefault((task.server, of_hub), []).append(_Held(call, given, task.own))
        held_by = [
            ((self._listen_here if of_hub else self._listen)(held), held)
            for (_, of_hub), held in by_server.items()
        ]
        async with anyio.create_task_group() as tasks:
            for watching, _ in held_by:
                tasks.start_soon(watching.settled, seconds)
        return [each.given for watching, held in held_by for each in held if each.own in watching.agreed]

    def take(self, agent: Agent | None) -> list[Note]:
        """The states that wait, of what the agent, as it is now, may use."""
        taken, self._pending = self._pending, {}
        return [
            (TASK_TOLD, params) for held, params in taken.values() if agent is not None and _may(agent, held)
        ]

    async def catch_up(self, agent: Agent | None) -> None:
        """Ask for what may have been missed."""
        while self._stale and agent is not None:
            _, held = self._stale.popitem()
            call = held.call
            again = self._hub.new_call(
                agent, call.session, call.method, call.params, capabilities=call.capabilities
            )
            try:
                with anyio.move_on_after(_CATCH_UP_SECONDS):
                    task = await self._hub.call(again)
                    told = {key: value for key, value in task.items() if key not in _NOT_TOLD}
                    self._pending.setdefault(held.given, (held, told))
            except (HubError, RemoteError) as error:
                log.info("agent %s: a task could not be looked at again: %s", call.agent.name, error)

    def close(self) -> None:
        for watching in self._watchings:
            watching.stop()
        self._watchings.clear()
        self._pending.clear()
        self._stale.clear()

    def _listen_here(self, held: Sequence[_Held]) -> TaskListening:
        """To the hub itself, for these tasks of its own."""
        assert self._hub.own_tasks is not None
        by_id = {own_id(each.own) or "": each for each in held}

        def told(id: str, task: Json) -> None:
            each = by_id[id]
            self._pending[each.given] = (each, {"taskId": each.given, **task})
            self._wake()

        listening = self._hub.own_tasks.listen(held[0].call, [*by_id], told)
        self._watchings.append(listening)
        self._hub.watch_tasks(listening)
        return listening

    def _listen(self, held: Sequence[_Held]) -> TaskWatching:
        """A stream of one server, for these of its tasks."""
        call = held[0].call
        assert call.entry is not None
        server, by_id = call.entry.server, {each.own: each for each in held}

        def told(params: Json) -> None:
            each = by_id.get(str(params.get("taskId")))
            if each is None:
                return
            shown = with_ids(_plain(params), lambda id: each.given if id == each.own else id)
            moved = self._hub.catalog.moved.get(server)
            self._stale.pop(each.given, None)
            self._pending[each.given] = (each, shown if moved is None else outward(shown, moved))
            self._wake()

        def missed() -> None:
            self._stale.update((each.given, each) for each in held)
            self._wake()

        watching = TaskWatching(call, [*by_id], told, missed)
        self._watchings.append(watching)
        self._hub.watch_tasks(watching)
        return watching


def _may(agent: Agent, held: _Held) -> bool:
    assert held.call.entry is not None
    return decide(agent.grants, held.call.entry).allowed


def _plain(params: Json) -> Json:
    """Without the mark of the server's own stream."""
    meta = params.get("_meta")
    if not isinstance(meta, dict) or SUBSCRIPTION_ID_KEY not in meta:
        return params
    kept = {key: value for key, value in meta.items() if key != SUBSCRIPTION_ID_KEY}
    rest = {key: value for key, value in params.items() if key != "_meta"}
    return {**rest, "_meta": kept} if kept else rest
