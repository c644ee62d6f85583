"""Calls that a person has to approve: asked for, waited for, decided, and used once.

An approval is bound to one agent and to the very call: its method, entry, params and the entry's
definition. Who decides comes by the admin plane, never by the agents' port. The store has the truth,
so nothing of this is lost with the process; here is who waits for it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import anyio

from connectors.jsonrpc import Budget, encode, parse
from hub.approvals.rows import decided_row
from hub.audit.redact import Redactor
from hub.canonical import canonical
from hub.env import Env
from hub.errors import Unapproved
from hub.model import Call, Json, Result
from hub.policy import Grants, Rule
from hub.route import DEADLINE
from hub.seal import Seal
from hub.store import approvals
from hub.store.approvals import ApprovalRow
from hub.store.db import Store
from hub.units import utc

__all__ = [
    "APPROVAL_KEY",
    "PENDING_MAX",
    "Approvals",
    "as_result",
    "bound_params",
    "decided_row",
    "moment",
    "refusal",
]

APPROVAL_KEY: Final = "hub/approval"
"""In `_meta`: of a request, the id of the approval that it counts on; of a result, what it waits for."""

PENDING_MAX: Final = 100
"""How many calls of one agent may wait for a person at once."""

_ID_BYTES: Final = 20
_PURPOSE: Final = "approval in the store"
_PART_LENGTH: Final = 512 * 1024
_KEPT_SECONDS: Final = 86_400.0
_BUDGET: Final = Budget(64 * 1024**2, 10_000_000)
_UNBOUND: Final = frozenset({"inputResponses", "requestState"})
_UNBOUND_META: Final = frozenset(
    {APPROVAL_KEY, DEADLINE, "progressToken", "traceparent", "tracestate", "baggage"}
)
"""What differs from one repetition of a call to the next."""


class Approvals:
    def __init__(
        self,
        store: Store,
        env: Env,
        seal: Seal,
        redactor: Redactor,
        *,
        wait_seconds: float = 25.0,
        pending_seconds: float = 3600.0,
        approved_seconds: float = 600.0,
    ) -> None:
        """
        Args:
            wait_seconds: How long a call is held for a decision before its agent is told to come again.
            pending_seconds: How long a person has to decide; how long a denial holds.
            approved_seconds: How long what is approved may be used.
        """
        self._store = store
        self._env = env
        self._seal = seal
        self._redactor = redactor
        self._wait_seconds = wait_seconds
        self._pending_seconds = pending_seconds
        self._approved_seconds = approved_seconds
        self._waiting: dict[str, set[Callable[[], None]]] = {}

    def describe(self, call: Call, rule: Rule) -> ApprovalRow:
        """What an approval of this very call would be: its digests, and a new id for it."""
        assert call.entry is not None
        entry, params, now = call.entry, bound_params(call.params), self._now()
        text = encode(params).decode()
        bound = [call.agent.name, call.method, entry.kind, entry.server, entry.own, params]
        return ApprovalRow(
            # 160 random bits: what nobody was told of, nobody can name.
            base64.b32encode(self._env.random_bytes(_ID_BYTES)).decode().lower(),
            call.agent.name,
            call.agent.token,
            call.session,
            call.method,
            call.name,
            entry.server,
            self._redactor.redact(text, self._redactor.marked(entry)),
            self._closed(text),
            _digest(bound),
            # What the server itself says, too, where a manifest has other words for it.
            _digest([entry.definition, None if entry.curation is None else entry.curation.theirs]),
            _where(call.agent.grants, rule),
            now,
            now + _ms(self._pending_seconds),
        )

    async def ask(self, wanted: ApprovalRow) -> ApprovalRow:
        """The approval that there is for this call, else `wanted` itself, which a person can decide now.

        Raises:
            Unapproved: too many calls of this agent wait.
            StoreError: it cannot be written.
        """
        row = await self._store.write(partial(approvals.ask, new=wanted, most=PENDING_MAX))
        if row is None:
            raise Unapproved(
                f"{PENDING_MAX} calls of yours wait for a person already. Nothing was done. Go on once some "
                "of them are decided, or have ended."
            )
        return row

    async def named(self, id: str, wanted: ApprovalRow) -> ApprovalRow:
        """The approval with this id, which must be for the very call that `wanted` is for.

        Raises:
            Unapproved: there is none, or none of this agent: the same sentence; or it is for another call.
        """
        row = await self.get(id, wanted.agent)
        if row is None:
            raise Unapproved(f"Unknown approval: {id:.80}. Call again without it to ask a person.")
        if row.digest != wanted.digest:
            raise Unapproved(
                f"Approval {id} is for another call: the tool or its arguments differ. Nothing was done. "
                "Call again without it to ask a person for this one."
            )
        if row.definition != wanted.definition and row.state in approvals.OPEN:
            await self._store.write(partial(approvals.close, id=id, state="void"))
            self.tell(id)
            return row._replace(state="void")
        return row

    async def get(self, id: str, agent: str) -> ApprovalRow | None:
        """One of this agent's, as it is now."""
        row = await self._store.read(partial(approvals.get_approval, id=id))
        return None if row is None or row.agent != agent else approvals.as_of(row, self._now())

    async def settled(self, row: ApprovalRow) -> ApprovalRow:
        """The same once it is decided, or after the time that a call is held."""
        changed = anyio.Event()
        with self.listening(row.id, changed.set):
            # Looked at again, because it may have been decided before anybody listened.
            now = await self.get(row.id, row.agent)
            if now is not None and now.state == "pending":
                with anyio.move_on_after(self._wait_seconds):
                    await changed.wait()
                now = await self.get(row.id, row.agent)
        return row if now is None else now

    async def claim(self, row: ApprovalRow, call: str) -> bool:
        """Use it for the call with this id: whether it could be. Of all that try, one succeeds, once."""
        claimed = await self._store.write(partial(approvals.claim, wanted=row, call=call, now=self._now()))
        if claimed:
            self.tell(row.id)
        return claimed

    async def give_back(self, id: str, call: str) -> None:
        """The call that it was claimed for never left the hub."""
        await self._store.write(partial(approvals.give_back, id=id, call=call, now=self._now()))

    async def go_on(self, row: ApprovalRow, round: int) -> bool:
        """Whether the call that it was used for may go on with this round."""
        return await self._store.write(partial(approvals.go_on, wanted=row, round=round))

    async def withdraw(self, id: str) -> None:
        """Whoever asked no longer wants it."""
        await self._store.write(partial(approvals.close, id=id, state="withdrawn"))
        self.tell(id)

    def opened(self, sealed: str) -> Json:
        """The params or the outcome of a row, as it was. Raises `Broken`: its time is over."""
        parts = [self._seal.open(_PURPOSE, part)[0] for part in sealed.split("\n")]
        opened: Json = parse("".join(parts).encode(), _BUDGET)
        return opened

    def _closed(self, text: str) -> str:
        """Sealed in parts of a length that the seal takes."""
        seconds = self._pending_seconds + self._approved_seconds + _KEPT_SECONDS
        parts = (text[at : at + _PART_LENGTH] for at in range(0, len(text), _PART_LENGTH))
        return "\n".join(self._seal.close(_PURPOSE, [part], seconds=seconds) for part in parts)

    async def finish(self, id: str, outcome: Json) -> None:
        """Keep what a task's call came to."""
        await self._store.write(
            partial(approvals.finish, id=id, outcome=self._closed(encode(outcome).decode()))
        )
        self.tell(id)

    @property
    def waiting(self) -> int:
        """How many wait for a decision in this process: calls that are held, tasks that are listened to."""
        return sum(len(listeners) for listeners in self._waiting.values())

    # What people do.

    async def decide(self, id: str, *, approve: bool, decider: str, reason: str | None) -> ApprovalRow:
        """Approve or deny one that is pending.

        Args:
            id: Or the first characters of it.

        Raises:
            Failure: there is none such, or it is not pending.
        """
        row = await self._store.write(
            partial(
                decided_row, id=id, approve=approve, decider=decider, reason=reason, now=self._now(),
                pending_seconds=self._pending_seconds, approved_seconds=self._approved_seconds,
            )
        )  # fmt: skip
        self.tell(row.id)
        return row

    @contextmanager
    def listening(self, id: str, changed: Callable[[], None]) -> Iterator[None]:
        """Call `changed` whenever that approval is another than before. It must not block."""
        listeners = self._waiting.setdefault(id, set())
        listeners.add(changed)
        try:
            yield
        finally:
            listeners.discard(changed)
            if not listeners:
                self._waiting.pop(id, None)

    def tell(self, id: str) -> None:
        """Something about that approval is another than before."""
        for changed in [*self._waiting.get(id, ())]:
            changed()

    def left_seconds(self, row: ApprovalRow) -> float:
        """Until it ends by itself."""
        return max(0.0, (row.until - self._now()) / 1000)

    def _now(self) -> int:
        return _ms(self._env.now())


def bound_params(params: Json) -> Json:
    """What of a call's params an approval is bound to: all but what each repetition has anew."""
    bound = {key: value for key, value in params.items() if key not in _UNBOUND and key != "_meta"}
    meta = params.get("_meta")
    if isinstance(meta, dict):
        kept = {key: value for key, value in meta.items() if key not in _UNBOUND_META}
        if kept:
            bound["_meta"] = kept
    if bound.get("arguments") == {}:
        # No arguments are the same, written or left out.
        del bound["arguments"]
    return bound


def _digest(value: Any) -> bytes:
    return hashlib.sha256(canonical(value)).digest()


def _where(grants: Grants, rule: Rule) -> str:
    each: Grants | None = grants
    while each is not None:
        if any(mine is rule for mine in each.may):
            return f"{each.file}:{rule.line}: {rule.id}"
        each = each.within
    return rule.id


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def refusal(row: ApprovalRow) -> Unapproved:
    """Why a call is not made, in words for its model."""
    said = f' They said: "{row.reason}".' if row.reason else " They gave no reason."
    nothing = "Nothing was done."
    anew = f"{nothing} Call again to ask anew."
    sentence = {
        "pending": f"Pending: a person has to approve this call first (`hub approvals approve {row.id}`, "
        f"where the hub runs). {nothing} Call again with exactly the same arguments to go on once it "
        f"is approved; it is asked for until {moment(row.until)}.",
        "denied": f"Denied: a person decided against this call.{said} {nothing} The same call is answered so "
        f"until {moment(row.until)}.",
        "used": f"Approval {row.id} was used already, for one call. {anew}",
        "expired": f"Approval {row.id} has ended: it was not given, or not used, in time. {anew}",
        "withdrawn": f"Approval {row.id} was withdrawn. {anew}",
        "void": f"The tool has changed since approval {row.id} was asked for. Look at it again. {anew}",
    }[row.state]
    reason = row.state if row.state in ("pending", "denied") else "unapproved"
    return Unapproved(sentence, reason, {"id": row.id, "state": row.state, "until": moment(row.until)})


def as_result(refused: Unapproved) -> Result:
    """A refusal as a tool's own failure, for its model to read."""
    result: Result = {"content": [{"type": "text", "text": str(refused)}], "isError": True}
    return result if refused.about is None else {**result, "_meta": {APPROVAL_KEY: refused.about}}


def moment(milliseconds: int) -> str:
    return utc(milliseconds / 1000)
