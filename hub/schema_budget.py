"""Whether a definition of a tool is small enough to be kept, shown and checked by: schema bombs are not.

A definition may hold so many values, so deep, so much text; and what its references make of it, each one
followed, may be so large: twenty lines of `{"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}` are a
million schemas to whoever checks arguments by them. Patterns have a length, and so has what their counted
repetitions make of them: `((a{100}){100}){10}` takes half a millisecond for each character that it is held
against. Nothing is followed here but within the definition. Costs 0.2 us a value, once for each look at a
server's lists.
"""

from __future__ import annotations

import re
from typing import Any, Final

from hub.model import Json

__all__ = ["REFUSED", "too_much"]

REFUSED: Final = "hub/refused"
"""The key under which what stands in the place of a refused definition says why."""

VALUES_MAX: Final = 20_000
DEPTH_MAX: Final = 64
CHARACTERS_MAX: Final = 256 * 1024
PATTERN_MAX: Final = 1000
_tokens: Final = re.compile(
    r"\\[pPxuk]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(?:\d+,)?(?P<most>\d+)(?:,)?\}|.", re.DOTALL
)
PLACES_MAX: Final = 20_000
"""Of all patterns, with their counted repetitions written out."""
EXPANDED_MAX: Final = 100_000


def too_much(definition: Json) -> str | None:
    """Why it is left out; `None` where it is not."""
    values = characters = places = 0
    level: list[Any] = [definition]
    refers = False
    for _ in range(DEPTH_MAX):
        below: list[Any] = []
        for value in level:
            if type(value) is dict:
                below += value.values()
                characters += sum(map(len, value))
                refers = refers or "$ref" in value
                for pattern in _patterns(value):
                    if len(pattern) > PATTERN_MAX:
                        return f"a pattern in it has more than {PATTERN_MAX} characters"
                    places += _places(pattern)
                if places > PLACES_MAX:
                    return f"its patterns, with repetitions written out, have more than {PLACES_MAX} places"
            elif type(value) is list:
                below += value
            elif type(value) is str:
                characters += len(value)
        values += len(below)
        if values > VALUES_MAX or characters > CHARACTERS_MAX:
            return f"its definition is larger than {VALUES_MAX} values or {CHARACTERS_MAX} characters"
        if not below:
            break
        level = below
    else:
        return f"its definition is nested more than {DEPTH_MAX} deep"
    for key in ("inputSchema", "outputSchema") if refers else ():
        schema = definition.get(key)
        try:
            size = _expanded(schema, schema, {}) if isinstance(schema, dict) else 0
        except RecursionError:
            size = EXPANDED_MAX + 1
        if size > EXPANDED_MAX:
            return f"the references in its {key} make more than {EXPANDED_MAX} schemas of it"
    return None


def _expanded(value: Any, root: Json, known: dict[str, int]) -> int:
    """How many values there are with every reference followed; one that leads back to itself counts once."""
    if type(value) is list:
        return 1 + sum(_expanded(each, root, known) for each in value)
    if type(value) is not dict:
        return 1
    size = 1 + sum(_expanded(each, root, known) for each in value.values())
    size += sum(_places(pattern) for pattern in _patterns(value))
    to = value.get("$ref")
    if type(to) is str and to.startswith("#/"):
        if to not in known:
            known[to] = 1
            known[to] = _expanded(_at(root, to), root, known)
        size += known[to]
    return size


def _patterns(schema: Json) -> list[str]:
    """What is a regular expression in it."""
    if "pattern" not in schema and "patternProperties" not in schema:
        return []
    found, named = schema.get("pattern"), schema.get("patternProperties")
    return [*([found] if type(found) is str else []), *(named if type(named) is dict else [])]


def _places(pattern: str) -> int:
    """About how many places a matcher can be at in a pattern, with its counted repetitions written out."""
    groups, last = [0], 0
    for token in _tokens.finditer(pattern):
        text = token[0]
        if text == "(":
            groups.append(0)
        elif text == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        elif token["most"] is not None:
            times = min(int(token["most"]), PLACES_MAX)
            groups[-1] = min(groups[-1] + last * (times - 1), PLACES_MAX + 1) if times else groups[-1]
            last = min(last * times, PLACES_MAX + 1)
        else:
            last = 1
            groups[-1] += 1
    return sum(groups)


def _at(root: Json, pointer: str) -> Any:
    found: Any = root
    for part in pointer[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return found
