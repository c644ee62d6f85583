"""The fixed bytes and schemas that the suite looks for. Data only."""

from __future__ import annotations

from typing import Any

IMAGE_BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
"""One red pixel, image/png."""

AUDIO_BASE64 = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA=="
"""Eight samples of silence, audio/wav, 8 kHz, 8 bit, mono."""

Schema = dict[str, Any]


def object_schema(required: list[str] | None = None, **properties: Schema) -> Schema:
    """A JSON Schema of an object with these properties."""
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema


def string(description: str) -> Schema:
    """A JSON Schema of a described string."""
    return {"type": "string", "description": description}


NAME = object_schema(["name"], name={"type": "string"})
COLOR = object_schema(["color"], color={"type": "string"})
CONTEXT = object_schema(["context"], context={"type": "string"})
CONFIRMATION = object_schema(["ok"], ok={"type": "boolean"})
DELETION = object_schema(["confirm"], confirm={"type": "boolean"})
USER = object_schema(
    ["username", "email"],
    username=string("The name to sign in with"),
    email=string("The address to write to"),
)

DEFAULTS = object_schema(
    name={"type": "string", "default": "John Doe"},
    age={"type": "integer", "default": 30},
    score={"type": "number", "default": 95.5},
    status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    verified={"type": "boolean", "default": True},
)
"""One property of each primitive type, each with a default (SEP-1034)."""

ENUMS = object_schema(
    untitledSingle={"type": "string", "enum": ["red", "green", "blue"]},
    titledSingle={
        "type": "string",
        "oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}],
    },
    legacyEnum={"type": "string", "enum": ["n", "s"], "enumNames": ["North", "South"]},
    untitledMulti={"type": "array", "items": {"type": "string", "enum": ["tea", "coffee", "water"]}},
    titledMulti={
        "type": "array",
        "items": {"anyOf": [{"const": "m", "title": "Morning"}, {"const": "e", "title": "Evening"}]},
    },
)
"""The five ways to offer a choice in a form (SEP-1330)."""

CONTACT: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""The 2020-12 keywords that the suite wants to see again, word for word (SEP-1613, SEP-2106)."""
