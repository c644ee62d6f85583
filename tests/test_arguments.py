"""`KEY=VALUE` is read by the tool's own schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hub.commands.arguments import read_arguments, read_object
from hub.errors import InvalidParams

ROOT = {"$defs": {"Count": {"type": "integer"}, "Loop": {"$ref": "#/$defs/Loop"}}}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "012", "012"),
        ({"type": "string"}, "true", "true"),
        ({"type": "string"}, '{"a": 1}', '{"a": 1}'),
        ({"type": "string"}, "", ""),
        ({"type": "string"}, "a=b", "a=b"),
        ({"type": "integer"}, "012", 12),
        ({"type": "integer"}, "-3", -3),
        ({"type": "integer"}, "123456789012345678901234567890", 123456789012345678901234567890),
        ({"type": "number"}, "1.5", 1.5),
        ({"type": "number"}, "7", 7),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "array"}, "[1, 2]", [1, 2]),
        ({"type": "array", "items": {"type": "string"}}, "012", ["012"]),
        ({"type": "array", "items": {"type": "integer"}}, "7", [7]),
        ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "integer"]}, "12", 12),
        ({"type": ["string", "integer"]}, "012", "012"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "4", 4),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", None),
        ({"oneOf": [{"type": "object"}, {"type": "string"}]}, "plain", "plain"),
        ({"$ref": "#/$defs/Count"}, "3", 3),
        ({"enum": ["1", "2"]}, "1", "1"),
        ({"enum": [1, 2]}, "1", 1),
        ({"const": True}, "true", True),
        ({"$ref": "#/$defs/Loop"}, "text", "text"),
        ({"$ref": "#/nowhere"}, "3", 3),
        ({}, "3", 3),
        ({}, "three", "three"),
        (True, "3", 3),
    ],
)
def test_a_value_becomes_what_its_key_s_schema_wants(schema: Any, text: str, value: Any) -> None:
    arguments, notes = read_arguments([f"key={text}"], {**ROOT, "properties": {"key": schema}})
    assert arguments == {"key": value}
    assert type(arguments["key"]) is type(value)
    assert notes == []


@pytest.mark.parametrize(
    ("schema", "text", "says"),
    [
        ({"type": "integer"}, "many", "not of type integer"),
        ({"type": "integer"}, "1.5", "not of type integer"),
        ({"type": "integer"}, "9" * 5000, "not of type integer"),
        ({"type": "number"}, "nan", "not of type number"),
        ({"type": "number"}, "1e400", "not of type number"),
        ({"type": "boolean"}, "yes", "Write true or false"),
        ({"type": "object"}, "[1]", "Write '{"),
        ({"type": "object"}, "[" * 100_000, "not of type object"),
        ({"type": "integer", "enum": [1, 2]}, "x", "One of: 1, 2"),
        ({"type": "array", "items": {"type": "integer"}}, "x", "not of type integer"),
    ],
)
def test_a_value_that_fits_no_type_is_refused_with_the_fix(schema: Any, text: str, says: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        read_arguments([f"key={text}"], {"properties": {"key": schema}})
    assert str(refused.value).startswith("key: ")
    assert says in str(refused.value)
    assert len(str(refused.value)) < 500


def test_a_repeated_key_is_a_list_where_the_schema_wants_one_and_refused_elsewhere() -> None:
    tags = {"type": "array", "items": {"type": "string"}}
    schema = {"properties": {"tag": tags, "one": {"type": "string"}}}
    assert read_arguments(["tag=1", "tag=b"], schema) == ({"tag": ["1", "b"]}, [])
    with pytest.raises(InvalidParams, match="given 2 times"):
        read_arguments(["one=1", "one=2"], schema)


def test_an_unknown_key_is_passed_on_as_a_guess_and_said() -> None:
    arguments, notes = read_arguments(["other=12", "word=x"], {"properties": {"known": {}}})
    assert arguments == {"other": 12, "word": "x"}
    assert len(notes) == 2 and "'other'" in notes[0] and "known" in notes[0]


def test_further_keys_are_read_by_additional_properties() -> None:
    schema = {"additionalProperties": {"type": "string"}}
    assert read_arguments(["any=012"], schema) == ({"any": "012"}, [])


def test_pairs_lie_over_what_was_given_whole() -> None:
    arguments, _ = read_arguments(["a=2"], {"properties": {"a": {"type": "integer"}}}, {"a": 1, "b": 1})
    assert arguments == {"a": 2, "b": 1}


@pytest.mark.parametrize("pair", ["novalue", "=value"])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(InvalidParams, match="KEY=VALUE"):
        read_arguments([pair], {})


@pytest.mark.parametrize("properties", [3, {"a": 3}, {"a": {"type": 3}}, {"a": {"anyOf": 3, "enum": 3}}])
def test_a_schema_that_is_none_breaks_nothing(properties: Any) -> None:
    assert read_arguments(["a=1"], {"properties": properties})[0] == {"a": 1}


def test_whole_arguments_come_from_text_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{"a": 1}')
    assert read_object('{"a": 1}') == read_object(f"@{file}") == {"a": 1}
    assert read_object(None) == {}
    for wrong in ("[1]", "{", '{"a": NaN}', f"@{tmp_path / 'none'}", "[" * 100_000):
        with pytest.raises(InvalidParams, match="--args-json"):
            read_object(wrong)
