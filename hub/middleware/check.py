"""With `check: arguments` in a server's manifest: arguments are judged by the tool's own schema first.

Off by default, because servers differ in what they accept beyond their schema; but where something was filled
in from a result (`refer`) it is done always, as no model has looked at that. The answer is a tool error that
names each wrong argument, which a model can read and mend; nothing is sent.

A pattern costs up to 4 ns for each character and each place in it: what is long is not held against any.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from connectors.jsonrpc import encode
from hub.model import Call, Entry, Handler, Json, Result

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["Check"]

_ERRORS_MAX = 20
_COMPILED_MAX = 4096
_BACKTRACK_MAX = 10_000
"""Steps of one pattern on one value: what needs more does not fit. A millisecond at most."""
_MATCHED_BYTES_MAX = 4096
"""Of all arguments together, as JSON: with more, patterns do not count."""
_NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
"""Keys whose values have names for keys, and no keywords."""


class Check:
    def __init__(self, wanted: Callable[[str], bool]) -> None:
        """
        Args:
            wanted: Whether the named server's manifest asks for it.
        """
        self._wanted = wanted
        self._compiled: dict[int, tuple[Entry, jsonschema_rs.Validator | None, Json | None]] = {}

    def __call__(self, call: Call, inner: Handler) -> Awaitable[Result]:
        # No coroutine of its own where there is nothing to do, which is the usual case.
        entry = call.entry
        if entry is None or call.method != "tools/call" or not (call.sources or self._wanted(entry.server)):
            return inner(call)
        return self._checked(call, entry, inner)

    async def _checked(self, call: Call, entry: Entry, inner: Handler) -> Result:
        given = encode(call.params.get("arguments", {}))
        validator = self._validator(entry, len(given) > _MATCHED_BYTES_MAX)
        wrong = [] if validator is None else _wrong(validator, json.loads(given))
        if not wrong:
            return await inner(call)
        text = "The arguments do not fit; nothing was sent.\n" + "\n".join(wrong)
        return {"content": [{"type": "text", "text": text}], "isError": True}

    def _validator(self, entry: Entry, long: bool) -> jsonschema_rs.Validator | None:
        """The entry's compiled schema; without its patterns, for what is long; `None`: it is no valid one."""
        known = self._compiled.get(id(entry))
        if known is None or known[0] is not entry:
            schema = json.loads(encode(entry.theirs["inputSchema"]))
            plain = _without_patterns(schema)
            if len(self._compiled) >= _COMPILED_MAX:
                self._compiled.clear()
            known = self._compiled[id(entry)] = entry, _compiled(schema), None if plain == schema else plain
        # Compiled anew each time: that is little beside such arguments, and seldom.
        return known[1] if not long or known[2] is None else _compiled(known[2])


def _compiled(schema: Json) -> jsonschema_rs.Validator | None:
    import jsonschema_rs

    try:
        # An external `$ref` is not fetched: no retriever is given, and resolving fails.
        return jsonschema_rs.validator_for(
            schema,
            retriever=_refuse,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACK_MAX),
        )
    except (ValueError, jsonschema_rs.ReferencingError):
        return None


def _without_patterns(schema: Any) -> Any:
    """The same, with nothing in it that is matched, nor what depends on that."""
    if isinstance(schema, list):
        return [_without_patterns(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    left_out = {"pattern", "patternProperties", "unevaluatedProperties"}
    if "patternProperties" in schema:
        left_out.add("additionalProperties")
    kept = {key: value for key, value in schema.items() if key not in left_out}
    return {
        key: {name: _without_patterns(each) for name, each in value.items()}
        if key in _NAMED and isinstance(value, dict)
        else _without_patterns(value)
        for key, value in kept.items()
    }


def _refuse(uri: str) -> Any:
    raise ValueError(f"the schema refers to another document: {uri[:200]}")


def _wrong(validator: jsonschema_rs.Validator, arguments: Any) -> list[str]:
    """One line for each argument that does not fit, at most 20."""
    lines: list[str] = []
    for error in validator.iter_errors(arguments):
        where = ".".join(str(part) for part in error.instance_path) or "arguments"
        lines.append(f"{where}: {error.message[:300]}")
        if len(lines) == _ERRORS_MAX:
            break
    return lines
