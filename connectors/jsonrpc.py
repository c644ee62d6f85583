"""JSON-RPC on the wire: one strict parser, one writer.

Shared by every kind of link and by the hub's own server side, so that what was judged is what
is sent. Strict on purpose (threats T1, T2): UTF-8 only, no BOM, no duplicate keys, no NaN or
infinity or numbers beyond a double, no lone surrogates, ids within 2^53, and budgets for size,
depth and number of values. Numbers keep their spelling: integers are exact at any size, and a
float goes out with the digits that it came in with.

Measured per tools/call of 230 bytes: parse 1.4 us (standard library 2.8), write 0.3 us.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import jiter
import orjson

from connectors import long_text
from connectors.base import Json, LinkError, RemoteError
from connectors.large import Hold
from connectors.long_text import LONG_BYTES

__all__ = [
    "HEADER_MISMATCH",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "MISSING_CLIENT_CAPABILITY",
    "PARSE_ERROR",
    "UNSUPPORTED_VERSION",
    "VIEWED_BYTES",
    "Budget",
    "Held",
    "Malformed",
    "Spelt",
    "classify",
    "encode",
    "encode_sorted",
    "held",
    "hold_on",
    "keep_spelling",
    "parse",
    "result_of",
]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
HEADER_MISMATCH: Final = -32020
MISSING_CLIENT_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

ID_MAX: Final = 2**53
VIEWED_BYTES: Final = 64 * 1024
"""From here on a text is not copied where that can be helped."""
ID_LENGTH_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one message may be. Depth is at most 200 always (the parser's own bound)."""

    bytes_max: int
    values_max: int
    """Objects, arrays, strings, numbers and literals together, keys not counted."""


class Malformed(Exception):
    """A message that is not taken: with the JSON-RPC error that says so."""

    def __init__(self, code: int, message: str, id: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id


# A number beyond a double needs an exponent of three digits (1e400), or with one of two (1e99) 210
# digits before the point; both are rare, so a message which might hold one is walked value by value.
# It is looked for in the text's outline, where every digit is a 0 and every e an e: 0.5 us for a call,
# 1.5 ms a MiB. A long text of few values (a file, an image's Base64, which is full of what looks like
# numbers) is walked at once: 2 us.
_OUTLINE: Final = bytes(
    ord("0") if chr(byte).isdecimal() and byte < 128 else ord("e") if byte in b"eE" else ord(" ")
    for byte in range(256)
)
_LONG: Final = b"0" * 210
_OUTLINE_BYTES: Final = 1024**2
"""A longer text is looked at in windows, which overlap."""
_WALK_BYTES: Final = 8192
"""From here on values are looked at first, one for so many bytes."""
_BYTES_A_VALUE: Final = 512


def _may_overflow(data: bytes) -> bool:
    if len(data) > _OUTLINE_BYTES:
        windows = range(0, len(data), _OUTLINE_BYTES - len(_LONG))
        return any(_may_overflow(data[start : start + _OUTLINE_BYTES]) for start in windows)
    # `find`, as `in` first makes and drops an error that bytes are no number: 0.2 us each.
    find = data.translate(_OUTLINE).find
    return (find(b"0e") >= 0 and (find(b"0e000") >= 0 or find(b"0e 000") >= 0)) or find(_LONG) >= 0


def parse(data: bytes, budget: Budget) -> Any:
    """Read one JSON text.

    Floats come as `jiter.LosslessFloat`; `float()` gives their value.

    Raises:
        Malformed: -32700 with what is wrong and where, or -32600 for a text over the budget.
    """
    if len(data) > budget.bytes_max:
        raise Malformed(INVALID_REQUEST, f"Message too large: {len(data)} bytes, at most {budget.bytes_max}")
    if len(data) >= LONG_BYTES and (value := _long_text(data, budget)) is not None:
        return value
    try:
        value = jiter.from_json(
            data, allow_inf_nan=False, catch_duplicate_keys=True, float_mode="lossless-float"
        )
    except ValueError as error:
        raise Malformed(PARSE_ERROR, f"Parse error: {error}") from None
    # A value takes two bytes at least (itself and what separates it), so short texts need no count.
    if len(data) > 2 * budget.values_max and _count(value, budget.values_max) > budget.values_max:
        raise Malformed(INVALID_REQUEST, f"Message too large: more than {budget.values_max} values")
    if len(data) >= _WALK_BYTES:
        if not _refuse_overflow(value, len(data) // _BYTES_A_VALUE) and _may_overflow(data):
            _refuse_overflow(value)
    elif _may_overflow(data):
        _refuse_overflow(value)
    return value


def _long_text(data: bytes, budget: Budget) -> Any:
    def read(piece: bytes) -> Any:
        try:
            return parse(piece, budget)
        except Malformed as error:
            raise ValueError(error.message) from None

    return long_text.read(data, read)


def _count(value: Any, most: int) -> int:
    """How many values there are; stops soon after `most`."""
    count, stack = 0, [value]
    while stack and count <= most:
        item = stack.pop()
        count += 1
        if type(item) is dict:
            stack.extend(item.values())
        elif type(item) is list:
            stack.extend(item)
    return count


def _refuse_overflow(value: Any, most: float = math.inf) -> bool:
    """Whether all values were looked at, of which there are at most so many."""
    stack, seen = [value], 0
    while stack:
        item = stack.pop()
        seen += 1
        if type(item) is dict:
            stack.extend(item.values())
        elif type(item) is list:
            stack.extend(item)
        elif type(item) is jiter.LosslessFloat and abs(float(item)) == float("inf"):
            raise Malformed(PARSE_ERROR, f"Parse error: number out of range: {str(item)[:40]}")
        if seen + len(stack) > most:
            return False
    return True


def encode(value: Any) -> bytes:
    """Write one JSON text, compact, UTF-8, keys in the order that they stand in."""
    try:
        return orjson.dumps(value, _spell)
    except TypeError:
        # orjson refuses integers over 64 bits, which are rare: only then pay for a copy.
        return orjson.dumps(_spell_integers(value), _spell)


def encode_sorted(value: Any) -> bytes:
    """The same text for the same value, however its keys were ordered and its fractions spelled."""
    try:
        return orjson.dumps(value, _as_double, orjson.OPT_SORT_KEYS)
    except TypeError:
        return orjson.dumps(_spell_integers(value), _as_double, orjson.OPT_SORT_KEYS)


def _as_double(value: Any) -> float:
    if type(value) is jiter.LosslessFloat:
        return float(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


def _spell(value: Any) -> orjson.Fragment:
    if type(value) is jiter.LosslessFloat:
        return orjson.Fragment(bytes(value))
    raise TypeError(f"not JSON: {type(value).__name__}")


def _spell_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spell_integers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_spell_integers(item) for item in value]
    if type(value) is int and not -(2**63) <= value < 2**64:
        return orjson.Fragment(str(value))
    return value


def classify(message: Any) -> Literal["request", "notification", "response"]:
    """Which of the three kinds a parsed message is; anything else is refused.

    Raises:
        Malformed: -32600, with the message's id where it has a usable one.
    """
    if type(message) is dict and message.get("jsonrpc") == "2.0":
        # The two usual forms, which need no more words: 0.5 us less.
        method, params = message.get("method"), message.get("params")
        if method is None and len(message) == 3 and "result" in message and _usable(message.get("id")):
            return "response"
        if (
            type(method) is str
            and type(params) is dict
            and len(message) == 4
            and _usable(message.get("id"))
            and type(params.get("_meta", _NO_META)) is dict
        ):
            return "request"
    return _classify(message)


_NO_META: Final[Json] = {}


def _classify(message: Any) -> Literal["request", "notification", "response"]:
    if type(message) is not dict:
        what = "batches are not supported" if type(message) is list else "a message is an object"
        raise Malformed(INVALID_REQUEST, f"Invalid request: {what}")
    id = message.get("id")
    # An error answer may carry a null id: the peer could not read ours.
    unread = id is None and "error" in message and "method" not in message
    if "id" in message and not _usable(id) and not unread:
        raise Malformed(INVALID_REQUEST, "Invalid request: 'id' must be a string or an integer within 2^53")
    if message.get("jsonrpc") != "2.0":
        raise Malformed(INVALID_REQUEST, "Invalid request: 'jsonrpc' must be \"2.0\"", id)
    if "method" in message:
        if type(message["method"]) is not str:
            raise Malformed(INVALID_REQUEST, "Invalid request: 'method' must be a string", id)
        if "result" in message or "error" in message:
            raise Malformed(INVALID_REQUEST, "Invalid request: both a request and a response", id)
        params = message.get("params", {})
        if type(params) is not dict:
            raise Malformed(INVALID_PARAMS, "Invalid params: 'params' must be an object", id)
        if "_meta" in params and type(params["_meta"]) is not dict:
            raise Malformed(INVALID_PARAMS, "Invalid params: '_meta' must be an object", id)
        return "request" if "id" in message else "notification"
    if "id" in message and ("result" in message) != ("error" in message):
        return "response"
    raise Malformed(INVALID_REQUEST, "Invalid request: neither a request nor a response", id)


def _usable(id: Any) -> bool:
    if type(id) is int:
        return -ID_MAX <= id <= ID_MAX
    return type(id) is str and len(id) <= ID_LENGTH_MAX


class Spelt(dict[str, Any]):
    """An object that was read, and the text that it was read from.

    Whoever changes something makes another object, which has no such text: so as long as there is one, it
    is what the object says, and need not be written again (3 us for a small result, 1.5 ms a MiB).
    """

    __slots__ = ("hold", "text")
    hold: Hold
    """Of a large one only."""

    def __init__(self, value: Json, text: bytes | memoryview) -> None:
        super().__init__(value)
        self.text = text
        """Of a long one a view of the whole message: to copy it costs 0.2 ms a MiB."""


class Held(dict[str, Any]):
    """A large object that was read, without its text."""

    __slots__ = ("hold",)

    def __init__(self, value: Json, hold: Hold) -> None:
        super().__init__(value)
        self.hold = hold


def held(result: Json, hold: Hold) -> Json:
    """The same, with the room that it takes: that is given back when nobody has it any longer."""
    if type(result) is not Spelt:
        return Held(result, hold)
    result.hold = hold
    return result


def hold_on(response: Json, hold: Hold) -> Json:
    """The same, with a result that is `held`."""
    if isinstance(response.get("result"), dict):
        response["result"] = held(response["result"], hold)
    return response


def result_of(data: bytes, id: int, budget: Budget) -> Spelt | None:
    """The result of a response that is written in a usual way and not very long; `None` for any other.

    Raises:
        Malformed: as `parse`.
    """
    place = _place_of_result(data, id)
    if place is None:
        return None
    message = parse(data, budget)
    if len(message) != 3 or type(result := message.get("result")) is not dict:
        return None
    return Spelt(result, place)


def keep_spelling(message: Json, data: bytes) -> None:
    """Let the result of a response keep the text that it was read from, if it is written in a usual way."""
    result, id = message.get("result"), message["id"]
    if type(result) is dict and len(message) == 3 and type(id) is int:
        place = _place_of_result(data, id)
        if place is not None:
            message["result"] = Spelt(result, place)


def _place_of_result(data: bytes, id: int) -> bytes | memoryview | None:
    """The text of `result` in a response with three keys, as Python's SDK orders them, or TypeScript's.

    None of the keys comes twice, so what stands behind the first two, or before the last two, is the third.
    """
    size = len(data)
    if size >= LONG_BYTES:
        return None  # A very long text is not kept twice.
    # The object's own bracket is part of each end: white space behind it would be taken for the bracket.
    head, tail = b'{"jsonrpc":"2.0","id":%d,"result":' % id, b"}}"
    if not data.startswith(head):
        head, tail = b'{"result":', b'},"jsonrpc":"2.0","id":%d}' % id
        if not data.startswith(head):
            return None
    if not data.endswith(tail):
        return None
    return (data if size < VIEWED_BYTES else memoryview(data))[len(head) : size - len(tail) + 1]


def request(id: int, method: str, params: Json) -> bytes:
    return encode({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def notification(method: str, params: Json) -> bytes:
    return encode({"jsonrpc": "2.0", "method": method, "params": params})


def outcome(message: Json) -> Json:
    """The `result` of a response.

    Raises:
        RemoteError: it carries an error.
        LinkError: it carries neither in a usable form.
    """
    if "result" in message:
        result = message["result"]
        if not isinstance(result, dict):
            raise LinkError("the server's result is not an object")
        return result
    error = message["error"]
    if type(error) is not dict or type(error.get("code")) is not int:
        raise LinkError("the server's error has no code")
    raise RemoteError(error["code"], str(error.get("message", "")), error.get("data"))
