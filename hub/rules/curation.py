"""What a server's manifest fixes and defaults in the arguments of its tools, and how that is shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.model import Curation, Json

__all__ = ["curated", "has_argument", "is_whole", "required_of", "schema_of"]

_WHOLE: Final = (
    "$ref", "allOf", "anyOf", "oneOf", "not", "if", "dependentRequired", "dependentSchemas", "dependencies",
    "propertyNames", "minProperties", "unevaluatedProperties",
)  # fmt: skip
"""What a schema may say of its arguments as a whole: where it does, none is taken away from it."""


def curated(definition: Json, shown: Json, fixed: Json, defaults: Json) -> Curation | None:
    """What is done to a tool's arguments; changes `shown`, which becomes its definition for agents.

    Args:
        definition: The server's own.
    """
    if not fixed and not defaults:
        return None
    defaults = {name: value for name, value in defaults.items() if name not in fixed}
    shown["inputSchema"] = _with_defaults(_without(definition["inputSchema"], fixed), defaults)
    return Curation(fixed, defaults, definition)


def has_argument(definition: Json, name: str) -> bool:
    """Whether a tool says that it has this argument."""
    properties = definition["inputSchema"].get("properties")
    return isinstance(properties, dict) and name in properties


def is_whole(schema: Json) -> bool:
    return any(key in schema for key in _WHOLE)


def _without(schema: Json, fixed: Mapping[str, Any]) -> Json:
    """An input schema without arguments that are filled in."""
    whole = is_whole(schema)
    properties = schema.get("properties")
    shown = dict(properties) if isinstance(properties, dict) else {}
    for name, value in fixed.items():
        if whole:
            shown[name] = {"const": value}
        else:
            shown.pop(name, None)
    return schema_of(schema, shown, [name for name in required_of(schema) if name not in fixed])


def _with_defaults(schema: Json, defaults: Mapping[str, Any]) -> Json:
    """An input schema with arguments that may be left out, and what they are then."""
    properties = schema.get("properties")
    shown = dict(properties) if isinstance(properties, dict) else {}
    for name, value in defaults.items():
        own = shown.get(name)
        shown[name] = {**(own if isinstance(own, dict) else {}), "default": value}
    return schema_of(schema, shown, [name for name in required_of(schema) if name not in defaults])


def required_of(schema: Json) -> list[str]:
    required = schema.get("required")
    return list(required) if isinstance(required, list) else []


def schema_of(schema: Json, properties: Json, required: list[str]) -> Json:
    made = {**schema, "properties": properties, "required": required}
    if not required:
        del made["required"]
    if not properties and "properties" not in schema:
        del made["properties"]
    return made
