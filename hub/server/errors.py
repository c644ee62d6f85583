"""Every error as the JSON-RPC error that an agent reads: the one place that knows the codes.

What an agent reads of an entry that it may not know of is made of the name that it gave, and of
nothing else: unknown and not granted are the same bytes.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from connectors.base import Json, RemoteError
from connectors.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, Malformed
from hub.approvals.approvals import as_result
from hub.errors import (
    Denied,
    HubError,
    InvalidParams,
    NotFound,
    OverLimit,
    StoreBusy,
    Unapproved,
    Unauthorized,
    UpstreamError,
)
from hub.model import Result
from hub.tasks import TASK_METHODS

__all__ = ["RESOURCE_NOT_FOUND", "Fault", "fault_of", "refusal"]

log = logging.getLogger(__name__)

RESOURCE_NOT_FOUND: Final = -32002
"""Of the legacy era only; the modern one answers -32602 and forbids this code."""

_URL_ELICITATION_REQUIRED: Final = -32042
_OF_RESOURCES: Final = frozenset({"resources/read", "resources/subscribe", "resources/unsubscribe"})
_KIND_WORDS: Final = {"tools/call": "tool", "prompts/get": "prompt"}


class Fault(Exception):
    """A JSON-RPC error that is ready to be sent."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> Json:
        error: Json = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return error


def fault_of(error: Exception, *, modern: bool, method: str = "", params: Json | None = None) -> Fault:
    """What to tell an agent of `error`, in its era. Logs what nobody foresaw, and tells nothing of it.

    Args:
        method: What was asked, with its `params`: an unknown entry is answered in their words.
    """
    if isinstance(error, Fault):
        return error
    if isinstance(error, Malformed):
        return Fault(error.code, error.message)
    if isinstance(error, RemoteError):
        return _of_remote(error, modern)
    if isinstance(error, NotFound):
        return _unknown(error, method, params or {}, modern)
    if isinstance(error, InvalidParams):
        return Fault(INVALID_PARAMS, str(error))
    if isinstance(error, Denied):
        return Fault(INVALID_PARAMS, str(error), {"reason": error.reason})
    if isinstance(error, Unauthorized):
        return Fault(INVALID_REQUEST, "Unauthorized")
    if isinstance(error, HubError):
        data: Json = {"reason": error.reason}
        if isinstance(error, OverLimit):
            return Fault(INTERNAL_ERROR, str(error), {**data, **_when(error)})
        if isinstance(error, Unapproved):
            return Fault(INTERNAL_ERROR, str(error), {**data, **(error.about or {})})
        if isinstance(error, UpstreamError | StoreBusy) and error.retry_seconds is not None:
            data["retry_after_seconds"] = error.retry_seconds
        return Fault(INTERNAL_ERROR, str(error), data)
    log.exception("a request failed in a way that nobody foresaw", exc_info=error)
    return Fault(INTERNAL_ERROR, "Internal error")


def refusal(error: OverLimit | Denied | Unapproved) -> Result:
    """The same as a tool's own failure: of an error, many clients tell their model only that it was one."""
    text = [{"type": "text", "text": str(error)}]
    if isinstance(error, Unapproved):
        return as_result(error)
    if isinstance(error, Denied):
        return {"content": text, "isError": True}
    about = {"hub/limits": {"reason": error.reason, **_when(error)}}
    return {"content": text, "isError": True, "_meta": about}


def _when(error: OverLimit) -> Json:
    return {**error.told, "retry_after_seconds": round(error.retry_seconds, 3)}


def _of_remote(error: RemoteError, modern: bool) -> Fault:
    """Unchanged, but for two codes that must not reach a modern agent.

    Source: specification 2026-07-28, basic, "Error Codes".
    """
    code = error.code
    if modern and code == RESOURCE_NOT_FOUND:
        code = INVALID_PARAMS
    elif modern and code == _URL_ELICITATION_REQUIRED:
        code = INTERNAL_ERROR
    return Fault(code, error.message, error.data)


def _unknown(error: NotFound, method: str, params: Json, modern: bool) -> Fault:
    if method in _OF_RESOURCES:
        code = INVALID_PARAMS if modern else RESOURCE_NOT_FOUND
        return Fault(code, "Resource not found", {"uri": params.get("uri")})
    if method in TASK_METHODS:
        return Fault(INVALID_PARAMS, f"Unknown task: {params.get('taskId')}")
    if method in _KIND_WORDS:
        return Fault(INVALID_PARAMS, f"Unknown {_KIND_WORDS[method]}: {params.get('name')}")
    return Fault(INVALID_PARAMS, str(error))
