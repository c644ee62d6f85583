"""JSON of every shape, whose order of keys, digits of numbers and characters of strings count."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st


class Spelled(str):
    """A number, with its digits."""


class Pairs(list[tuple[str, Any]]):
    """An object whose keys are in order."""


def spell(value: Any) -> str:
    """The JSON text of a value that may hold `Spelled` numbers."""
    if isinstance(value, Spelled):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{json.dumps(key)}:{spell(item)}" for key, item in value) + "}"
    if isinstance(value, dict):
        return spell(Pairs(value.items()))
    if isinstance(value, list):
        return "[" + ",".join(map(spell, value)) + "]"
    # Every other string is written out, the others are escaped.
    return json.dumps(value, ensure_ascii=isinstance(value, str) and len(value) % 2 == 0)


def read(text: str | bytes) -> Any:
    """What `spell` wrote, as something to compare: order and digits count."""
    return json.loads(text, object_pairs_hook=Pairs, parse_float=Spelled, parse_int=Spelled)


def get(pairs: Any, key: str) -> Any:
    return dict(pairs).get(key)


def without(pairs: Any, *keys: str) -> Pairs:
    return Pairs((key, item) for key, item in pairs if key not in keys)


def replaced(pairs: Any, key: str, value: Any) -> Pairs:
    return Pairs((each, value if each == key else item) for each, item in pairs)


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
FLOATS = st.sampled_from(
    [
        "1.0",
        "0.1",
        "1E2",
        "1e-7",
        "-0.0",
        "0.10",
        "1.50e+3",
        "123456789.123456789123456789",
        "5e-324",
        "1e308",
    ]
)
INTEGERS = st.one_of(
    st.integers(-9, 9), st.integers(-(2**130), 2**130), st.sampled_from([2**53 + 1, 2**64, -(2**63)])
)
NUMBERS = st.one_of(FLOATS, INTEGERS.map(str)).map(Spelled)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT)


def objects(values: st.SearchStrategy[Any], keys: st.SearchStrategy[str] = TEXT) -> st.SearchStrategy[Pairs]:
    pairs = st.lists(st.tuples(keys, values), max_size=4, unique_by=lambda pair: pair[0])
    return pairs.map(Pairs)


VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), objects(inner)), max_leaves=12
)

SOME = st.lists(VALUES, max_size=3)

KNOWN = {
    *("name", "uri", "ref", "arguments", "argument", "context", "_meta", "task"),
    *("inputResponses", "inputRequests", "requestState", "resultType", "ttlMs", "cacheScope"),
    *("content", "structuredContent", "isError", "messages", "contents", "completion"),
    *("type", "title", "description", "icons", "annotations", "execution", "inputSchema", "outputSchema"),
}
"""What the protocol gives a meaning to."""
UNKNOWN = st.one_of(TEXT, st.sampled_from(["x", "Title", "io.vendor/thing", "__proto__"])).filter(
    lambda key: key not in KNOWN
)
META_KEYS = st.one_of(
    st.sampled_from(
        ["com.example/trace", "vendor", "io.modelcontextprotocol/unheard-of", "UPPER/case", "traceparent"]
    ),
    TEXT.filter(lambda key: key != "progressToken"),
)
META = objects(VALUES, META_KEYS)
CONTENT = st.lists(
    st.one_of(
        TEXT.map(lambda text: Pairs([("type", "text"), ("text", text)])),
        st.tuples(TEXT, objects(VALUES, UNKNOWN)).map(lambda two: Pairs([("type", f"x-{two[0]}"), *two[1]])),
    ),
    max_size=3,
)


def compact(value: Any) -> str:
    """The JSON text of what `read` read, without white space and with nothing escaped that need not be."""
    if isinstance(value, Spelled):
        return str(value)
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{compact(key)}:{compact(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
