"""Remembers every call, whatever becomes of it.

Intent before effect: a call that may change something is recorded as intended before it goes on.
One that is known to change nothing, or that names no entry, is written once, after. Either way the
answer is given only when its row is safe (see `hub.store.calls.Calls`), so that nothing an agent was
told is ever lost.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

import anyio

from connectors.base import RemoteError
from connectors.jsonrpc import encode
from hub.env import Env
from hub.errors import HubError, Refused, StoreError, UpstreamError
from hub.model import Call, Handler, Json, Result
from hub.redact import Redactor
from hub.store.calls import Calls, Intent, Outcome, State

__all__ = ["Record"]

_NAME_LENGTH_MAX: Final = 2048
_LATE_SECONDS: Final = 3.0
"""How long a cancelled call waits for its row: a little more than the store's own bound."""


class Record:
    def __init__(
        self, calls: Calls, env: Env, record_bytes_max: int, redactor: Redactor | None = None
    ) -> None:
        """
        Args:
            record_bytes_max: How much of a call's params, and of its result, is kept. Of a longer
                one its row says `{"truncated": true, "start": "..."}` with the first that many bytes.
            redactor: Takes secrets out of what is kept; sizes are those before.
        """
        self._calls = calls
        self._env = env
        self._bytes_max = record_bytes_max
        self._redactor = redactor or Redactor()

    async def __call__(self, call: Call, inner: Handler) -> Result:
        """Raises what `inner` raises, or `StoreError` if the call or its outcome cannot be written."""
        began = self._env.monotonic()
        may_change = call.entry is not None and not call.entry.reads_only and call.method != "tasks/get"
        intent = self._intent(call)
        if may_change:
            try:
                waits = self._calls.intend(intent)
                if waits is not None:
                    await waits
            except anyio.get_cancelled_exc_class():
                await self._record_late(intent, Outcome("cancelled", "cancelled"))
                raise
        elif self._calls.trouble is not None:
            raise StoreError(self._calls.trouble)
        try:
            result = await inner(call)
            outcome = self._answered(call, result, self._since(began))
        except anyio.get_cancelled_exc_class():
            state: State = "unknown" if may_change else "cancelled"
            await self._record_late(intent, Outcome(state, "cancelled", duration_us=self._since(began)))
            raise
        except Exception as error:
            await self._record(intent, self._failed(error, may_change, self._since(began)), may_change)
            raise
        await self._record(intent, outcome, may_change)
        return result

    async def _record(self, intent: Intent, outcome: Outcome, owed: bool) -> None:
        try:
            waits = self._calls.record(intent, outcome)
            if waits is not None:
                await waits
        except StoreError:
            # Its effect may stand: the row must not say "intended" for ever.
            if owed:
                self._calls.owe(intent, outcome)
            raise

    async def _record_late(self, intent: Intent, outcome: Outcome) -> None:
        """Record of a call that is being cancelled: bounded, and never in the way of the cancellation."""
        with anyio.move_on_after(_LATE_SECONDS, shield=True), contextlib.suppress(StoreError):
            await self._record(intent, outcome, True)

    def _intent(self, call: Call) -> Intent:
        shortened, left_out = _shortened_arguments(_sayable(call.params), self._bytes_max)
        params, size = _text(shortened, self._bytes_max)
        entry, redactor = call.entry, self._redactor
        return Intent(
            call.id,
            call.session,
            call.agent.name,
            call.agent.token,
            None if entry is None else entry.server,
            call.method,
            redactor.redact(call.name[:_NAME_LENGTH_MAX]),
            None if entry is None else entry.own,
            redactor.redact(params, redactor.marked(entry)),
            size + left_out,
            int(self._env.now() * 1000),
        )

    def _answered(self, call: Call, result: Result, duration_us: int) -> Outcome:
        shortened, left_out = _shortened(result, self._bytes_max)
        text, size = _text(shortened, self._bytes_max)
        text = self._redactor.redact(text, self._redactor.marked(call.entry))
        state: State = "done"
        kind = None
        if result.get("isError") is True:
            state, kind = "failed", "tool_error"
        elif result.get("resultType") == "input_required":
            kind = "input_required"
        return Outcome(state, kind, result=text, result_bytes=size + left_out, duration_us=duration_us)

    def _failed(self, error: Exception, may_change: bool, duration_us: int) -> Outcome:
        state: State = "failed"
        rule = None
        if isinstance(error, RemoteError):
            kind = "protocol_error"
        elif isinstance(error, Refused):
            state, kind, rule = "refused", "refused", error.rule
        elif isinstance(error, UpstreamError):
            state, kind = "unknown" if error.sent and may_change else "failed", "transport"
        else:
            kind = "internal"
        reason = error.reason if isinstance(error, HubError) else None
        text, _ = _text(_said(error), self._bytes_max)
        said = self._redactor.redact(text)
        return Outcome(state, kind, reason, rule, error=said, duration_us=duration_us)

    def _since(self, began: float) -> int:
        return round((self._env.monotonic() - began) * 1e6)


def _sayable(params: Json) -> Json:
    """Params as JSON: an answer to a question may be an error."""
    answers = params.get("inputResponses")
    if type(answers) is not dict:
        return params
    said = {
        key: {"error": _said(answer)} if isinstance(answer, RemoteError) else answer
        for key, answer in answers.items()
    }
    return {**params, "inputResponses": said}


def _said(error: Exception) -> Json:
    if isinstance(error, RemoteError):
        said: Json = {"code": error.code, "message": error.message}
        return said if error.data is None else {**said, "data": error.data}
    # What another library's exception says may hold a secret; the log has it.
    return {"message": str(error) if isinstance(error, HubError) else type(error).__name__}


def _text(value: Any, bytes_max: int) -> tuple[str, int]:
    """`value` as JSON, or what is kept of it, and the size of the whole."""
    data = encode(value)
    if len(data) <= bytes_max:
        return data.decode(), len(data)
    start = data[:bytes_max].decode("utf-8", "ignore")
    return encode({"truncated": True, "start": start}).decode(), len(data)


def _shortened_arguments(params: Json, bytes_max: int) -> tuple[Json, int]:
    """Params without the far ends of their long arguments, and how many characters those have."""
    arguments = params.get("arguments")
    if type(arguments) is not dict:
        return params, 0
    long = {key: text for key, text in arguments.items() if type(text) is str and len(text) > bytes_max}
    if not long:
        return params, 0
    cut = {key: text[:bytes_max] for key, text in long.items()}
    left_out = sum(len(text) - bytes_max for text in long.values())
    return {**params, "arguments": {**arguments, **cut}}, left_out


def _shortened(result: Result, bytes_max: int) -> tuple[Result, int]:
    """A result without the far ends of its long texts, and how many characters those have.

    So that a result of many megabytes is not written out in full a second time only to be cut.
    """
    for key in ("content", "contents"):
        blocks = result.get(key)
        if type(blocks) is not list:
            continue
        left_out = 0
        short = []
        for block in blocks:
            for field in ("text", "data", "blob"):
                text = block.get(field) if type(block) is dict else None
                if type(text) is str and len(text) > bytes_max:
                    left_out += len(text) - bytes_max
                    block = {**block, field: text[:bytes_max]}
            short.append(block)
        if left_out:
            return {**result, key: short}, left_out
    return result, 0
