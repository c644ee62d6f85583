"""JSON text that is the same for the same value, however its keys were ordered: for digests.

RFC 8785, but that numbers keep the digits that they came with: what is approved is what is sent, and there
1.0 and 1, or two integers beyond 2^53, are not the same. Where that does not matter, `jsonrpc.encode_sorted`
costs a thirtieth of it.
"""

from __future__ import annotations

from typing import Any

from connectors.jsonrpc import encode

__all__ = ["canonical"]


def canonical(value: Any) -> bytes:
    return encode(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        # By UTF-16 code units, as RFC 8785 has it.
        keys = sorted(value, key=lambda key: str(key).encode("utf-16-be", "surrogatepass"))
        return {key: _sorted(value[key]) for key in keys}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value
