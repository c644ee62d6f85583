"""A server's question, put to an agent of the older era in the middle of its call.

Inside the hub a question is a result (`input_required`). Such an agent knows no results of that kind:
it is asked over the back-channel of the very request that the question belongs to, and the call is made
again with its answers, until the result is complete. Each repetition is a call of its own, recorded
and authorized anew. Knows no transport.

Source: specification 2025-11-25, client/elicitation, client/sampling, client/roots; specification
2026-07-28, basic/patterns/mrtr.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import anyio

from connectors.base import RemoteError
from connectors.jsonrpc import INVALID_REQUEST, encode, notification
from hub.env import Env
from hub.errors import HubError
from hub.model import Json, Result
from hub.server.era import Caller, Say
from hub.upstreams.parking import QUESTION_KINDS, QUESTION_SECONDS, Abandoned, Unanswered

__all__ = ["Again", "CannotAsk", "Questions", "concluded"]

ROUNDS_MAX: Final = 32
"""How often one call may ask before it is given up."""
QUESTIONS_MAX: Final = 256
"""How many questions one session may have open at once."""

_PAUSE_SECONDS: Final = 0.05
_PAUSE_SECONDS_MAX: Final = 0.25
"""Between two calls whose server asks nothing and only wants to be called again."""
_LAST_SECONDS: Final = 5.0
"""How long letting go of a call may take."""

Again = Callable[[Json], Awaitable[Result]]
"""Makes the call once more, with these further params."""


class CannotAsk(Exception):
    """A question that this client cannot be asked, or did not answer. `str()` is for the agent."""


class _Question:
    def __init__(self) -> None:
        self.settled = anyio.Event()
        self.response: Json | None = None


class Questions:
    """The questions that are out, of all sessions.

    An answer counts only in the session that was asked, and with the exact id of its question.
    """

    def __init__(self, env: Env, seconds: float = QUESTION_SECONDS) -> None:
        """
        Args:
            seconds: How long a client may take to answer one.
        """
        self.stray = 0
        """Answers that belonged to no question."""
        self.env = env
        self._seconds = seconds
        self._out: dict[str, dict[str, _Question]] = {}
        self._is_closing = False

    def __len__(self) -> int:
        return sum(len(questions) for questions in self._out.values())

    def answer(self, session: str, response: Json) -> None:
        """Take a client's answer; what answers nothing is counted and ignored."""
        id = response["id"]
        question = self._out.get(session, {}).get(id) if type(id) is str else None
        if question is None or question.settled.is_set():
            self.stray += 1
            return
        question.response = response
        question.settled.set()

    def end(self, session: str) -> None:
        """The session is over: nobody will answer."""
        for question in self._out.get(session, {}).values():
            question.settled.set()

    def close(self) -> None:
        """The hub ends: calls that wait for answers end now."""
        self._is_closing = True
        for session in [*self._out]:
            self.end(session)

    async def ask(self, session: str, method: str, params: Json, send: Say) -> Json | Unanswered:
        """Put a question to a session's client, and return its answer, or its error.

        Raises:
            CannotAsk: there was no answer in time, or the session or the hub ended.
        """
        if self._is_closing:
            raise CannotAsk("The hub is stopping, so the server's question was not asked; call again later.")
        id, question = self.env.new_id(), _Question()
        out = self._out.setdefault(session, {})
        if len(out) >= QUESTIONS_MAX:
            raise CannotAsk(f"The client has {QUESTIONS_MAX} questions to answer already; try again later.")
        out[id] = question
        try:
            await send(encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            with anyio.move_on_after(self._seconds):
                await question.settled.wait()
            if question.response is not None:
                return _answer(method, question.response)
            if question.settled.is_set():
                what = "hub stopped" if self._is_closing else "session ended"
                raise CannotAsk(f"The {what} before the server's question was answered.")
            raise CannotAsk(f"The server's question ({method}) was not answered within {self._seconds:g} s.")
        finally:
            del out[id]
            if not out:
                self._out.pop(session, None)
            if not question.settled.is_set():
                withdrawn = {"requestId": id, "reason": "The call that asked is over"}
                with anyio.move_on_after(_LAST_SECONDS, shield=True):
                    await send(notification("notifications/cancelled", withdrawn))


def _answer(method: str, response: Json) -> Json | Unanswered:
    result, error = response.get("result"), response.get("error")
    if type(result) is dict:
        return result
    if type(error) is dict and type(error.get("code")) is int:
        return Unanswered(method, error["code"], str(error.get("message", "")), error.get("data"))
    return Unanswered(method, INVALID_REQUEST, "The client's answer is neither a result nor an error")


async def concluded(questions: Questions, caller: Caller, result: Result, again: Again) -> Result:
    """The complete result of a call, whatever its server asks on the way there.

    Args:
        caller: Of the older era, with its session.
        result: What the call brought at first.

    Raises:
        CannotAsk: a question could not be asked, or was not answered; the call is given up.
        Exception: what `again` raises.
    """
    pause = _PAUSE_SECONDS
    visits = _Visits(questions)
    for _ in range(ROUNDS_MAX):
        if result.get("resultType") != "input_required":
            await visits.leave(caller, {})
            return result
        more: Json = {"requestState": result["requestState"]} if "requestState" in result else {}
        try:
            asked = _asked(result)
            await visits.leave(caller, asked)
            if asked:
                more["inputResponses"] = await _answers(questions, caller, visits.shown(caller, asked))
                pause = _PAUSE_SECONDS
            else:
                await anyio.sleep(pause)
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
        except CannotAsk as error:
            await _let_go(result, again, str(error))
            raise
        except anyio.get_cancelled_exc_class():
            await _let_go(result, again, "The agent cancelled the call")
            raise
        result = await again(more)
    if result.get("resultType") != "input_required":
        return result
    why = f"The server asked for more input {ROUNDS_MAX} times; the call was given up."
    await _let_go(result, again, why)
    raise CannotAsk(why)


def _asked(result: Result) -> dict[str, Json]:
    """The questions in a result, by their keys."""
    asked = result.get("inputRequests")
    if asked is None and "requestState" in result:
        return {}
    if type(asked) is not dict or not all(
        type(each) is dict and type(each.get("params", {})) is dict and each.get("method") in QUESTION_KINDS
        for each in asked.values()
    ):
        raise CannotAsk("The server asks for input in a form that is not known.")
    return asked


async def _answers(questions: Questions, caller: Caller, asked: Mapping[str, Json]) -> Json:
    """All the answers, asked for at once."""
    for each in asked.values():
        refusal = _refusal(caller, each["method"], each.get("params", {}))
        if refusal is not None:
            raise CannotAsk(refusal)
    back, session = caller.back, caller.session
    if back is None or session is None:
        raise CannotAsk(
            "The server asked a question, and the client cannot be asked in this request: "
            "it does not accept text/event-stream."
        )
    answers: Json = {}
    failed: list[CannotAsk] = []
    async with back() as send, anyio.create_task_group() as tasks:

        async def ask(key: str, method: str, params: Json) -> None:
            try:
                answers[key] = await questions.ask(session.id, method, params, send)
            except CannotAsk as error:
                failed.append(error)
                tasks.cancel_scope.cancel()

        for key, each in asked.items():
            tasks.start_soon(ask, key, each["method"], each.get("params", {}))
    if failed:
        raise failed[0]
    return {key: answers[key] for key in asked}


def _refusal(caller: Caller, method: str, params: Json) -> str | None:
    """Why a question cannot be put to this client, in a sentence; `None` where it can."""
    kind = QUESTION_KINDS[method]
    declared = caller.capabilities.get(kind)
    if type(declared) is not dict:
        return f"The server asked a question of a kind ({method}) that this client does not support."
    if kind == "elicitation":
        mode = params.get("mode", "form")
        if mode not in declared and (mode != "form" or declared):
            return f"The server asked a question in a mode ({mode!s:.40}) that this client does not support."
    elif kind == "sampling" and ("tools" in params or "toolChoice" in params) and "tools" not in declared:
        return "The server wants the client's model to use tools, which this client does not support."
    return None


async def _let_go(result: Result, again: Again, why: str) -> None:
    """Tell whoever holds the call that it will not be continued."""
    asked = result.get("inputRequests")
    if "requestState" not in result or type(asked) is not dict:
        return
    given_up: Json = {key: Abandoned(why) for key in asked}
    with anyio.move_on_after(_LAST_SECONDS, shield=True), suppress(HubError, RemoteError):
        await again({"requestState": result["requestState"], "inputResponses": given_up})


class _Visits:
    """The addresses that a call asks its user to visit, each with the id that only the older era has."""

    def __init__(self, questions: Questions) -> None:
        self._env = questions.env
        self._ids: dict[Any, str] = {}

    def shown(self, caller: Caller, asked: Mapping[str, Json]) -> dict[str, Json]:
        """Questions as this client's version has them."""
        return {key: self._shown(caller, each) for key, each in asked.items()}

    def _shown(self, caller: Caller, question: Json) -> Json:
        if question["method"] != "elicitation/create":
            return question
        params = question.get("params", {})
        if params.get("mode") == "url" and "elicitationId" not in params:
            id = self._ids.setdefault(str(params.get("url")), self._env.new_id())
            return {**question, "params": {**params, "elicitationId": id}}
        if params.get("mode") == "form" and caller.session is not None and caller.session.version < "2025-11":
            plain = {key: value for key, value in params.items() if key != "mode"}
            return {**question, "params": plain}
        return question

    async def leave(self, caller: Caller, asked: Mapping[str, Json]) -> None:
        """Tell the client which of its visits the server no longer waits for."""
        still = {str(each.get("params", {}).get("url")) for each in asked.values()}
        over = [url for url in self._ids if url not in still]
        if over and caller.back is not None:
            async with caller.back() as send:
                for url in over:
                    done = {"elicitationId": self._ids.pop(url)}
                    await send(notification("notifications/elicitation/complete", done))
