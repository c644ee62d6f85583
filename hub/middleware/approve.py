"""Where a rule says `ask: human`, the call waits until a person has approved that very call.

How its agent waits is up to its client: with a task, if it knows tasks; by an `input_required` result,
if it can ask its user to look at something elsewhere; else the call is held for a while, and then
answered with a sentence that says to call again. The same call finds its approval again without an
id, because an approval is bound to agent, entry, params and definition.

What is approved is done once. Where its server asks a question in the middle, each further round is
let through once, and only for the call that was approved.

A call that no rule wants approved pays for one look at its rules and the step itself: 0.2 us.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

from connectors.base import RemoteError
from hub.approvals.approvals import APPROVAL_KEY, Approvals, refusal
from hub.approvals.tasks import given_task
from hub.errors import InvalidParams, Refused, Unapproved, UpstreamError
from hub.model import Call, Handler, Json, Result
from hub.policy import Rule
from hub.seal import Broken, Seal
from hub.store.approvals import ApprovalRow
from hub.tasks import TASK_METHODS, TaskIds, declares_tasks

__all__ = ["Approve"]

_PURPOSE: Final = "approval"
_STATE_SECONDS: Final = 3600.0
_QUESTION: Final = "approval"


@dataclass(frozen=True, slots=True)
class _Given:
    """What a call brings along of an approval."""

    id: str | None = None
    round: int | None = None
    """`None`: nothing was asked yet; 0: its user was told of it; else, how often its server has asked."""
    action: Any = None
    """What the user said: `accept`, `decline` or `cancel`."""


class Approve:
    def __init__(
        self,
        approvals: Approvals,
        ids: TaskIds,
        seal: Seal,
        paused: Callable[[], AbstractContextManager[None]],
        not_sent: Callable[[Call], None],
    ) -> None:
        """
        Args:
            paused: While it is open, no deadline of this call's server goes on.
            not_sent: Told of each call that went no further.
        """
        self._approvals = approvals
        self._ids = ids
        self._seal = seal
        self._paused = paused
        self._not_sent = not_sent

    def __call__(self, call: Call, inner: Handler) -> Awaitable[Result]:
        # No coroutine of its own where there is nothing to do, which is the usual case.
        for rule in call.rules:
            if rule.ask is not None:
                return self._with_approval(call, rule, inner)
        return inner(call)

    async def _with_approval(self, call: Call, rule: Rule, inner: Handler) -> Result:
        was_let_through = False

        def let_through(call: Call) -> Awaitable[Result]:
            nonlocal was_let_through
            was_let_through = True
            return inner(call)

        try:
            return await self._decided(call, rule, let_through)
        finally:
            if not was_let_through:
                self._not_sent(call)

    async def _decided(self, call: Call, rule: Rule, inner: Handler) -> Result:
        if call.method in TASK_METHODS:
            # What made the task was approved; it itself may be looked at and ended.
            return await inner(call)
        if call.method == "completion/complete":
            return {"completion": {"values": []}}
        call, given = self._taken(call)
        wanted = self._approvals.describe(call, rule)
        if given.round is not None and given.round > 0:
            return await self._go_on(call, given, wanted, inner)
        row = await (
            self._approvals.ask(wanted) if given.id is None else self._approvals.named(given.id, wanted)
        )
        if row.state == "pending":
            if given.round is None and given.id is None and _knows_tasks(call):
                return given_task(call, row, self._ids)
            if given.round is None and _can_visit(call):
                return self._question(call, row)
            if given.action == "decline":
                await self._approvals.withdraw(row.id)
                raise Unapproved(
                    "The user declined, so no person is asked any longer. Nothing was done.", "denied"
                )
            with self._paused():
                row = await self._approvals.settled(row)
        if row.state == "approved":
            if await self._approvals.claim(row, call.id):
                return await self._used(call, row, inner)
            row = row._replace(state="used")
        raise refusal(row)

    async def _go_on(self, call: Call, given: _Given, wanted: ApprovalRow, inner: Handler) -> Result:
        assert given.id is not None and given.round is not None
        row = await self._approvals.named(given.id, wanted)
        if not await self._approvals.go_on(row, given.round):
            raise Unapproved("This round of the approved call was answered already; each can be only once.")
        return self._sealed(call, row.id, given.round + 1, await inner(call))

    async def _used(self, call: Call, row: ApprovalRow, inner: Handler) -> Result:
        try:
            return self._sealed(call, row.id, 1, await inner(call))
        except (Refused, UpstreamError) as error:
            if isinstance(error, Refused) or not error.sent:
                # Nothing of it left the hub, so that person need not be asked again.
                await self._approvals.give_back(row.id, call.id)
            raise

    def _sealed(self, call: Call, id: str, round: int, result: Result) -> Result:
        """A question of the server, such that only the call that was approved can go on from it."""
        if result.get("resultType") != "input_required":
            return result
        return {**result, "requestState": self._close(call, id, round, result.get("requestState"))}

    def _question(self, call: Call, row: ApprovalRow) -> Result:
        asked: Json = {
            "mode": "url",
            # Nothing answers there: an agent's plane is no place to approve what agents do.
            "url": f"hub://approvals/{row.id}",
            "message": f"{call.name} waits for a person. Approve it with `hub approvals approve {row.id}` "
            "where the hub runs, then go on.",
        }
        return {
            "resultType": "input_required",
            "inputRequests": {_QUESTION: {"method": "elicitation/create", "params": asked}},
            "requestState": self._close(call, row.id, 0, None),
        }

    def _close(self, call: Call, id: str, round: int, state: Any) -> str:
        return self._seal.close(_PURPOSE, [call.agent.name, id, round, state], seconds=_STATE_SECONDS)

    def _taken(self, call: Call) -> tuple[Call, _Given]:
        """The call as its server is to get it, and what it brings along.

        Raises:
            InvalidParams: its `requestState` was not given by the hub, not to this agent, or is too old.
            RemoteError: its client has given the call up.
        """
        params, given = call.params, _Given()
        state = params.get("requestState")
        if state is not None:
            id, round, own = self._opened(call, state)
            params = {key: value for key, value in params.items() if key != "requestState"}
            if own is not None:
                params["requestState"] = own
            given = _Given(id, round)
            if round == 0:
                answers = params.pop("inputResponses", None)
                answer = answers.get(_QUESTION) if isinstance(answers, dict) else None
                if isinstance(answer, RemoteError):
                    raise answer
                given = _Given(id, round, answer.get("action") if isinstance(answer, dict) else None)
        meta = params.get("_meta")
        if isinstance(meta, dict) and APPROVAL_KEY in meta:
            id = meta[APPROVAL_KEY]
            if given.id is None and isinstance(id, str):
                given = _Given(id)
            kept = {key: value for key, value in meta.items() if key != APPROVAL_KEY}
            params = {key: value for key, value in params.items() if key != "_meta"}
            if kept:
                params["_meta"] = kept
        return (call if params is call.params else replace(call, params=params)), given

    def _opened(self, call: Call, state: Any) -> tuple[str, int, Any]:
        try:
            if type(state) is not str:
                raise Broken("not a string")
            agent, id, round, own = self._seal.open(_PURPOSE, state)
            if agent != call.agent.name:
                raise Broken("another agent's")
        except Broken:
            raise InvalidParams(
                "Invalid requestState: it is not one that was given for this call, or its time is over; "
                "call again without it"
            ) from None
        return id, round, own


def _knows_tasks(call: Call) -> bool:
    return call.modern and call.method == "tools/call" and declares_tasks(call.capabilities)


def _can_visit(call: Call) -> bool:
    declared = call.capabilities.get("elicitation")
    return isinstance(declared, dict) and "url" in declared
