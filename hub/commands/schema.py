"""The JSON Schema of manifests, made of the models that check them: for editors.

Looser than the loader where a schema cannot say it (variables, names across files), never stricter.
"""

from __future__ import annotations

import ast
import inspect
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from connectors import connector_class, kinds
from hub.home import Home
from hub.manifests import quota_shape, shapes, when_shape
from hub.manifests.shapes import AgentShape, ServerShape
from hub.manifests.write import write_whole

__all__ = ["SCHEMA_FILE", "manifest_schema", "write_schema"]

SCHEMA_FILE = "manifest.schema.json"


def manifest_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of one manifest file: a server or an agent, by its first key."""
    ways = [cast("type[BaseModel]", connector_class(target)) for target in kinds().values()]
    models: list[type[BaseModel]] = [ServerShape, AgentShape, *ways]
    made, whole = models_json_schema([(model, "validation") for model in models])
    definitions: dict[str, Any] = whole["$defs"]
    server, agent, *connects = [made[model, "validation"] for model in models]
    for name, words in _described().items():
        for key, sentence in words.items():
            if name in definitions and key in definitions[name]["properties"]:
                definitions[name]["properties"][key]["description"] = sentence
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


def _described() -> dict[str, dict[str, str]]:
    """What stands below each key of our shapes, by the shape's name.

    Pydantic could collect it (`use_attribute_docstrings`), but would at every start: 16 ms.
    """
    found: dict[str, dict[str, str]] = {}
    for module in (quota_shape, when_shape, shapes):
        for each in ast.parse(inspect.getsource(module)).body:
            if isinstance(each, ast.ClassDef):
                words = found[each.name] = {}
                for base in each.bases:
                    words.update(found.get(ast.unparse(base), {}))
                for line, below in pairwise(each.body):
                    match line, below:
                        case (
                            ast.AnnAssign(target=ast.Name(id=key)),
                            ast.Expr(value=ast.Constant(value=str(text))),
                        ):
                            words[key.removesuffix("_")] = inspect.cleandoc(text)  # `with_` is `with`
    return found


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
