"""One wish to hear of tasks of one server: an agent's stream, told on by a stream of the server's own.

It is opened again whenever it ends, until nobody wants it any longer: over links and servers that come
and go. Once it stands again, its owner is told that something may have been missed.

Source: SEP-2663, "Task Status Notifications".
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

import anyio

from connectors.base import RemoteError
from hub.backoff import retry_wait_seconds
from hub.env import Env
from hub.errors import HubError
from hub.model import Call, Json
from hub.tasks import TASKS

__all__ = ["TASK_TOLD", "TaskWatching"]

log = logging.getLogger(__name__)

TASK_TOLD: Final = "notifications/tasks"

_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_STEADY_SECONDS: Final = 60.0
"""A stream that stood so long was no failure."""


class TaskWatching:
    def __init__(
        self,
        call: Call,
        ids: Sequence[str],
        told: Callable[[Json], None],
        missed: Callable[[], None],
    ) -> None:
        """
        Args:
            call: A use of what made the tasks: says which server it is, and which of its links.
            ids: The server's own.
            told: Gets a task as it is now, with its server's id. Must not block.
            missed: Called when something may have been missed. Must not block.
        """
        filter = {"taskIds": [*ids]}
        self._call = replace(
            call,
            method="subscriptions/listen",
            params={"notifications": filter},
            capabilities={"extensions": {TASKS: {}}},
            log_level=None,
            notify=self._heard,
        )
        self.agreed = frozenset(ids)
        """What the server tells of; all that is wanted until it has said so."""
        self._told = told
        self._missed = missed
        self._settled = anyio.Event()
        self._promised = False
        self._scope = anyio.CancelScope()

    async def settled(self, seconds: float) -> None:
        """Return once the server has said what it tells of, or after that time; then it is still seen to."""
        with anyio.move_on_after(seconds):
            await self._settled.wait()
        self._promised = True

    def stop(self) -> None:
        """Nobody wants it any longer. May be called twice."""
        self._scope.cancel()

    async def run(self, listen: Callable[[Call], Awaitable[None]], env: Env) -> None:
        """Hear, until stopped.

        Args:
            listen: Opens a stream of its server, and returns when that ends.
        """
        failures = 0
        with self._scope:
            while True:
                began = env.monotonic()
                try:
                    await listen(self._call)
                except (HubError, RemoteError) as error:
                    log.info("the stream of tasks of server %s ended: %s", self._server, error)
                    if not self._settled.is_set():
                        self.agreed = frozenset()
                        self._settled.set()
                failures = 0 if env.monotonic() - began > _STEADY_SECONDS else failures + 1
                await anyio.sleep(retry_wait_seconds(failures, env.random_bytes(8)))

    @property
    def _server(self) -> str:
        return self._call.entry.server if self._call.entry is not None else "?"

    def _heard(self, method: str, params: Json) -> None:
        if method == TASK_TOLD:
            self._told(params)
        elif method == _ACKNOWLEDGED:
            said = params.get("notifications")
            given = said.get("taskIds") if isinstance(said, dict) else None
            given = [id for id in given if isinstance(id, str)] if isinstance(given, list) else []
            self.agreed = self.agreed.intersection(given) if not self._settled.is_set() else self.agreed
            self._settled.set()
            if self._promised:
                self._missed()
