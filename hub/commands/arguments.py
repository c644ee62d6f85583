"""What a person types as `KEY=VALUE`, read by the tool's own input schema.

`012` stays a string where the schema wants one, and is 12 where it wants an integer. A value that
fits no type of its key is refused with a sentence; a key that the schema does not know is passed
on as a guess, with a note. Checks nothing beyond the types: the server judges its arguments itself.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hub.errors import InvalidParams
from hub.model import Json

__all__ = ["read_arguments", "read_object"]

_TYPES = ("null", "boolean", "integer", "number", "array", "object", "string")
"""Most particular first: of several types that a schema allows, the first one that fits is meant."""

_integer = re.compile(r"[+-]?[0-9]+").fullmatch
_plain_integer = re.compile(r"-?(0|[1-9][0-9]*)").fullmatch
_number = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?").fullmatch
_REFERENCES_MAX = 32


def read_arguments(pairs: Sequence[str], schema: Json, given: Json | None = None) -> tuple[Json, list[str]]:
    """The arguments that `pairs` stand for, over those of `given`, and notes for whoever typed them.

    A key that is repeated, or one value that is no JSON array, makes an array where the schema
    wants one.

    Args:
        pairs: `KEY=VALUE`; the key ends at the first `=`.
        schema: The tool's `inputSchema`, whatever is in it.

    Raises:
        InvalidParams: a pair without `=`, a key given twice, a value that fits no type of its key.
    """
    values: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidParams(f"{pair!r} is no argument. Write it as KEY=VALUE.")
        values.setdefault(key, []).append(value)
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    rest = schema.get("additionalProperties")
    arguments, notes = dict(given or {}), []
    for key, texts in values.items():
        if key in properties:
            arguments[key] = _read(key, texts, properties[key], schema)
        elif isinstance(rest, dict):
            arguments[key] = _read(key, texts, rest, schema)
        else:
            arguments[key] = _guess(key, texts)
            known = ", ".join(map(str, properties)) or "none"
            notes.append(f"{key!r} is not among the tool's arguments ({known}); passed on as it is.")
    return arguments, notes


def _read(key: str, texts: list[str], schema: Any, root: Json) -> Any:
    parts = list(_parts(schema, root))
    types = {name for part in parts for name in _types(part)}
    literals = [value for part in parts for value in _literals(part)]
    if literals and len(texts) == 1:
        for value in literals:
            if texts[0] == (value if isinstance(value, str) else json.dumps(value)):
                return value
    if not types:
        return _guess(key, texts)
    if len(texts) > 1:
        if "array" not in types:
            raise InvalidParams(f"{key}: given {len(texts)} times, but it takes one value.")
        return _items(key, texts, parts, root)
    text = texts[0]
    for name in _TYPES:
        if name in types:
            fits, value = _fit(text, name, strict="string" in types)
            if fits:
                return value
    if "array" in types and not text.lstrip().startswith("["):
        return _items(key, texts, parts, root)
    wanted = " or ".join(name for name in _TYPES if name in types)
    raise InvalidParams(
        f"{key}: {text[:80]!r} is not of type {wanted}.{_example(wanted)}"
        + (f" One of: {', '.join(json.dumps(value) for value in literals[:20])}." if literals else "")
    )


def _example(wanted: str) -> str:
    examples = {"array": "'[1, 2]'", "object": '\'{"key": "value"}\'', "boolean": "true or false"}
    return f" Write {examples[wanted]}." if wanted in examples else ""


def _items(key: str, texts: list[str], parts: list[Json], root: Json) -> list[Any]:
    items: Any = next((part["items"] for part in parts if isinstance(part.get("items"), dict)), {})
    return [_read(key, [text], items, root) for text in texts]


def _fit(text: str, name: str, *, strict: bool) -> tuple[bool, Any]:
    """Whether `text` is a value of the type, and which.

    Args:
        strict: Only JSON's own spelling counts, because the text could as well stay a string.
    """
    if name == "string":
        return True, text
    if name == "null":
        return text == "null", None
    if name == "boolean":
        word = text if strict else text.lower()
        return word in ("true", "false"), word == "true"
    if name == "integer":
        # Beyond this many digits Python itself refuses to read a number.
        fits = len(text) <= 4000 and (_plain_integer if strict else _integer)(text) is not None
        return fits, int(text) if fits else None
    if name == "number":
        if _plain_integer(text) is not None and len(text) <= 4000:
            return True, int(text)
        value = float(text) if _number(text) is not None else math.inf
        return math.isfinite(value), value
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False, None
    return isinstance(value, list if name == "array" else dict), value


def _guess(key: str, texts: list[str]) -> Any:
    """JSON where it is some, else the text itself; a list where the key is repeated."""
    guesses: list[Any] = []
    for text in texts:
        try:
            guesses.append(json.loads(text, parse_constant=_refuse))
        except (ValueError, RecursionError):
            guesses.append(text)
    return guesses[0] if len(guesses) == 1 else guesses


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _parts(schema: Any, root: Json) -> Iterator[Json]:
    """The schema and those that it refers to or chooses among, each once, at most `_REFERENCES_MAX`."""
    waiting, count = [schema], 0
    while waiting and count < _REFERENCES_MAX:
        part = waiting.pop(0)
        count += 1
        if not isinstance(part, dict):
            continue
        yield part
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/"):
            waiting.append(_at(root, reference))
        for key in ("anyOf", "oneOf", "allOf"):
            choices = part.get(key)
            waiting.extend(choices if isinstance(choices, list) else ())


def _at(root: Json, reference: str) -> Any:
    found: Any = root
    for step in reference[2:].split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _types(part: Json) -> list[str]:
    named = part.get("type")
    if isinstance(named, str):
        return [named] if named in _TYPES else []
    if isinstance(named, list):
        return [name for name in named if name in _TYPES]
    return []


def _literals(part: Json) -> list[Any]:
    choices = part.get("enum")
    return [*(choices if isinstance(choices, list) else ()), *([part["const"]] if "const" in part else ())]


def read_object(text: str | None) -> Json:
    """The JSON object that `text` is, or that the file after `@`, or stdin for `-`, holds; `{}` for `None`.

    Raises:
        InvalidParams: it cannot be read, or is no JSON object.
    """
    if text is None:
        return {}
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=_refuse)
    except OSError as error:
        raise InvalidParams(f"--args-json: {error.filename} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidParams(f"--args-json: this is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidParams('--args-json: must be a JSON object: {"key": "value"}.')
    return value
