"""Calls to a server of the older era that wait for the answer to its question.

Such a server asks in the middle of a call, and goes on when it is answered. In the hub a question is
a result: the call's task stays here, parked, while its question travels out as `input_required`; the
agent's repetition of the call, with the answer, resumes it. A parked call has one owner, a bounded
life, and ends when it is abandoned.

Source: specification 2026-07-28, basic/patterns/mrtr.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup

from connectors.base import Link, RemoteError
from connectors.jsonrpc import INTERNAL_ERROR, METHOD_NOT_FOUND
from hub.env import Env
from hub.errors import InvalidParams, UpstreamDown
from hub.model import Call, Json, Notify, Result
from hub.upstreams.berth import Berth

__all__ = [
    "QUESTION_KINDS",
    "QUESTION_SECONDS",
    "Abandoned",
    "Asked",
    "Parking",
    "Unanswered",
    "plain_answers",
]

QUESTION_KINDS: Final[Mapping[str, str]] = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""What a server may ask its client, and the capability that the client declares for it."""

QUESTION_SECONDS: Final = 600.0
"""How long a question may be out before its call is given up."""
_PARKED_MAX: Final = 1000
_PARKED_OF_AGENT_MAX: Final = 300
"""An agent that never answers leaves room for others."""

Asked = Callable[[str, Json], Awaitable[Json]]
"""`(method, params)` of a server's question -> the answer. Raises `RemoteError` to answer with an error."""
Request = Callable[[Asked, Notify | None], Awaitable[Result]]
"""Sends the call: with what answers its questions, and where its notifications go."""


class Unanswered(RemoteError):
    """An agent's error in the place of an answer. Inside the hub only: it stands in `inputResponses`."""

    def __init__(self, question: str, code: int, message: str, data: Any = None) -> None:
        super().__init__(code, message, data)
        self.question = question
        """The method that it answers."""


class Abandoned(RemoteError):
    """In the place of any answer: the agent has given the call up, and whoever holds it may let it go."""

    def __init__(self, why: str) -> None:
        super().__init__(INTERNAL_ERROR, why)


class _Parked:
    def __init__(self, call: Call, ticket: str) -> None:
        self.agent = call.agent.name
        self.ticket = ticket
        self.notify = call.notify
        self.kinds = frozenset(call.capabilities)
        self.asked = 0
        self.questions: dict[str, Json] = {}
        """Those that are out: by key, as `inputRequests` has them."""
        self.answers: dict[str, Any] = {}
        self.answered = anyio.Event()
        self.turn = anyio.Event()
        """Set when there is something to tell the agent: a question, or the outcome."""
        self.outcome: Result | Exception | None = None
        self.scope = anyio.CancelScope()

    def told(self, method: str, params: Json) -> None:
        """A notification of the call goes to whoever waits for it now."""
        if self.notify is not None:
            self.notify(method, params)

    async def ask(self, method: str, params: Json) -> Json:
        """The server's question: put out, and answered by the round that follows."""
        if QUESTION_KINDS.get(method) not in self.kinds:
            raise RemoteError(METHOD_NOT_FOUND, f"Method not found: {method}")
        self.asked += 1
        key = f"q{self.asked}"
        self.questions[key] = {"method": method, "params": params}
        self.turn.set()
        with anyio.move_on_after(QUESTION_SECONDS):
            while key not in self.answers:
                await self.answered.wait()
            answer = self.answers.pop(key)
            if isinstance(answer, RemoteError):
                raise answer
            return dict(answer)
        self.scope.cancel()
        raise RemoteError(METHOD_NOT_FOUND, "Nobody answered")

    def answer(self, responses: Json) -> None:
        """Take the answers to questions that are out; what answers none is ignored."""
        for key in [*self.questions]:
            answer = responses.get(key)
            if isinstance(answer, dict | RemoteError):
                self.answers[key] = answer
                del self.questions[key]
        answered, self.answered = self.answered, anyio.Event()
        answered.set()


class Parking:
    """The parked calls of one server."""

    def __init__(self, env: Env, tasks: TaskGroup) -> None:
        self._env = env
        self._tasks = tasks
        self._parked: dict[str, _Parked] = {}

    async def send(self, call: Call, params: Json, berth: Berth, link: Link) -> Result:
        """The first round of a call whose server may ask in the middle of it, or a further one.

        A call that is parked uses its berth: its link is not idle.

        Raises:
            UpstreamDown, InvalidParams: as `start` and `resume` say.
            Exception: what the request raised.
        """
        ticket = params.get("requestState")
        if ticket is not None:
            return await self.resume(call, str(ticket), params.get("inputResponses") or {})
        rest = {key: value for key, value in params.items() if key != "inputResponses"}

        async def request(asked: Asked, notify: Notify | None) -> Result:
            berth.under_way += 1
            try:
                return await link.request(call.method, rest, on_notify=notify, on_request=asked)
            finally:
                berth.under_way -= 1
                berth.used = self._env.monotonic()

        return await self.start(call, request)

    async def start(self, call: Call, request: Request) -> Result:
        """Send a call whose server may ask; return its result, or the first question as `input_required`.

        Raises:
            UpstreamDown: too many calls wait for answers already.
            Exception: what `request` raises.
        """
        mine = sum(parked.agent == call.agent.name for parked in self._parked.values())
        if len(self._parked) >= _PARKED_MAX or mine >= _PARKED_OF_AGENT_MAX:
            raise UpstreamDown("Too many calls wait for answers to questions; try again later")
        parked = _Parked(call, self._env.random_bytes(16).hex())
        self._parked[parked.ticket] = parked
        self._tasks.start_soon(self._run, parked, request)
        return await self._round(parked)

    async def resume(self, call: Call, ticket: str, responses: Json) -> Result:
        """Answer the questions of a parked call, and wait for what comes next.

        Raises:
            InvalidParams: there is no such call, or it is another agent's: the same sentence.
            Abandoned: the call is given up; its server is told.
            Exception: what the call's request raised.
        """
        parked = self._parked.get(ticket)
        if parked is None or parked.agent != call.agent.name:
            raise InvalidParams("The call that asked is over; call again without requestState")
        if type(responses) is not dict:
            responses = {}
        for response in responses.values():
            if isinstance(response, Abandoned):
                del self._parked[ticket]
                parked.scope.cancel()
                raise response
        parked.notify = call.notify
        parked.turn = anyio.Event()
        parked.answer(responses)
        if parked.questions or parked.outcome is not None:
            parked.turn.set()
        return await self._round(parked)

    async def _run(self, parked: _Parked, request: Request) -> None:
        """The call itself, in a task that outlives its rounds."""
        with parked.scope:
            try:
                parked.outcome = await request(parked.ask, parked.told)
            except Exception as error:
                # Not this task's trouble: the round that waits for it gets it.
                parked.outcome = error
        if parked.outcome is None:
            parked.outcome = InvalidParams("The call that asked is over; call again without requestState")
            self._parked.pop(parked.ticket, None)
        parked.turn.set()

    async def _round(self, parked: _Parked) -> Result:
        try:
            await parked.turn.wait()
        except anyio.get_cancelled_exc_class():
            # Whoever waited has gone: the server is told, and nobody can resume it.
            self._parked.pop(parked.ticket, None)
            parked.scope.cancel()
            raise
        if parked.outcome is not None:
            self._parked.pop(parked.ticket, None)
            if isinstance(parked.outcome, Exception):
                raise parked.outcome
            return parked.outcome
        parked.notify = None
        return {
            "resultType": "input_required",
            "inputRequests": dict(parked.questions),
            "requestState": parked.ticket,
        }


def plain_answers(params: Json) -> Json:
    """Answers as a modern server wants them: an elicitation that failed was cancelled.

    Raises:
        RemoteError: a question was answered with an error, which this era cannot pass on.
    """
    responses = params["inputResponses"]
    if not isinstance(responses, dict):
        return params
    plain: Json = {}
    for key, answer in responses.items():
        if isinstance(answer, RemoteError):
            if not isinstance(answer, Unanswered) or answer.question != "elicitation/create":
                raise answer
            answer = {"action": "cancel"}
        plain[key] = answer
    return {**params, "inputResponses": plain}
