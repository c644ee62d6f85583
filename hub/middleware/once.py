"""A call with `_meta["hub/idempotency-key"]` is made once, however often its agent repeats it.

The same key of the same agent, with the same tool and arguments, is answered with what came of it the first
time; with others it is refused. That the key is taken is committed before the call goes on, so it holds over
the end of the hub at any moment: a call of which nobody knows what it did is refused as that. One that
certainly was not made (refused, or never sent) may be made again with its key.

Outermost: what is only answered again is no call. It must be granted still. Keys count for 24 hours, by the
wall clock, as they outlive the hub; where that jumps while the hub runs, they count for longer, never less.

Measured, CPU: 0.2 us for a call without a key; 315 us for one with it (a reading and two commits), 115 us
for its repetition.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from connectors.base import RemoteError
from connectors.jsonrpc import Budget, Malformed, encode, parse
from hub.canonical import canonical
from hub.counted import counted
from hub.env import Env
from hub.errors import Denied, InvalidParams, Refused, StoreError, UpstreamError
from hub.model import Call, Handler, Json, Result
from hub.policy import decide
from hub.seal import Broken, Seal
from hub.sessions import reach_of
from hub.store import calls, repeatable
from hub.store.calls import CallRow
from hub.store.repeatable import Claim
from hub.tasks import TASK_METHODS
from hub.units import utc

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["KEY", "REPEATED", "Once"]

KEY: Final = "hub/idempotency-key"
REPEATED: Final = "hub/repeated"
"""In the `_meta` of a result: which call it is of, where that was made before."""

_KEY_LENGTH_MAX: Final = 256
_SECONDS: Final = 24 * 3600.0
_WAIT_SECONDS: Final = 30.0
"""How long a repetition waits for the first, if that is under way."""
_RESULT_BYTES_MAX: Final = 256 * 1024
_LATE_SECONDS: Final = 3.0
_BUDGET: Final = Budget(4 * _RESULT_BYTES_MAX, 1_000_000)

_Place = tuple[str, str]


class Once:
    def __init__(self, store: Store, env: Env, seal: Seal, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        """
        Args:
            seal: Closes what is kept of answers: they are whole, with whatever secret is in them.
        """
        self._store = store
        self._env = env
        self._seal = seal
        self._wait_seconds = wait_seconds
        self._started = env.now() - env.monotonic()
        self._under_way: dict[_Place, tuple[bytes, str, anyio.Event]] = {}

    def __call__(self, call: Call, inner: Handler) -> Awaitable[Result]:
        # No coroutine of its own where there is no key, which is the usual case.
        meta = call.params.get("_meta")
        if type(meta) is dict and KEY in meta:
            return self._once(call, meta, inner)
        return inner(call)

    async def _once(self, call: Call, meta: Json, inner: Handler) -> Result:
        """Raises `Denied`: it is not made, and why; else what `inner` raises."""
        key = meta[KEY]
        if type(key) is not str or not 0 < len(key) <= _KEY_LENGTH_MAX:
            raise InvalidParams(
                f"Invalid params: params._meta['{KEY}'] must be a string of 1 to {_KEY_LENGTH_MAX} characters"
            )
        kept = {name: value for name, value in meta.items() if name != KEY}
        params = {name: value for name, value in call.params.items() if name != "_meta"}
        call = replace(call, params={**params, "_meta": kept} if kept else params, keyed=True)
        granted = call.entry is not None and decide(call.agent.grants, call.entry).allowed
        if not granted or call.method in TASK_METHODS or call.method == "completion/complete":
            return await inner(call)
        place, digest = (f"{call.agent.name}\n{reach_of(call.agent)}", key), _digest(call)
        with anyio.move_on_after(self._wait_seconds):
            while place in self._under_way:
                known, _, over = self._under_way[place]
                _must_be(known, digest, key)
                await over.wait()
        if place in self._under_way:
            raise Denied(
                f"The call with this key is still under way (call {self._under_way[place][1]}). It is not "
                "made twice; ask for what came of it later, with the same key.",
                "under_way",
            )
        over = anyio.Event()
        self._under_way[place] = (digest, call.id, over)
        try:
            return await self._first_or_again(call, place, digest, inner)
        finally:
            del self._under_way[place]
            over.set()

    async def _first_or_again(self, call: Call, place: _Place, digest: bytes, inner: Handler) -> Result:
        # Where the wall clock has jumped, a key is taken for as young as it can be.
        times = self._env.now(), self._started + self._env.monotonic()
        now, since = max(times), int((min(times) - _SECONDS) * 1000)
        found = await self._store.read(partial(repeatable.find, owner=place[0], key=place[1], since=since))
        if found is not None:
            _must_be(found.digest, digest, place[1])
            goes_on = "requestState" in call.params or "inputResponses" in call.params
            known = await self._known(found, call)
            if known is not None and not (goes_on and known.get("resultType") == "input_required"):
                return _again(known, found)
            if known is not None:
                return await self._go_on(call, place, inner)
        claim = Claim(*place, digest, call.name[:_KEY_LENGTH_MAX], call.id, int(now * 1000))
        await self._store.write(partial(repeatable.claim, new=claim, since=since))
        try:
            result = await inner(call)
        except RemoteError as error:
            said = {"code": error.code, "message": error.message, "data": error.data}
            await self._keep(place, call.id, {"error": said})
            raise
        except (Refused, UpstreamError) as error:
            if isinstance(error, Refused) or not error.sent:
                await self._free(place, call.id)
            raise
        await self._keep(place, call.id, {"result": result})
        return result

    async def _go_on(self, call: Call, place: _Place, inner: Handler) -> Result:
        """The next round of a call whose server has asked something."""
        await self._store.write(partial(repeatable.pass_on, owner=place[0], key=place[1], call=call.id))
        result = await inner(call)
        await self._keep(place, call.id, {"result": result})
        return result

    async def _keep(self, place: _Place, call: str, outcome: Json) -> None:
        text = encode(outcome)
        kept = self._seal.lock(_purpose(place), text).encode() if len(text) <= _RESULT_BYTES_MAX else None
        await self._late(partial(repeatable.keep, owner=place[0], key=place[1], call=call, result=kept))

    async def _free(self, place: _Place, call: str) -> None:
        await self._late(partial(repeatable.free, owner=place[0], key=place[1], call=call))

    async def _late(self, work: Any) -> None:
        """What is not written here is found in the row of the call."""
        with anyio.move_on_after(_LATE_SECONDS, shield=True), contextlib.suppress(StoreError):
            await self._store.write(work)

    async def _known(self, found: Claim, call: Call) -> Result | None:
        """What came of the first; `None` where it certainly was not made.

        Raises:
            RemoteError: its server's error.
            Denied: it is not known, or what is known is not all of it.
        """
        text = None if found.result is None else self._opened(found, found.result)
        if text is not None:
            outcome = parse(text, _BUDGET)
            if "error" in outcome:
                raise RemoteError(**outcome["error"])
            result: Result = outcome["result"]
            return result
        row = await self._store.read(partial(_row, id=found.call))
        if row is None or row.state in ("refused", "cancelled"):
            return None
        if row.state == "failed" and row.kind == "transport":
            return None
        if row.state in ("intended", "unknown") or row.kind == "internal":
            if call.entry is not None and call.entry.reads_only:
                return None
            raise Denied(
                f"This call was begun at {utc(row.started / 1000)} (call {row.id}), and nobody knows whether "
                "it did what it was to do. It is not made again: look, and then call with another key.",
                "unknown",
            )
        whole = _whole(row)
        if whole is None:
            raise Denied(
                f"This call was made at {utc(row.started / 1000)} (call {row.id}) and is not made again. It "
                f"{'went well' if row.state == 'done' else 'failed'}; what it answered "
                f"({counted(row.result_bytes or 0, 'byte')}) was not kept whole.",
                "cut",
            )
        return whole

    def _opened(self, found: Claim, kept: bytes) -> bytes | None:
        """What was kept of an answer; `None` where it was sealed with another key than the hub has now."""
        if kept.startswith(b"{"):  # of an older hub
            return kept
        try:
            return self._seal.unlock(_purpose((found.owner, found.key)), kept.decode())
        except Broken:
            return None


def _must_be(digest: bytes, wanted: bytes, key: str) -> None:
    if digest != wanted:
        raise Denied(
            f"The key {key[:80]!r} was used for another tool or other arguments. Nothing was sent; give each "
            "call a key of its own.",
            "other_call",
        )


def _purpose(place: _Place) -> str:
    return "answer to a key\n" + "\n".join(place)


def _again(result: Result, found: Claim) -> Result:
    meta = result.get("_meta")
    about = {"call": found.call, "at": utc(found.at / 1000)}
    return {**result, "_meta": {**(meta if isinstance(meta, dict) else {}), REPEATED: about}}


def _digest(call: Call) -> bytes:
    name = call.params.get("arguments") or {}
    return hashlib.sha256(canonical([call.method, call.kind, call.name, name])).digest()


def _row(connection: Any, id: str) -> CallRow | None:
    return calls.get_call(connection, id)


def _whole(row: CallRow) -> Result | None:
    """What a call's row says that it answered; `None` where that is not all."""
    text, is_result = (row.result, True) if row.result is not None else (row.error, False)
    # Cut short, or with a secret taken out: either way not what was answered.
    if text is None or (is_result and len(text.encode()) != row.result_bytes):
        return None
    try:
        value = parse(text.encode(), _BUDGET)
    except Malformed:
        return None
    if not isinstance(value, dict) or value.get("truncated") is True:
        return None
    if is_result:
        return value
    if "code" not in value:
        return None
    raise RemoteError(value["code"], value["message"], value.get("data"))
