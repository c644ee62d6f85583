"""The one strict parser, the writer, and which answer belongs to which request."""

from __future__ import annotations

import json
from typing import Any

import anyio
import jiter
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.base import Json, LinkError, RemoteError
from connectors.correlation import Correlation
from connectors.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    Budget,
    Malformed,
    classify,
    encode,
    notification,
    outcome,
    parse,
    request,
)

BUDGET = Budget(bytes_max=1_000_000, values_max=10_000)

strings = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | strings,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(strings, inner, max_size=5),
    max_leaves=30,
)


@given(values)
def test_what_is_written_reads_back_the_same(value: Any) -> None:
    """Integers of any size, any text, any nesting: raw in the middle changes nothing."""
    assert parse(encode(value), BUDGET) == value


@given(values)
def test_what_is_written_is_one_line_that_the_standard_library_reads_the_same(value: Any) -> None:
    written = encode(value)
    assert b"\n" not in written
    assert json.loads(written) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_keeps_its_value_and_its_spelling(value: float) -> None:
    spelled = repr(value).encode()
    read = parse(spelled, BUDGET)
    assert float(read) == value
    assert encode(read) == spelled


@pytest.mark.parametrize(
    "text",
    [
        b"1.0",
        b"1.10",
        b"1e5",
        b"1E+5",
        b"-0.0",
        b"0.1000000000000000055511151231257827",
        b"1.5e308",
        b"1e-999",
    ],
)
def test_a_number_goes_out_with_the_digits_that_it_came_in_with(text: bytes) -> None:
    assert encode(parse(b'{"x":[' + text + b"]}", BUDGET)) == b'{"x":[' + text + b"]}"


@pytest.mark.parametrize("integer", [2**53 + 1, 2**63, 2**64, 2**64 + 1, -(2**63) - 1, 10**400])
def test_integers_are_exact_at_any_size_also_beside_floats(integer: int) -> None:
    text = b'{"big":%d,"pair":[1.50,%d]}' % (integer, integer)
    read = parse(text, BUDGET)
    assert read["big"] == integer
    assert encode(read) == text


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        '{"a":1}'.encode("utf-32"),
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"a":1,"b":2,"a":1}}',
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e400",
        b"[-1E+400]",
        b'{"x":1e0400}',
        b"1" * 300 + b"e99",
        b"1" * 300 + b".5e50",
        b"9" * 309 + b".0",
        b"1" * 5_000,
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\xc3\x28"',
        b'"\x00"',
        b'"\n"',
        b"[" * 202 + b"]" * 202,
        b"[" * 100_000,
        b"[1,]",
        b"{} {}",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"'a'",
        b"",
        b"   ",
    ],
)
def test_what_is_no_strict_json_is_refused(text: bytes) -> None:
    """Threats T1 and T2."""
    with pytest.raises(Malformed) as refused:
        parse(text, BUDGET)
    assert refused.value.code == PARSE_ERROR
    assert refused.value.message.startswith("Parse error: ")
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("others", [1, 5_000])
def test_a_number_out_of_range_is_found_in_a_long_text_of_few_values_and_of_many(others: int) -> None:
    text = b'{"a":["' + b"1e400 " * 10_000 + b'"' + b",7" * others + b'],"b":{"c":%b}}'
    with pytest.raises(Malformed, match="out of range: 1e400"):
        parse(text.replace(b"%b", b"1e400"), BUDGET)
    assert encode(parse(text.replace(b"%b", b"1e300"), BUDGET)["b"]) == b'{"c":1e300}'


@pytest.mark.parametrize(
    "text", [b"1e308", b"1e00300", b'"1e400"', b'{"1e400":"' + b"9" * 400 + b'"}', b'"\\u0000"']
)
def test_what_only_looks_out_of_range_is_taken(text: bytes) -> None:
    assert parse(text, BUDGET) is not None


def test_depth_of_200_is_taken_and_can_be_sent_on() -> None:
    text = b'{"a":' * 200 + b"1.50" + b"}" * 200
    assert encode({"params": {"arguments": parse(text, BUDGET)}}) == b'{"params":{"arguments":' + text + b"}}"


def test_bytes_and_values_have_a_budget() -> None:
    with pytest.raises(Malformed, match="101 bytes, at most 100") as large:
        parse(b'"' + b"x" * 99 + b'"', Budget(100, 10))
    with pytest.raises(Malformed, match="more than 10 values") as many:
        parse(b"[" + b"1," * 10 + b"1]", Budget(100, 10))
    assert {large.value.code, many.value.code} == {INVALID_REQUEST}
    assert parse(b"[" + b"1," * 8 + b"1]", Budget(100, 10)) == [1] * 9
    nested = b'{"a":{"b":[1,2,3,4,5,6,7,8,9,0]}}'
    with pytest.raises(Malformed, match="more than 10 values"):
        parse(nested, Budget(100, 10))


def test_what_is_no_json_is_not_written() -> None:
    for value in (object(), {"a": {1, 2}}, {1: 2}, "\ud800"):
        with pytest.raises(TypeError):
            encode(value)


@pytest.mark.parametrize("id", [0, 1, -1, 2**53, -(2**53), "", "a", "1" * 1024])
def test_usable_ids_are_taken(id: int | str) -> None:
    assert classify({"jsonrpc": "2.0", "id": id, "method": "ping"}) == "request"
    assert classify({"jsonrpc": "2.0", "id": id, "result": {}}) == "response"


@pytest.mark.parametrize(
    "id", [2**53 + 1, -(2**53) - 1, True, False, None, [], {}, "1" * 1025, jiter.LosslessFloat(b"1.0")]
)
def test_other_ids_are_refused_and_not_repeated(id: Any) -> None:
    kinds: list[Json] = [{"method": "ping"}, {"result": {}}, {"method": "ping", "error": {}}]
    for rest in kinds:
        with pytest.raises(Malformed) as refused:
            classify({"jsonrpc": "2.0", "id": id, **rest})
        assert (refused.value.code, refused.value.id) == (INVALID_REQUEST, None)


def test_the_three_kinds_are_told_apart() -> None:
    assert classify({"jsonrpc": "2.0", "method": "x"}) == "notification"
    assert classify({"jsonrpc": "2.0", "method": "x", "params": {"_meta": {}}, "id": 1}) == "request"
    assert classify({"jsonrpc": "2.0", "id": 1, "error": {}}) == "response"
    assert classify({"jsonrpc": "2.0", "id": None, "error": {}}) == "response", "it could not read our id"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ([], INVALID_REQUEST),
        ([{"jsonrpc": "2.0", "id": 1, "method": "x"}], INVALID_REQUEST),
        ("text", INVALID_REQUEST),
        (None, INVALID_REQUEST),
        ({}, INVALID_REQUEST),
        ({"id": 1, "method": "x"}, INVALID_REQUEST),
        ({"jsonrpc": "1.0", "id": 1, "method": "x"}, INVALID_REQUEST),
        ({"jsonrpc": 2.0, "id": 1, "method": "x"}, INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": 1}, INVALID_REQUEST),
        ({"jsonrpc": "2.0", "result": {}}, INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}, INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": 1, "method": "x", "result": {}}, INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, INVALID_REQUEST),
        ({"jsonrpc": "2.0", "id": 1, "method": "x", "params": []}, INVALID_PARAMS),
        ({"jsonrpc": "2.0", "id": 1, "method": "x", "params": None}, INVALID_PARAMS),
        ({"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"_meta": 5}}, INVALID_PARAMS),
    ],
)
def test_what_is_no_message_is_refused(message: Any, code: int) -> None:
    with pytest.raises(Malformed) as refused:
        classify(message)
    assert refused.value.code == code


def test_requests_and_notifications_are_written_as_they_are() -> None:
    assert (
        request(1, "x", {"b": 1, "a": 2}) == b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"b":1,"a":2}}'
    )
    assert notification("x", {}) == b'{"jsonrpc":"2.0","method":"x","params":{}}'


def test_an_outcome_is_a_result_object_or_an_error() -> None:
    assert outcome({"id": 1, "result": {"x": None}}) == {"x": None}
    with pytest.raises(RemoteError) as refused:
        outcome({"id": 1, "error": {"code": -32000, "message": "no", "data": [1]}})
    assert (refused.value.code, refused.value.message, refused.value.data) == (-32000, "no", [1])
    answers: list[Json] = [{"result": []}, {"result": None}, {"error": {}}, {"error": "no"}]
    for unusable in [*answers, {"error": {"code": "1"}}]:
        with pytest.raises(LinkError):
            outcome({"id": 1, **unusable})


@pytest.mark.anyio
async def test_only_the_exact_id_of_a_waiting_request_counts() -> None:
    """Threat T6."""
    correlation = Correlation()
    waiting, _ = correlation.open({}, None)
    other, _ = correlation.open({}, None)
    strangers: list[Any] = [str(waiting.id), float(waiting.id), True, None, waiting.id + 100, -waiting.id, 0]
    for id in strangers:
        correlation.settle({"id": id, "result": {}})
    assert not waiting.future.done() and not other.future.done()
    assert correlation.stray == len(strangers)
    correlation.settle({"id": waiting.id, "result": {"first": 1}})
    correlation.settle({"id": waiting.id, "result": {"second": 1}})
    assert (await waiting.future)["result"] == {"first": 1}
    assert correlation.stray == len(strangers) + 1
    assert not other.future.done() and len(correlation) == 1


@pytest.mark.anyio
async def test_a_late_answer_to_a_closed_request_is_dropped() -> None:
    correlation = Correlation()
    waiting, _ = correlation.open({}, None)
    correlation.close(waiting)
    correlation.close(waiting)
    correlation.settle({"id": waiting.id, "result": {}})
    assert not waiting.future.done() and correlation.stray == 1


@pytest.mark.anyio
async def test_progress_goes_to_who_asked_for_it_under_their_own_token() -> None:
    correlation = Correlation()
    heard: list[tuple[str, Json]] = []
    given: Json = {"_meta": {"progressToken": "mine", "x": 1}, "name": "n"}
    asking, sent = correlation.open(given, lambda *it: heard.append(it))
    silent, unchanged = correlation.open({"_meta": {}}, lambda *it: heard.append(it))
    assert sent == {"_meta": {"progressToken": asking.id, "x": 1}, "name": "n"}
    assert given["_meta"]["progressToken"] == "mine" and unchanged == {"_meta": {}}
    assert correlation.progress({"progressToken": asking.id, "progress": 1})
    for token in (silent.id, "mine", str(asking.id), None, asking.id + 50):
        assert not correlation.progress({"progressToken": token, "progress": 2})
    assert heard == [("notifications/progress", {"progressToken": "mine", "progress": 1})]
    assert correlation.stray == 5


@pytest.mark.anyio
async def test_the_only_request_is_known_beside_lasting_ones() -> None:
    correlation = Correlation()
    assert correlation.only() is None
    listening, _ = correlation.open({}, None, lasting=True)
    assert correlation.only() is None
    first, _ = correlation.open({}, None)
    assert correlation.only() is first
    correlation.open({}, None)
    assert correlation.only() is None
    assert not correlation.reject(first.id, "no", lasting=True) and not first.future.done()
    assert correlation.reject(listening.id, "ended", lasting=True)
    with pytest.raises(LinkError, match="ended"):
        await listening.future


@pytest.mark.anyio
async def test_when_the_channel_is_gone_every_request_fails_with_an_error_of_its_own() -> None:
    correlation = Correlation()
    waiting = [correlation.open({}, None)[0] for _ in range(3)]
    correlation.fail(lambda: LinkError("gone"))
    errors = []
    for each in waiting:
        with anyio.fail_after(20), pytest.raises(LinkError, match="gone") as failed:
            await each.future
        errors.append(failed.value)
    assert len({id(error) for error in errors}) == 3
    assert len(correlation) == 0


def test_a_batch_is_refused() -> None:
    """Only 2025-03-26 had them."""
    with pytest.raises(Malformed, match="batches are not supported"):
        classify(parse(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', BUDGET))
