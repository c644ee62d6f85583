"""The schemas that rules give for arguments: which may be written, and what they come to. Pure.

JSON Schema 2020-12, with three differences, each to the safe side. A keyword that nobody knows is
refused, because it would check nothing. A keyword speaks of its type alone in JSON Schema, so that
`pattern` lets every number through: here it implies the type. And `format: path` and `format: uri`
mean that the argument is brought into one spelling first (`hub.rules.normal`).

Patterns run in linear time: the engine has no look-around and no back-references, and what needs
them is refused with the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from hub.nearest import did_you_mean

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["NORMAL", "check", "is_small", "patterns_of", "spellings", "typed", "validator"]

_SMALL_BYTES: Final = 64 * 1024
"""Of a compiled pattern."""
NORMAL: Final = ("path", "uri")

_BY_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"pattern", "minLength", "maxLength", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "array": frozenset(
        {"items", "prefixItems", "contains", "minContains", "maxContains", "minItems", "maxItems"}
        | {"uniqueItems"}
    ),
    "object": frozenset(
        {"properties", "patternProperties", "additionalProperties", "required", "propertyNames"}
        | {"minProperties", "maxProperties", "dependentRequired", "dependentSchemas"}
    ),
}
_ANY: Final = frozenset({"type", "enum", "const", "allOf", "anyOf", "oneOf", "not", "if", "then", "else"})
_WORDS: Final = frozenset({"title", "description", "examples", "default", "$comment"})
_KNOWN: Final = frozenset({*_ANY, *_WORDS}.union(*_BY_TYPE.values()))
_FORMATS: Final = frozenset(
    {*NORMAL, "date", "date-time", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_ONE: Final = ("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else")
_LISTED: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "dependentSchemas")
_DOWNWARD: Final = frozenset({"allOf", "items", "properties"})
"""Where a `format: path` always counts, so that the argument can be changed by it."""
_MONOTONE: Final = frozenset(
    {*_DOWNWARD, "anyOf", "prefixItems", "additionalProperties", "patternProperties"}
)
"""Where to ask for more lets less through."""

_foreign = re.compile(r"\\[AzZ]|\\x\{|\[\[:|\(\?(?![:=!<])|\(\?<(?![A-Za-z=!])")
"""What only the engine here knows: clients that read the schema as JavaScript would stumble over it."""


def check(schema: Any) -> None:
    """Raises `ValueError`: what is wrong with the schema of one argument, where, and the fix."""
    for where, part, steps in _parts(schema, "", ()):
        at = f"{where}: " if where else ""
        if not isinstance(part, dict):
            if isinstance(part, bool) and where:
                continue
            raise ValueError(f"{at}must be a JSON Schema. Write {{const: value}}, {{enum: [one, two]}} …")
        for key in part:
            if key == "$ref" or (key.startswith("$") and key not in _KNOWN):
                raise ValueError(f"{at}{key!r} is not used here. Write out what it refers to.")
            if key not in _KNOWN:
                raise ValueError(
                    f"{at}{key!r} is no keyword of a schema. {did_you_mean(key, sorted(_KNOWN))}"
                )
        format = part.get("format")
        if format is not None and format not in _FORMATS:
            raise ValueError(f"{at}format {format!r} is not known. Known: {', '.join(sorted(_FORMATS))}.")
        if format in NORMAL and not _DOWNWARD.issuperset(steps):
            raise ValueError(f"{at}format {format} cannot stand there. Write it beside the argument's type.")
        patterns = [part["pattern"]] if isinstance(part.get("pattern"), str) else []
        if isinstance(part.get("patternProperties"), dict):
            patterns.extend(part["patternProperties"])
        for pattern in patterns:
            found = _foreign.search(pattern)
            if found is not None:
                raise ValueError(f"{at}pattern: {found[0]!r} is not known to everybody. Write it without.")
    if not schema:
        raise ValueError("checks nothing. Write what the argument must be, as {enum: [one, two]}.")
    try:
        validator({"it": schema})
    except ValueError as error:
        raise ValueError(_said(error)) from None


def patterns_of(schema: Any) -> list[str]:
    """All the regular expressions in the schema of one argument."""
    found: list[str] = []
    for _, part, _ in _parts(schema, "", ()):
        if isinstance(part, dict):
            found += [part["pattern"]] if isinstance(part.get("pattern"), str) else []
            found += part["patternProperties"] if isinstance(part.get("patternProperties"), dict) else []
    return found


def is_small(pattern: str) -> bool:
    """Whether it takes little time and memory: `^\\pL{100}$` takes 66 ms and 6 MiB."""
    import jsonschema_rs

    try:
        small = jsonschema_rs.RegexOptions(size_limit=_SMALL_BYTES)
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=small)
    except ValueError:
        return False
    return True


def _said(error: ValueError) -> str:
    text = str(error).partition("\n")[0][:300]
    if 'is not a "regex"' in text:
        return (
            f"pattern: {text.partition(' is not a')[0]} cannot be used. Patterns have no look-around and no "
            "back-references, so that none is slow; and not too many repetitions."
        )
    return f"is no valid JSON Schema: {text}."


def typed(schema: Any) -> Any:
    """The schema with the types that its keywords imply, and without the formats that are ours alone."""
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    if "type" not in schema:
        implied = [name for name, keys in _BY_TYPE.items() if not keys.isdisjoint(schema)]
        if implied:
            made["type"] = implied[0] if len(implied) == 1 else implied
    for key, value in schema.items():
        if key == "format" and value == "path":
            continue
        if key not in _MONOTONE:
            made[key] = value
        elif key in _LISTED:
            made[key] = [typed(item) for item in value]
        elif key in _NAMED:
            made[key] = {name: typed(item) for name, item in value.items()}
        else:
            made[key] = typed(value)
    return made


def validator(schemas: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
    """One for an object that has exactly these arguments. Raises `ValueError`: a schema is not valid."""
    # Here, as hubs whose rules ask nothing of arguments need none of its 3 MiB.
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(
        {
            "type": "object",
            "properties": {name: _judged(typed(schema)) for name, schema in schemas.items()},
            "required": list(schemas),
        },
        validate_formats=True,
        retriever=_refuse,
        pattern_options=jsonschema_rs.RegexOptions(),
    )


def _judged(schema: Any) -> Any:
    """Without `format: uri`: to have a normal form is more than the format asks for."""
    if isinstance(schema, dict):
        return {
            key: _judged(value)
            for key, value in schema.items()
            if key in ("const", "enum") or not (key == "format" and value in NORMAL)
        }
    return [_judged(item) for item in schema] if isinstance(schema, list) else schema


def _refuse(uri: str) -> Any:
    raise ValueError(f"refers to another document: {uri[:200]}")


Step = str | Literal[0]
"""A property's name; 0 for the items of a list."""


def spellings(schema: Any) -> tuple[tuple[tuple[Step, ...], str, bool], ...]:
    """Where in an argument something is brought into one spelling: the way there, `path` or `uri`,
    and whether a path may be relative (a pattern from the start says how it begins)."""
    return tuple(dict.fromkeys(_spellings(schema, ())))


def _spellings(schema: Any, way: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], str, bool]]:
    if not isinstance(schema, dict):
        return
    if schema.get("format") in NORMAL:
        yield way, schema["format"], re.match(r"\^[^/(]", str(schema.get("pattern", ""))) is not None
    for part in schema.get("allOf", ()):
        yield from _spellings(part, way)
    if "items" in schema:
        yield from _spellings(schema["items"], (*way, 0))
    for name, part in schema.get("properties", {}).items():
        yield from _spellings(part, (*way, name))


def _parts(schema: Any, where: str, steps: tuple[str, ...]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """The schema and all within it: the way there in words, the part, and the keywords on the way."""
    yield where, schema, steps
    if not isinstance(schema, dict):
        return
    for key in schema:
        value, here = schema[key], f"{where}.{key}" if where else key
        if key in _ONE:
            yield from _parts(value, here, (*steps, key))
        elif key in _LISTED and isinstance(value, list):
            for position, item in enumerate(value):
                yield from _parts(item, f"{here}[{position}]", (*steps, key))
        elif key in _NAMED and isinstance(value, dict):
            for name, item in value.items():
                yield from _parts(item, f"{here}.{name}", (*steps, key))
