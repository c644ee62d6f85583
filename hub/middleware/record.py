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
from connectors.jsonrpc import Spelt, encode
from hub.audit.redact import Redactor
from hub.env import Env
from hub.errors import HubError, Refused, StoreError, UpstreamError
from hub.model import Call, Handler, Json, Result
from hub.store.calls import Calls, Intent, Outcome, State

__all__ = ["Record"]

_NAME_LENGTH_MAX: Final = 2048
_PLAIN_LENGTH_MAX: Final = 64
_LATE_SECONDS: Final = 3.0
"""How long a cancelled call waits for its row: a little more than the store's own bound."""


class Record:
    def __init__(
        self,
        calls: Calls,
        env: Env,
        record_bytes_max: int,
        redactor: Redactor | None = None,
        attempts: dict[str, int] | None = None,
        decided: dict[str, str] | None = None,
    ) -> None:
        """
        Args:
            record_bytes_max: How much of a call's params, and of its result, is kept. Of a longer
                one its row says `{"truncated": true, "start": "..."}` with the first that many bytes.
            redactor: Takes secrets out of what is kept; sizes are those before.
            attempts: By call: how often it was tried, where that was not once. Taken out here.
            decided: By call: the rule that let it through, where its arguments had a say in that. Likewise.
        """
        self._calls = calls
        self._env = env
        self._bytes_max = record_bytes_max
        self._redactor = redactor or Redactor()
        self._attempts: dict[str, int] = {} if attempts is None else attempts
        self._decided: dict[str, str] = {} if decided is None else decided

    async def __call__(self, call: Call, inner: Handler) -> Result:
        """Raises what `inner` raises, or `StoreError` if the call or its outcome cannot be written."""
        began, entry = self._env.monotonic(), call.entry
        may_change = entry is not None and not entry.reads_only and call.method != "tasks/get"
        marked = self._redactor.marked(entry)
        intent = self._intent(call, marked)
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
            outcome = self._answered(result, marked, self._since(began), self._rule(call))
        except anyio.get_cancelled_exc_class():
            state: State = "unknown" if may_change else "cancelled"
            late = Outcome(state, "cancelled", None, self._rule(call), duration_us=self._since(began))
            await self._record_late(intent, late)
            raise
        except Exception as error:
            failed = self._failed(error, may_change, self._since(began), self._rule(call))
            await self._record(intent, failed, may_change)
            raise
        if self._attempts:
            outcome = self._counted(intent, outcome)
        # As in `_record`, without a coroutine of its own.
        try:
            waits = self._calls.record(intent, outcome)
            if waits is not None:
                await waits
        except StoreError:
            self._owe(intent, outcome, may_change)
            raise
        return result

    def _rule(self, call: Call) -> str | None:
        """The id of the rule that let it through, as far as that came."""
        if self._decided:
            decided = self._decided.pop(call.id, None)
            if decided is not None:
                return decided
        rules = call.rules
        return rules[0].id if rules else None

    def _counted(self, intent: Intent, outcome: Outcome) -> Outcome:
        attempts = self._attempts.pop(intent.id, 1)
        return outcome if attempts == 1 else outcome._replace(attempts=attempts)

    async def _record(self, intent: Intent, outcome: Outcome, owed: bool) -> None:
        outcome = self._counted(intent, outcome)
        try:
            waits = self._calls.record(intent, outcome)
            if waits is not None:
                await waits
        except StoreError:
            self._owe(intent, outcome, owed)
            raise

    def _owe(self, intent: Intent, outcome: Outcome, owed: bool) -> None:
        # Its effect may stand: the row must not say "intended" for ever.
        if owed:
            self._calls.owe(intent, outcome)

    async def _record_late(self, intent: Intent, outcome: Outcome) -> None:
        """Record of a call that is being cancelled: bounded, and never in the way of the cancellation."""
        with anyio.move_on_after(_LATE_SECONDS, shield=True), contextlib.suppress(StoreError):
            await self._record(intent, outcome, True)

    def _intent(self, call: Call, marked: frozenset[str]) -> Intent:
        params, left_out = call.params, 0
        if "inputResponses" in params:
            params = _sayable(params)
        if _is_long(params.get("arguments"), self._bytes_max):
            params, left_out = _shortened_arguments(params, self._bytes_max)
        text, size = _text(params, self._bytes_max)
        entry, redactor, name = call.entry, self._redactor, call.name
        if entry is None or entry.kind != "tool" or len(name) > _PLAIN_LENGTH_MAX:
            # Tools are called by their names and nothing else; a URI says more.
            name = redactor.redact(name[:_NAME_LENGTH_MAX])
        return Intent(
            call.id,
            call.session,
            call.agent.name,
            call.agent.token,
            None if entry is None else entry.server,
            call.method,
            name,
            None if entry is None else entry.own,
            redactor.redact(text, marked),
            size + left_out,
            int(self._env.now() * 1000),
        )

    def _answered(
        self, result: Result, marked: frozenset[str], duration_us: int, rule: str | None
    ) -> Outcome:
        if type(result) is Spelt and len(result.text) <= self._bytes_max:
            text, size = str(result.text, "utf-8"), len(result.text)
        else:
            shortened, left_out = _shortened(result, self._bytes_max)
            text, size = _text(shortened, self._bytes_max)
            size += left_out
        text = self._redactor.redact(text, marked)
        if "isError" in result and result["isError"] is True:
            return Outcome("failed", "tool_error", None, rule, text, None, size, duration_us)
        kind = "input_required" if result.get("resultType") == "input_required" else None
        return Outcome("done", kind, None, rule, text, None, size, duration_us)

    def _failed(self, error: Exception, may_change: bool, duration_us: int, rule: str | None) -> Outcome:
        state: State = "failed"
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


def _is_long(arguments: Any, bytes_max: int) -> bool:
    """Whether any of them is a text that may be longer than that."""
    if type(arguments) is dict:
        for value in arguments.values():
            if type(value) is str and len(value) > bytes_max:
                return True
    return False


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
    arguments = params["arguments"]
    long = {key: text for key, text in arguments.items() if type(text) is str and len(text) > bytes_max}
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
