"""The tasks extension, `io.modelcontextprotocol/tasks` (SEP-2663), which the SDK does not have.

A tool that runs as a task is the same coroutine as elsewhere: only its `ask` differs. It parks the
task in `input_required` until `tasks/update` has answered every question. Tasks live in memory for
`TTL_SECONDS`, at most `TASKS_MAX` of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
from anyio.abc import TaskGroup
from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    CallToolResult,
    InputRequest,
    RequestParams,
)

from tests.servers.everything.asking import Answers, Asker, dump, read_answer
from tests.servers.everything.eras import is_modern, require_tasks

TTL_SECONDS = 600
POLL_INTERVAL_MS = 100
TASKS_MAX = 1_000

Work = Callable[[Asker], Awaitable[CallToolResult]]
Publish = Callable[[str, dict[str, Any]], Awaitable[None]]


class TaskParams(RequestParams):
    """`tasks/get`, `tasks/cancel`."""

    task_id: str


class TaskUpdateParams(TaskParams):
    """`tasks/update`."""

    input_responses: dict[str, Any]


@dataclass
class Task:
    """One piece of work that outlives the call which started it."""

    publish: Publish
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: str = "working"
    outcome: dict[str, Any] = field(default_factory=dict)
    waiting: dict[str, InputRequest] = field(default_factory=dict)
    answers: Answers = field(default_factory=dict)
    asked: int = 0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    answered: anyio.Event = field(default_factory=anyio.Event)

    @property
    def is_over(self) -> bool:
        return self.status in ("completed", "failed", "cancelled")

    def seed(self) -> dict[str, Any]:
        """The fields that every form of a task has."""
        return {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created.isoformat(),
            "lastUpdatedAt": self.updated.isoformat(),
            "ttlMs": TTL_SECONDS * 1_000,
            "pollIntervalMs": POLL_INTERVAL_MS,
        }

    def detailed(self) -> dict[str, Any]:
        """The seed, and what belongs to its status: a result, an error, or open questions."""
        if self.status == "input_required":
            return {
                **self.seed(),
                "inputRequests": {key: dump(request) for key, request in self.waiting.items()},
            }
        return {**self.seed(), **self.outcome}

    async def become(self, status: str, **outcome: Any) -> None:
        """Move on, unless the task is over already, and tell whoever listens."""
        if self.is_over:
            return
        self.status, self.outcome, self.updated = status, outcome, datetime.now(UTC)
        await self.publish("notifications/tasks", self.detailed())

    async def ask(self, requests: Mapping[str, InputRequest], *, sealed: bool = False) -> Answers:
        """Park until `tasks/update` has answered all of these. A key is never used twice in one task."""
        self.asked += 1
        minted = {f"{key}-{self.asked}": key for key in requests}
        self.waiting = {mint: requests[key] for mint, key in minted.items()}
        self.answered = anyio.Event()
        await self.become("input_required")
        await self.answered.wait()
        await self.become("working")
        return {key: self.answers[mint] for mint, key in minted.items()}

    async def answer(self, responses: Mapping[str, Any]) -> None:
        """Take the answers that fit an open question; the others are ignored, as the SEP says."""
        for key, raw in responses.items():
            if key in self.waiting and (answer := read_answer(self.waiting[key], raw)) is not None:
                del self.waiting[key]
                self.answers[key] = answer
        if self.status == "input_required" and not self.waiting:
            self.answered.set()

    async def run(self, work: Work) -> None:
        """Do the work to its end, whatever that is."""
        with self.scope:
            try:
                result = await work(self.ask)
                await self.become("completed", result=dump(result))
            except MCPError as error:
                await self.become("failed", error=dump(error.error))
            except Exception as error:
                await self.become("failed", error={"code": INTERNAL_ERROR, "message": str(error)})


@dataclass
class TaskBook:
    """All tasks of this run, by id."""

    group: TaskGroup
    tasks: dict[str, Task] = field(default_factory=dict)

    def start(self, publish: Publish, work: Work) -> dict[str, Any]:
        """Begin the work and return the `CreateTaskResult`. `tasks/get` finds the task from now on.

        Raises:
            MCPError: there are `TASKS_MAX` tasks already.
        """
        horizon = datetime.now(UTC) - timedelta(seconds=TTL_SECONDS)
        for task in [task for task in self.tasks.values() if task.created < horizon]:
            task.scope.cancel()
            del self.tasks[task.id]
        if len(self.tasks) >= TASKS_MAX:
            raise MCPError(code=INTERNAL_ERROR, message=f"There are {TASKS_MAX} tasks already")
        task = Task(publish)
        self.tasks[task.id] = task
        self.group.start_soon(task.run, work)
        return {"resultType": "task", **task.seed()}

    async def get(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        """`tasks/get`."""
        return self._find(context, params).detailed()

    async def update(
        self, context: ServerRequestContext[Any, Any], params: TaskUpdateParams
    ) -> dict[str, Any]:
        """`tasks/update`."""
        await self._find(context, params).answer(params.input_responses)
        return {}

    async def cancel(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> dict[str, Any]:
        """`tasks/cancel`. A task that is over stays as it is."""
        task = self._find(context, params)
        await task.become("cancelled")
        task.scope.cancel()
        return {}

    def _find(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> Task:
        if not is_modern(context):
            raise MCPError(code=METHOD_NOT_FOUND, message="Method not found", data=context.method)
        require_tasks(context)
        # Over HTTP a router may have gone by the header, so it must not disagree (SEP-2243, SEP-2663).
        if context.request is not None:
            name = decode_header_value(context.request.headers.get("mcp-name"))
            if name != params.task_id:
                raise MCPError(code=HEADER_MISMATCH, message="Mcp-Name header does not match params.taskId")
        if (task := self.tasks.get(params.task_id)) is None:
            raise MCPError(code=INVALID_PARAMS, message="Unknown task", data={"taskId": params.task_id})
        return task
