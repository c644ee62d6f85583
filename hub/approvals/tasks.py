"""Tasks of the hub's own: a call that waits for a person, for clients that know tasks.

The task is the approval; the hub keeps nothing else of it, so it is found again after a restart. Once it
is approved, the call is made as soon as its agent looks, or at once where the agent listens: by then it
is proved and authorized anew.

Source: SEP-2663, the extension `io.modelcontextprotocol/tasks`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from connectors.base import RemoteError
from connectors.jsonrpc import INTERNAL_ERROR, encode
from hub.approvals.approvals import APPROVAL_KEY, Approvals, as_result, moment, refusal
from hub.errors import HubError, NotFound, Unapproved
from hub.model import Agent, Call, Json, Result
from hub.seal import Broken
from hub.store.approvals import ApprovalRow
from hub.tasks import TASKS, TaskIds

__all__ = ["ApprovalTasks", "TaskListening", "given_task", "own_id"]

log = logging.getLogger(__name__)

_OWN: Final = "hub:approval:"
_TTL_MS: Final = 3_600_000
_POLL_MS: Final = 1_000
_OUTCOME_BYTES_MAX: Final = 16 * 1024**2
_LOOK_SECONDS: Final = 3600.0

Told = Callable[[str, Json], None]
"""Gets an approval's id and its task, without the task's id. Must not block."""


def own_id(id: str) -> str | None:
    """The approval that a task of the hub's own is of; `None` where it is a server's."""
    return id.removeprefix(_OWN) if id.startswith(_OWN) else None


def given_task(call: Call, row: ApprovalRow, ids: TaskIds) -> Result:
    """The task that an agent gets in place of a result."""
    assert call.entry is not None
    id = ids.give(call.agent.name, call.entry, _OWN + row.id)
    about = {"id": row.id, "state": row.state}
    said = f"Waits for a person: `hub approvals approve {row.id}` where the hub runs"
    return {
        "resultType": "task", "taskId": id, **_seed(row), "status": "working", "statusMessage": said,
        "_meta": {APPROVAL_KEY: about},
    }  # fmt: skip


@dataclass(slots=True)
class _Run:
    """The call of a task, under way in this process."""

    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    question: Result | None = None
    """What its server wants to know before it goes on."""


class ApprovalTasks:
    def __init__(
        self,
        approvals: Approvals,
        use: Callable[[Call, Json], Awaitable[Result]],
        current: Callable[[Agent], Agent | None],
        tasks: TaskGroup,
    ) -> None:
        """
        Args:
            use: Makes a call of a tool with these params, by the agent and in the session of that call.
            current: An agent with the grants of now; `None` once it is none.
        """
        self._approvals = approvals
        self._use = use
        self._current = current
        self._tasks = tasks
        self._runs: dict[str, _Run] = {}
        self._ends = 0
        """How many runs have ended."""

    async def answer(self, call: Call, id: str) -> Result:
        """`tasks/get`, `tasks/update` or `tasks/cancel` of the task of this approval.

        Raises:
            NotFound: there is none, or it is another agent's.
        """
        row = await self._row(id, call.agent)
        if row is None:
            raise NotFound(f"Unknown task: {call.params['taskId']}")
        if call.method == "tasks/get":
            shown = await self.look(call, row)
            return {"resultType": "complete", "taskId": call.params["taskId"], **shown}
        run = self._runs.get(id)
        if call.method == "tasks/cancel":
            if run is not None:
                run.scope.cancel()
                if run.question is not None:
                    await self._finish(id, {"cancelled": True})
            else:
                await self._approvals.withdraw(id)
        elif run is not None and run.question is not None:
            answers = call.params.get("inputResponses", {})
            more = {"inputResponses": answers, "requestState": run.question["requestState"]}
            self._start(call, row, run, more)
        return {"resultType": "complete"}

    async def look(self, call: Call, row: ApprovalRow) -> Json:
        """The task as it is now, without its id. What was approved begins now."""
        run = self._runs.get(row.id)
        if run is None and row.outcome is not None:
            return {**_seed(row), **_ended(self._kept(row.outcome))}
        if run is None and row.state == "approved":
            run = self._runs[row.id] = _Run()
            self._start(call, row, run, {})
        if run is not None and run.question is not None:
            asked = run.question.get("inputRequests", {})
            return {**_seed(row), "status": "input_required", "inputRequests": asked}
        if run is not None or row.state == "pending":
            return {**_seed(row), "status": "working"}
        if row.state == "withdrawn":
            return {**_seed(row), "status": "cancelled"}
        if row.state == "used":
            why = f"What came of it is no longer kept here; the hub's record has it (call {row.call})"
            return {**_seed(row), **_ended(_error(why))}
        return {**_seed(row), **_ended({"result": as_result(refusal(row))})}

    def listen(self, call: Call, ids: Sequence[str], told: Told) -> TaskListening:
        """A wish to hear of these, which `told` gets as they change once it runs."""
        return TaskListening(self, call, ids, told)

    async def hear(self, call: Call, ids: Sequence[str], told: Told) -> None:
        """Tell of each change of these, until cancelled."""
        changed, shown = {*ids}, dict.fromkeys(ids, "working")
        news = anyio.Event()

        def note(id: str) -> None:
            changed.add(id)
            news.set()

        with ExitStack() as stack:
            for id in ids:
                stack.enter_context(self._approvals.listening(id, partial(note, id)))
            while True:
                news, ends = anyio.Event(), [_LOOK_SECONDS]
                while changed:
                    id = changed.pop()
                    row, agent = await self._row(id, call.agent), self._current(call.agent)
                    if row is None or agent is None:
                        continue
                    now = await self.look(replace(call, agent=agent), row)
                    if now["status"] != shown[id]:
                        told(id, now)
                    shown[id] = now["status"]
                    if row.state == "pending":
                        ends.append(self._approvals.left_seconds(row))
                with anyio.move_on_after(min(ends)) as waited:
                    await news.wait()
                if waited.cancelled_caught:
                    # Nobody tells of what has ended by itself.
                    changed.update(ids)

    async def _row(self, id: str, agent: Agent) -> ApprovalRow | None:
        """The approval of a task, as it is after every run that has ended by now."""
        while True:
            ends = self._ends
            row = await self._approvals.get(id, agent.name)
            if ends == self._ends:
                return row

    def _start(self, call: Call, row: ApprovalRow, run: _Run, more: Json) -> None:
        run.scope, run.question = anyio.CancelScope(), None
        self._tasks.start_soon(self._run, call, row, run, more)

    async def _run(self, call: Call, row: ApprovalRow, run: _Run, more: Json) -> None:
        """Make the call, or go on with it; what comes of it is kept. In a task that outlives its request."""
        outcome: Json = {"cancelled": True}
        with run.scope:
            try:
                params = self._approvals.opened(row.sealed)
                meta = params.get("_meta", {})
                params = {**params, **more, "_meta": {**meta, APPROVAL_KEY: row.id}}
                result = await self._use(_without_tasks(call), params)
                if result.get("resultType") == "input_required":
                    run.question = result
                    self._approvals.tell(row.id)
                    return
                outcome = {"result": result}
                if len(encode(outcome)) > _OUTCOME_BYTES_MAX:
                    outcome = _error(
                        f"The result is larger than {_OUTCOME_BYTES_MAX} bytes, and was not kept"
                    )
            except Unapproved as refused:
                outcome = {"result": as_result(refused)}
            except Broken:
                outcome = _error("It was asked for too long ago; call again")
            except RemoteError as error:
                outcome = _error(error.message, error.code, error.data)
            except HubError as error:
                outcome = _error(str(error))
            except Exception:
                log.exception("the call of an approved task failed in a way that nobody foresaw")
                outcome = _error("Internal error")
        await self._finish(row.id, outcome)

    def _kept(self, outcome: str) -> Json:
        try:
            return self._approvals.opened(outcome)
        except Broken:
            return _error("What came of it is kept no longer; the hub's record has it")

    async def _finish(self, id: str, outcome: Json) -> None:
        try:
            await self._approvals.finish(id, outcome)
        except HubError as error:
            log.warning("what a task came to could not be kept: %s", error)
        finally:
            self._runs.pop(id, None)
            self._ends += 1
            self._approvals.tell(id)


class TaskListening:
    """One wish to hear of tasks of the hub's own. Used as a `TaskWatching` is."""

    def __init__(self, tasks: ApprovalTasks, call: Call, ids: Sequence[str], told: Told) -> None:
        self.agreed = frozenset(_OWN + id for id in ids)
        self._tasks = tasks
        self._call = call
        self._ids = ids
        self._told = told
        self._scope = anyio.CancelScope()

    async def settled(self, seconds: float) -> None:
        """It is heard of at once."""

    def stop(self) -> None:
        self._scope.cancel()

    async def run(self, listen: object, env: object) -> None:
        with self._scope:
            try:
                await self._tasks.hear(self._call, self._ids, self._told)
            except HubError as error:
                log.warning("agent %s hears no longer of its tasks: %s", self._call.agent.name, error)


def _seed(row: ApprovalRow) -> Json:
    """What every form of a task has, but its id and status."""
    return {
        "createdAt": moment(row.asked),
        "lastUpdatedAt": moment(row.used or row.decided or row.asked),
        "ttlMs": max(row.until, row.used or 0) - row.asked + _TTL_MS,
        "pollIntervalMs": _POLL_MS,
    }


def _ended(outcome: Json) -> Json:
    if "cancelled" in outcome:
        return {"status": "cancelled"}
    return {"status": "completed" if "result" in outcome else "failed", **outcome}


def _error(message: str, code: int = INTERNAL_ERROR, data: Any = None) -> Json:
    error: Json = {"code": code, "message": message}
    return {"error": error if data is None else {**error, "data": data}}


def _without_tasks(call: Call) -> Call:
    """Its server is not to make a task of its own: this is one already."""
    extensions = call.capabilities.get("extensions")
    if not isinstance(extensions, dict):
        return call
    kept = {name: value for name, value in extensions.items() if name != TASKS}
    return replace(call, capabilities={**call.capabilities, "extensions": kept})
