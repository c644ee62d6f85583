"""How a tool or a prompt asks the person or the model behind the client, whatever the era.

A tool awaits `ask({key: request})` and gets the answers. What that does is the era's matter:
a legacy client is sent the requests; a modern client gets an `input_required` result and calls
again, and the tool runs anew from its first line with the answers that are already there (those
of earlier rounds travel in `requestState`, which the SDK's boundary seals).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import anyio
from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CallToolRequestParams,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    GetPromptRequestParams,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel, ValidationError

from tests.servers.everything.eras import CAPABILITY_OF, is_modern, may_ask, missing_capability

Answer = ElicitResult | CreateMessageResult | ListRootsResult
Answers = dict[str, Answer]


class ToolFailed(Exception):
    """The tool could not do its work: a result with `isError`, its text is the message."""


class InputNeeded(Exception):
    """A modern client has to answer before the call can go on."""

    def __init__(self, requests: Mapping[str, InputRequest], state: str | None) -> None:
        super().__init__(f"waiting for {', '.join(requests)}")
        self.result = InputRequiredResult(input_requests=dict(requests), request_state=state)


class Asker(Protocol):
    """Puts several questions at once and waits for all the answers."""

    async def __call__(self, requests: Mapping[str, InputRequest], *, sealed: bool = False) -> Answers:
        """`sealed`: an answer counts only together with the state that was handed out with its question."""
        ...


def form(message: str, schema: dict[str, Any]) -> ElicitRequest:
    """Ask the person to fill in a form."""
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(text: str, *, max_tokens: int = 100) -> CreateMessageRequest:
    """Ask the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def roots() -> ListRootsRequest:
    """Ask for the folders that the client works in."""
    return ListRootsRequest()


def field(answer: Answer, name: str, otherwise: str = "nobody") -> str:
    """One field of a filled-in form, as text."""
    content = answer.content if isinstance(answer, ElicitResult) else None
    return str((content or {}).get(name, otherwise))


def said(answer: Answer) -> str:
    """What the model said, where it said it in text."""
    if isinstance(answer, CreateMessageResult) and answer.content.type == "text":
        return answer.content.text
    return "(no text)"


def read_answer(request: InputRequest, answer: Any) -> Answer | None:
    """A raw or typed answer as the type that the request asks for; None if it is not one."""
    try:
        return _answer_type(request).model_validate(dump(answer), by_name=False)
    except ValidationError:
        return None


def dump(value: Any) -> Any:
    """A model as it goes over the wire; anything else as it is."""
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, mode="json", exclude_none=True)
    return value


def _answer_type(request: InputRequest) -> type[Answer]:
    if isinstance(request, ElicitRequest):
        return ElicitResult
    return ListRootsResult if isinstance(request, ListRootsRequest) else CreateMessageResult


def asker_of(
    context: ServerRequestContext[Any, Any], params: CallToolRequestParams | GetPromptRequestParams
) -> Asker:
    """The way to ask whoever sent this request."""
    return _ModernAsker(context, params) if is_modern(context) else _LegacyAsker(context)


class _LegacyAsker:
    def __init__(self, context: ServerRequestContext[Any, Any]) -> None:
        self._context = context

    async def __call__(self, requests: Mapping[str, InputRequest], *, sealed: bool = False) -> Answers:
        answers: Answers = {}

        async def put(key: str, request: InputRequest) -> None:
            metadata = ServerMessageMetadata(related_request_id=self._context.request_id)
            answers[key] = await self._context.session.send_request(
                request, _answer_type(request), metadata=metadata
            )

        for request in requests.values():
            if not may_ask(self._context, request.method):
                raise ToolFailed(f"the client does not support {CAPABILITY_OF[request.method]}")
        try:
            async with anyio.create_task_group() as asking:
                for key, request in requests.items():
                    asking.start_soon(put, key, request)
        except* MCPError as failures:
            raise ToolFailed(f"the client could not answer: {failures.exceptions[0]}") from None
        return answers


class _ModernAsker:
    def __init__(
        self, context: ServerRequestContext[Any, Any], params: CallToolRequestParams | GetPromptRequestParams
    ) -> None:
        self._context = context
        self._has_state = params.request_state is not None
        earlier: dict[str, Any] = json.loads(params.request_state) if params.request_state else {}
        # The boundary proved that the state is our own; this round's answers are only the client's word.
        self._received: dict[str, Any] = {**(params.input_responses or {}), **earlier}
        self._accepted: Answers = {}

    async def __call__(self, requests: Mapping[str, InputRequest], *, sealed: bool = False) -> Answers:
        for request in requests.values():
            if not may_ask(self._context, request.method):
                raise missing_capability({CAPABILITY_OF[request.method]: {}})
        missing: dict[str, InputRequest] = {}
        for key, request in requests.items():
            answer = read_answer(request, self._received[key]) if key in self._received else None
            if answer is None or (sealed and not self._has_state):
                missing[key] = request
            else:
                self._accepted[key] = answer
        if missing:
            raise InputNeeded(missing, self._state() if sealed or self._accepted else None)
        return {key: self._accepted[key] for key in requests}

    def _state(self) -> str:
        dumped = {key: dump(answer) for key, answer in self._accepted.items()}
        return json.dumps(dumped)
