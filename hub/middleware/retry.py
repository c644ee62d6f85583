"""Makes a call again where that cannot do anything twice, and ends one of which nothing is heard.

Made again is what certainly never left the hub; of what may have been done, only what may be done twice: it
reads only or is idempotent, by the manifest's word or by the server's where the manifest trusts it. Between
tries there is a wait, doubled each time and half of it by chance, and never shorter than the server asks for.
Where the time of the call would be over by then, what is known now is the answer. A call whose result is not
what its manifest wants (`output`) may be made again by the same rules.

Inside of approve and spend: whoever approved it, and what is counted, means the call, not its tries.

Measured: 0.2 us for a call of whose way its manifest says nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

import anyio

from hub.backoff import retry_wait_seconds
from hub.contract import Contracts, is_unfit
from hub.env import Env
from hub.errors import UpstreamDown, UpstreamError, UpstreamFailed
from hub.model import Call, Handler, Json, Result
from hub.route import Retry, Route

__all__ = ["Retries"]

_USES: Final = frozenset({"tools/call", "resources/read", "prompts/get", "completion/complete"})


class Retries:
    def __init__(
        self,
        env: Env,
        attempts: dict[str, int],
        left_seconds: Callable[[], float],
        silence: Callable[[str, float], AbstractContextManager[Callable[[], None]]],
    ) -> None:
        """
        Args:
            attempts: By call: how often it was tried, where that is not once.
            left_seconds: Until the call of this task is ended.
            silence: Ends what is done within when nothing is heard for so long; gives what is told of a word.
        """
        self._env = env
        self._attempts = attempts
        self._left_seconds = left_seconds
        self._silence = silence
        self._contracts = Contracts()

    def __call__(self, call: Call, inner: Handler) -> Awaitable[Result]:
        # No coroutine of its own where there is nothing to do, which is the usual case.
        entry = call.entry
        if entry is None or entry.route is None or call.method not in _USES:
            return inner(call)
        if call.answer is not None:
            return _given(call.answer)
        route = entry.route
        if route.retry is None and route.contract is None and route.silence_seconds is None:
            return inner(call)
        return self._tried(call, route, inner)

    async def _tried(self, call: Call, route: Route, inner: Handler) -> Result:
        """Raises what `inner` raises."""
        attempt, was_sent = 1, False
        while True:
            try:
                result = await self._once(call, route, inner)
                was_sent = True
                if not self._is_to_be_better(call, route, result):
                    return result
                wait = self._wait_seconds(call, route.retry or _TWICE, attempt, None)
                if wait is None:
                    return result
            except UpstreamError as error:
                retry = route.retry or (_TWICE if attempt > 1 else None)
                wait = None if retry is None else self._wait_seconds(call, retry, attempt, error)
                if wait is None:
                    if was_sent and not error.sent:
                        # It may have been done by an earlier try.
                        raise UpstreamFailed(
                            f"{error}; what an earlier try did is not known",
                            sent=True,
                            retry_seconds=error.retry_seconds,
                        ) from None
                    raise
                was_sent = was_sent or error.sent
            await anyio.sleep(wait)
            attempt += 1
            self._attempts[call.id] = attempt

    async def _once(self, call: Call, route: Route, inner: Handler) -> Result:
        entry = call.entry
        assert entry is not None
        if route.silence_seconds is None:
            result = await inner(call)
        else:
            with self._silence(entry.server, route.silence_seconds) as heard:
                result = await inner(_with_an_ear(call, heard))
        if route.contract is None or call.method != "tools/call":
            return result
        return self._contracts.judged(entry, route.contract, result)

    def _is_to_be_better(self, call: Call, route: Route, result: Result) -> bool:
        return (
            route.contract is not None
            and route.contract.on_invalid == "retry"
            and is_unfit(result)
            and _may_be_done_twice(call)
        )

    def _wait_seconds(
        self, call: Call, retry: Retry, attempt: int, error: UpstreamError | None
    ) -> float | None:
        """How long to wait before the next try; `None`: there is none."""
        if attempt >= retry.attempts:
            return None
        asked = None
        if error is not None:
            if error.sent and not _may_be_done_twice(call):
                return None
            asked = error.retry_seconds
            if isinstance(error, UpstreamDown) and (asked is None or asked > retry.most_seconds):
                # Only a person can help, it had its time to start already, or it is left alone for long.
                return None
        seed = self._env.random_bytes(8)
        wait = retry_wait_seconds(attempt - 1, seed, base=retry.wait_seconds, cap=retry.most_seconds)
        wait = max(wait, asked or 0.0)
        return wait if wait < self._left_seconds() else None


_TWICE: Final = Retry(2, 0.2, 5.0)
"""Where only the contract wants a call made again."""


async def _given(answer: Result) -> Result:
    return answer


def _may_be_done_twice(call: Call) -> bool:
    """Whether it may, also where it may have been done once. An answer to a question is given once."""
    entry = call.entry
    return (
        entry is not None
        and entry.repeatable
        and "requestState" not in call.params
        and "inputResponses" not in call.params
    )


def _with_an_ear(call: Call, heard: Callable[[], None]) -> Call:
    """The call such that its server tells how it goes on, whether its agent wants to know or not."""
    notify, params = call.notify, call.params
    meta = params.get("_meta")
    asked = type(meta) is dict and "progressToken" in meta

    def told(method: str, said: Json) -> None:
        heard()
        # Who did not ask for progress gets none.
        if notify is not None and (asked or method != "notifications/progress"):
            notify(method, said)

    if not asked:
        params = {**params, "_meta": {**(meta if type(meta) is dict else {}), "progressToken": call.id}}
    return replace(call, params=params, notify=told)
