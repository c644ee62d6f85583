"""What an HTTP answer means: a JSON-RPC message, or an error with a sentence. Pure.

Knows the statuses of both eras; knows no connection. Header values never come into a sentence,
nor does the body of a 401 or 403, which may repeat a credential.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from connectors.base import SUBSCRIPTION_ID_KEY, Json, LinkError, LoginNeeded, LoginTooNarrow, RemoteError
from connectors.http_response import Response, status_text
from connectors.jsonrpc import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Budget,
    Malformed,
    classify,
    held,
    keep_spelling,
    outcome,
    parse,
    result_of,
)
from connectors.oauth_challenge import challenge_of

__all__ = [
    "answer_of",
    "check_id",
    "is_session_lost",
    "legacy_refusal_of",
    "may_come_back",
    "message_of",
    "refusal_of",
    "session_of",
    "without_subscription",
]

_RETRY_SECONDS_MAX: Final = 86_400.0
_SESSION_BODY_MAX: Final = 2048
_SESSION_ID_MAX: Final = 1024
_WANTS: Final = (
    "it wants credentials. Add them to its manifest, for example "
    '`headers: {Authorization: "Bearer ${secret:NAME}"}`.'
)
_session_id = re.compile(r"[\x21-\x7e]*")
_no_session = re.compile(
    rb"session[ -]?id|(?:no valid|invalid|unknown|expired) session|session not found", re.I
)


def message_of(data: bytes, budget: Budget) -> tuple[str, Json]:
    """One JSON-RPC message and which of the three kinds it is.

    Raises:
        LinkError: it is none.
    """
    try:
        message = parse(data, budget)
        kind = classify(message)
        if kind == "response":
            keep_spelling(message, data)
        return kind, message
    except Malformed as error:
        limit = " (`limits: {message: ...}` in its manifest)" if len(data) > budget.bytes_max else ""
        raise LinkError(f"what it answered is no JSON-RPC: {error}{limit}") from None


def answer_of(response: Response, id: int, budget: Budget) -> Json:
    """The result in an answer that is no stream.

    Raises:
        RemoteError: it holds an error.
        LinkError: it holds anything else, or the answer to another request.
    """
    if response.headers.get(b"content-type", b"")[:16].lower() != b"application/json":
        if response.status == 202:
            raise LinkError("it accepted the request but gave no answer (HTTP 202 Accepted)")
        raise LinkError(f"it answered with {response.content_type or 'no content type'}, not with JSON"[:200])
    try:
        result = result_of(response.body, id, budget)
    except Malformed:
        result = None  # said below
    if result is not None:
        return result if response.hold is None else held(result, response.hold)
    kind, message = message_of(response.body, budget)
    if kind != "response":
        raise LinkError(f"it answered with a {kind}, not with a response")
    check_id(message, id)
    said = outcome(message)
    return said if response.hold is None else held(said, response.hold)


def check_id(message: Json, id: int) -> None:
    """Whether a response is the one to our request: exactly, in type and value (threat T6).

    Raises:
        LinkError: it is not.
    """
    given = message["id"]
    # A null id says that it could not read ours, which is its answer to this very POST.
    if (type(given) is not int or given != id) and not (given is None and "error" in message):
        raise LinkError("it answered with another id than the request's")


def remote_error_of(response: Response, budget: Budget) -> RemoteError | None:
    """The JSON-RPC error in a refusal. Its id is not looked at: servers put anything there."""
    if not response.body or response.content_type != "application/json":
        return None
    try:
        message = parse(response.body, budget)
    except Malformed:
        return None
    error = message.get("error") if type(message) is dict else None
    if type(error) is not dict or type(error.get("code")) is not int:
        return None
    return RemoteError(error["code"], str(error.get("message", "")), error.get("data"))


def refusal_of(response: Response, budget: Budget, credentials: Collection[str]) -> RemoteError | LinkError:
    """What an answer with any status but 2xx means.

    Args:
        credentials: The names of the headers that the manifest adds.
    """
    status, text = response.status, status_text(response.status)
    if 300 <= status < 400:
        return LinkError(_redirect(text, response.header(b"location")))
    if status in (401, 403):
        return _refused(response, text, credentials)
    if status in (429, 503):
        seconds = _retry_seconds(response)
        if seconds is not None:
            return LinkError(f"{text}: it asks to come back in {seconds:g} s", retry_seconds=seconds)
    error = remote_error_of(response, budget)
    if error is not None:
        return error
    if status in (404, 405):
        text += ": is the path in `url` right? (Servers that only speak HTTP+SSE of 2024 are not supported.)"
    return LinkError(text)


def is_session_lost(response: Response, budget: Budget) -> bool:
    """Whether an answer to a request with a session id says that there is no such session (any more).

    404, says the specification of 2025; widespread servers say 400 and a sentence.
    """
    if response.status == 404:
        error = remote_error_of(response, budget)
        return error is None or error.code != METHOD_NOT_FOUND
    if response.status != 400 or len(response.body) > _SESSION_BODY_MAX:
        return False
    return _no_session.search(response.body) is not None


def legacy_refusal_of(response: Response, budget: Budget) -> RemoteError | None:
    """What a server that knows no `server/discover` answered it with, if that is how this looks.

    400, 404 and 405, says the specification; 406, 415, 422 and 501 are seen as well, and 401
    without a challenge where a session id was expected. If it was about credentials after all,
    `initialize` is refused in the same way, and that counts.
    """
    status = response.status
    if status == 401 and b"www-authenticate" in response.headers:
        return None
    if status in (202, 501) or (400 <= status < 500 and status not in (403, 407, 408, 429)):
        return remote_error_of(response, budget) or RemoteError(INVALID_REQUEST, status_text(status))
    return None


def session_of(response: Response) -> str | None:
    """The session id that an answer to `initialize` gives.

    Raises:
        LinkError: it is none that could be sent back.
    """
    session = response.header(b"mcp-session-id")
    if len(session) > _SESSION_ID_MAX or _session_id.fullmatch(session) is None:
        raise LinkError(f"its session id is no visible ASCII of at most {_SESSION_ID_MAX} characters")
    return session or None


def without_subscription(params: Json) -> Json:
    """As the notification would be without the stream that it came on."""
    meta = params.get("_meta")
    if type(meta) is not dict or SUBSCRIPTION_ID_KEY not in meta:
        return params
    rest = {key: value for key, value in meta.items() if key != SUBSCRIPTION_ID_KEY}
    return {**params, "_meta": rest} if rest else {key: params[key] for key in params if key != "_meta"}


def may_come_back(status: int) -> bool:
    """Whether a stream refused with this status may be had later; otherwise it is not offered."""
    return status >= 500 or status in (408, 409, 425, 429)


def _redirect(text: str, location: str) -> str:
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    where = f" to {parts.scheme}://{host}{f':{port}' if port else ''}" if host else ""
    return f"{text}: it redirects{where}. Redirects are not followed; put the final address into `url`."[:400]


def _refused(response: Response, text: str, credentials: Collection[str]) -> LinkError:
    challenge = challenge_of(response)
    if challenge is not None and not any(name.lower() == "authorization" for name in credentials):
        if response.status == 401 and challenge.metadata is not None:
            return LoginNeeded(f"{text}: it wants a login")
        if response.status == 401 and not credentials:
            # It may want a key that never changes, or a login as before 2025-06-18.
            return LoginNeeded(f"{text}: {_WANTS}")
        if challenge.error == "insufficient_scope":
            return LoginTooNarrow(f"{text}: its login does not reach that far", challenge.scopes[:16])
    if not credentials:
        return LinkError(f"{text}: {_WANTS}")
    names = ", ".join(f"`{name}`" for name in credentials)
    return LinkError(f"{text}: it refused the credentials. Check {names} under `headers:` in its manifest.")


def _retry_seconds(response: Response) -> float | None:
    """Seconds or a date; a date is measured by the server's own `Date`, so that no clocks need to agree."""
    value = response.header(b"retry-after")
    if value.isascii() and value.isdigit() and len(value) < 10:
        seconds = float(value)
    else:
        try:
            then, now = parsedate_to_datetime(value), parsedate_to_datetime(response.header(b"date"))
            seconds = (then - now).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), _RETRY_SECONDS_MAX)
