"""The JSON Schema of manifests, made of the models that check them: for editors.

Looser than the loader where a schema cannot say it (variables, names across files), never stricter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from connectors import connector_class, kinds
from hub.home import Home
from hub.manifest_shapes import AgentShape, ServerShape
from hub.manifest_write import write_whole

__all__ = ["SCHEMA_FILE", "manifest_schema", "write_schema"]

SCHEMA_FILE = "manifest.schema.json"


def manifest_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one manifest file: a server or an agent, by its first key."""
    ways = [cast("type[BaseModel]", connector_class(target)) for target in kinds().values()]
    models: list[type[BaseModel]] = [ServerShape, AgentShape, *ways]
    made, whole = models_json_schema([(model, "validation") for model in models])
    definitions: dict[str, Any] = whole["$defs"]
    server, agent, *connects = [made[model, "validation"] for model in models]
    shape = definitions[_name(server)]
    shape["properties"]["connect"] = {"description": "How to reach it: exactly one kind.", "oneOf": connects}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A manifest: one server or one agent",
        "type": "object",
        "oneOf": [server, agent],
        "$defs": {name: _plain(item) for name, item in definitions.items()},
    }


def write_schema(home: Home) -> Path:
    """Put the schema where the first line of our manifests names it. Raises `OSError`."""
    home.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = home.state / SCHEMA_FILE
    write_whole(file, json.dumps(manifest_schema(), indent=1, ensure_ascii=False) + "\n", mode=0o644)
    return file


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _plain(schema: Any) -> Any:
    """Without the titles that pydantic makes of names: editors show them, and they say nothing."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _plain(item) for name, item in value.items()} if key == "properties" else _plain(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }
