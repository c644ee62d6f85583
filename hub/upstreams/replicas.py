"""Several links to what is one server: which of them takes a call.

The least busy of those that are well. Where a session has something of its own at a server, its calls stay
with one; a further round of a call, and what is asked of a task, go to the one that asked or made it. What
could not be sent to one is sent to the next. All must offer the same tools: one that does not gets no call.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from connectors.base import MODERN_VERSIONS, RemoteError
from hub.errors import UpstreamError
from hub.model import Call, Json, Result
from hub.tasks import TASK_METHODS
from hub.upstreams.learn import Known
from hub.upstreams.upstream import Upstream

__all__ = ["Replicas", "differences"]

log = logging.getLogger(__name__)

_KEPT_MAX: Final = 10_000
_NAMED_MAX: Final = 5


class Replicas:
    def __init__(self, main: Upstream, others: Sequence[Upstream]) -> None:
        """
        Args:
            main: The one whose offer is the server's.
        """
        self.name = main.name
        self.others = tuple(others)
        self._main = main
        self._all = (main, *others)
        self._turn = 0
        self._kept: OrderedDict[str, Upstream] = OrderedDict()
        """By task or by state of a question: whose it is."""
        self._said: dict[Upstream, str] = {}

    async def send(self, call: Call) -> Result:
        """Raises as `Upstream.send`; what is raised was raised by the last that was asked."""
        if call.method in TASK_METHODS:
            return await self._ask_of_task(call)
        held = self._kept.get(str(call.params.get("requestState")))
        if held is not None:
            return self._noted(await held.send(call), held)
        ordered = self._ordered(call)
        for upstream in ordered:
            try:
                return self._noted(await upstream.send(call), upstream)
            except UpstreamError as error:
                if error.sent or upstream is ordered[-1]:
                    raise
                log.info("%s: a call goes to another replica: %s", self.name, error)
        raise AssertionError("the last one returns or raises")

    async def _ask_of_task(self, call: Call) -> Result:
        """Of whoever made it; where that is not known any more, of one after the other."""
        id = str(call.params.get("taskId"))
        held = self._kept.get(id)
        for upstream in self._all if held is None else (held,):
            try:
                result = await upstream.send(call)
            except RemoteError:
                if held is not None or upstream is self._all[-1]:
                    raise
                continue
            self._keep(id, upstream)
            return result
        raise AssertionError("the last one returns or raises")

    async def listen(self, call: Call) -> None:
        """Hear of tasks of the one that made the first of them; of those of others nothing is promised.

        Raises as `Upstream.listen`.
        """
        filter = call.params.get("notifications") or {}
        ids = filter.get("taskIds") or [""]
        upstream = self._kept.get(ids[0], self._main)
        mine = [id for id in ids if self._kept.get(id, self._main) is upstream]
        if len(mine) < len(ids):
            call = replace(call, params={**call.params, "notifications": {**filter, "taskIds": mine}})
        await upstream.listen(call)

    def shown(self) -> list[Json]:
        """For people: each further one, as it is."""
        return [
            {
                "connects_to": upstream.manifest.connect.describe(),
                "state": upstream.state,
                "breaker": upstream.breaker.state,
                "under_way": upstream.calls_under_way,
                "note": upstream.reason or self._unfit(upstream) or upstream.breaker.sentence(),
            }
            for upstream in self.others
        ]

    def _ordered(self, call: Call) -> list[Upstream]:
        """Whom to ask, one after the other: those that are well, or the first of all where none is."""
        well = [each for each in self._all if self._is_well(each)]
        if self._stays(call):
            return sorted(well, key=lambda each: _weight(call.session, self._all.index(each))) or [self._main]
        self._turn += 1
        turned = [*well[self._turn % len(well) :], *well[: self._turn % len(well)]] if well else [self._main]
        # One that has to be started first is worth the wait only where the others are at work.
        return sorted(
            turned, key=lambda each: each.calls_under_way + (0 if each.main.link is not None else 2)
        )

    def _is_well(self, upstream: Upstream) -> bool:
        if upstream.state == "failed" and upstream.retry_at is not None:
            return False
        return upstream.breaker.state != "open" and self._unfit(upstream) is None

    def _unfit(self, upstream: Upstream) -> str | None:
        """Why it gets no calls; `None` where it offers what the server does."""
        if upstream is self._main:
            return None
        if upstream.known is None or self._main.known is None:
            return "not asked yet what it offers"
        why = differences(self._main.known, upstream.known)
        if why is not None and self._said.get(upstream) != why:
            self._said[upstream] = why
            log.warning("%s: %s %s", self.name, upstream.manifest.connect.describe(), why)
        return why

    def _stays(self, call: Call) -> bool:
        """Whether its session has something of its own at the server."""
        share, known = self._main.manifest.share, self._main.known
        if share == "session":
            return True
        older = known is not None and known.version not in MODERN_VERSIONS
        return share == "auto" and older and bool(call.capabilities)

    def _noted(self, result: Result, upstream: Upstream) -> Result:
        kind = result.get("resultType")
        if kind in ("task", "input_required"):
            key: Any = result.get("taskId" if kind == "task" else "requestState")
            if type(key) is str:
                self._keep(key, upstream)
        return result

    def _keep(self, key: str, upstream: Upstream) -> None:
        self._kept[key] = upstream
        if len(self._kept) > _KEPT_MAX:
            self._kept.popitem(last=False)


def differences(main: Known, other: Known) -> str | None:
    """What of the tools of two differs, in words; `None` where they are the same."""
    ours, theirs = _tools(main), _tools(other)
    missing, more = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
    changed = {name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]}
    parts = [
        f"{word} {', '.join(sorted(names)[:_NAMED_MAX])}"
        for word, names in (("lacks", missing), ("adds", more), ("has other arguments for", changed))
        if names
    ]
    return f"offers other tools, so it gets no calls: {'; '.join(parts)}" if parts else None


def _tools(known: Known) -> dict[str, Any]:
    """By name, what each takes."""
    return {
        str(tool.get("name")): tool.get("inputSchema")
        for tool in known.definitions.get("tool", ())
        if isinstance(tool, dict)
    }


def _weight(session: str, position: int) -> bytes:
    """Where a session goes first, such that one that is away moves only its own."""
    return hashlib.sha256(f"{session}\n{position}".encode()).digest()
