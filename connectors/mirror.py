"""Arguments that a tool wants said again in HTTP headers: which, and what the headers say.

A tool's `inputSchema` marks them with `x-mcp-header`. Pure; used towards servers, to say them, and
towards agents, to check what they said.

Source: specification 2026-07-28, basic/transports/streamable-http, "Custom Headers from Tool Parameters".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from connectors.base import Json
from connectors.http_headers import is_name

__all__ = ["BadMark", "Mirrored", "at", "is_whole", "mirrored", "said"]

_TYPES: Final = ("string", "integer", "boolean")

_MAPS: Final = frozenset({"patternProperties", "dependentSchemas", "$defs", "definitions"})
"""Keywords whose values are schemas by name: the names are no keywords."""

_DATA: Final = frozenset({"default", "examples", "const", "enum", "x-mcp-header"})
"""Keywords that hold values: what looks like a mark in there is none."""

_WHOLE_MAX: Final = 2**53 - 1


class BadMark(ValueError):
    """A mark breaks the rules, so that conforming clients drop the whole tool. `str()` says which."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """One argument that a tool wants said again in a header."""

    path: tuple[str, ...]
    header: str
    """In lower case, with its `mcp-param-`."""
    type: str


def mirrored(schema: Any) -> tuple[Mirrored, ...]:
    """What an `inputSchema` marks.

    Raises:
        BadMark: one of its marks breaks the rules.
    """
    found: dict[str, Mirrored] = {}
    stack: list[tuple[tuple[str, ...] | None, Any]] = [((), schema)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, list):
            stack.extend((None, item) for item in node)
        if not isinstance(node, dict):
            continue
        if "x-mcp-header" in node:
            one = _mark(path, node)
            if one.header in found:
                raise BadMark(f"two x-mcp-header marks say {node['x-mcp-header']!r:.60}")
            found[one.header] = one
        for keyword, value in node.items():
            if keyword == "properties" and isinstance(value, dict):
                stack.extend((None if path is None else (*path, name), item) for name, item in value.items())
            elif keyword in _MAPS and isinstance(value, dict):
                stack.extend((None, item) for item in value.values())
            elif keyword not in _DATA:
                stack.append((None, value))
    return tuple(found.values())


def _mark(path: tuple[str, ...] | None, node: Json) -> Mirrored:
    header, type_ = node["x-mcp-header"], node.get("type")
    if not path:
        raise BadMark(f"its x-mcp-header {header!r:.60} is not on a property that is always there")
    where = ".".join(path)
    if not isinstance(header, str) or not is_name(header):
        raise BadMark(f"the x-mcp-header of {where:.60} is no header's name: {header!r:.60}")
    if type_ not in _TYPES:
        raise BadMark(f"the x-mcp-header of {where:.60} is on a {type_!r:.30}, not a {', '.join(_TYPES)}")
    return Mirrored(path, "mcp-param-" + header.lower(), type_)


def said(wanted: Iterable[Mirrored], arguments: Any) -> dict[str, str]:
    """The headers for these arguments, by name. What is not there, or no header can say, is left out."""
    headers: dict[str, str] = {}
    for one in wanted:
        value = at(arguments, one.path)
        if type(value) is bool:
            headers[one.header] = "true" if value else "false"
        elif type(value) is str:
            headers[one.header] = value
        elif is_whole(value) and abs(int(float(value))) <= _WHOLE_MAX:
            headers[one.header] = str(int(float(value)))
    return headers


def at(arguments: Any, path: tuple[str, ...]) -> Any:
    """The value at a path; `None` where there is none."""
    for key in path:
        arguments = arguments.get(key) if isinstance(arguments, dict) else None
    return arguments


def is_whole(value: Any) -> bool:
    """Whether a number is an integer, also where it was written with a point or exponent."""
    try:
        return not isinstance(value, str | bool | dict | list) and float(value).is_integer()
    except (TypeError, ValueError, OverflowError):
        return False
