"""What may stand in an HTTP header, and how MCP puts other values there.

Whatever comes out of here cannot start another header: that is the point of it (threat:
header injection). The reading half is for the hub's own server side.

Source: specification 2026-07-28, basic/transports/streamable-http, "Value Encoding"; RFC 9110, 5.5.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

__all__ = ["NAMED", "decode_value", "encode_value", "is_name", "is_value"]

NAMED: Final[Mapping[str, str]] = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Methods whose `Mcp-Name` header says again what a param says."""

_PREFIX: Final = "=?base64?"
_SUFFIX: Final = "?="

_name = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_encoded = re.compile(re.escape(_PREFIX) + r"(.*)" + re.escape(_SUFFIX), re.DOTALL)
_value = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")


def is_name(text: str) -> bool:
    return _name.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Whether `text` can be sent as it is: visible ASCII, spaces and tabs inside only, not empty."""
    return _value.fullmatch(text) is not None


def encode_value(text: str) -> str:
    """`text` as a header carries it: as it is where that is safe, else in the Base64 form.

    Raises:
        UnicodeEncodeError: a lone surrogate, which UTF-8 cannot express.
    """
    if (_value.fullmatch(text) is not None or not text) and _encoded.fullmatch(text) is None:
        return text
    return f"{_PREFIX}{base64.b64encode(text.encode()).decode()}{_SUFFIX}"


def decode_value(text: str) -> str:
    """What a header's value stands for.

    Raises:
        ValueError: it has the Base64 form, and is no Base64 of UTF-8 as this module would write it.
    """
    encoded = _encoded.fullmatch(text)
    if encoded is None:
        return text
    try:
        value = base64.b64decode(encoded[1], validate=True)
        # Spare bits in the last character would give one value many spellings.
        if base64.b64encode(value).decode() == encoded[1]:
            return value.decode()
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"a header value is no Base64 of UTF-8: {error}") from None
    raise ValueError("a header value is no Base64 as it is written: bits are left over")
