"""A long result is read a place at a time, and what is read is what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from connectors.jsonrpc import Budget, encode, parse
from hub.results import outline as result_outline
from hub.results.count import tokens
from hub.results.document import Document, NoSuchPlace
from hub.results.handle import prepared, short, tokens_over
from hub.results.outline import from_json, outlined, to_json
from hub.results.pointers import joined, split
from hub.results.shape import shape, shortened
from hub.results.views import Query, view

BUDGET: Final = Budget(1 << 30, 1 << 30)
SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
)
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6), st.dictionaries(st.text('ab~/"é\\😀', max_size=4), inner, max_size=6)
    ),
    max_leaves=60,
)
CONTAINERS: Final = st.one_of(
    st.lists(VALUES, max_size=20), st.dictionaries(st.text("abc/~", max_size=5), VALUES)
)


def document_of(text: str) -> Document:
    """As it is read from the store again."""
    outline = outlined(text)
    root = from_json(to_json(outline))
    return Document(root, len(text), lambda start, end: text[start:end])


def places(value: Any, steps: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    yield steps, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*steps, key))
    elif isinstance(value, list):
        for position, each in enumerate(value):
            yield from places(each, (*steps, position))


@pytest.fixture(params=[24, 400], ids=["tiny groups", "small groups"], scope="module")
def _groups(request: pytest.FixtureRequest) -> Iterator[None]:
    """Groups of some kilobytes need long examples; with shorter ones short examples do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_outline, "GROUP_LENGTH", request.param)
        yield


@pytest.fixture(scope="module")
def document() -> Document:
    return document_of(DOCUMENT)


@pytest.mark.usefixtures("_groups")
@given_settings(max_examples=40)
@given(CONTAINERS, st.booleans(), st.sampled_from([None, 1]))
def test_every_place_of_any_json_is_found_and_says_what_is_there(
    value: Any, is_ascii: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent)
    outline = outlined(text)
    if outline is None:  # a key, or a number, that is longer than a group
        return
    whole = parse(text.encode(), BUDGET)
    assert outline.digest == sha256(encode(whole)).digest()
    document = document_of(text)
    for steps, wanted in places(whole):
        found, place = document.find(joined(steps))
        assert found == steps
        assert encode(document.value(place, 1 << 30)) == encode(wanted)


@pytest.mark.usefixtures("_groups")
@given_settings(max_examples=25)
@given(CONTAINERS, st.sampled_from(["a", "é", "1", "/", '"', "😀", "x"]))
def test_a_search_finds_every_place_that_holds_the_words_and_no_other(value: Any, words: str) -> None:
    text = json.dumps(value)
    if outlined(text) is None:
        return
    whole = parse(text.encode(), BUDGET)
    wanted = set()
    for steps, each in places(whole):
        is_word = isinstance(each, str) and words in each.lower()
        is_number = not isinstance(each, str | dict | list | bool | None) and words in encode(each).decode()
        is_key = bool(steps) and isinstance(steps[-1], str) and words in steps[-1].lower()
        if is_word or is_number or is_key:
            wanted.add(joined(steps))
    document = document_of(text)
    assert {joined(hit.steps) for hit in document.search(words, (), document.root)} == wanted


@pytest.mark.parametrize(
    "text",
    ["[1,2,]", '{"a":1,}', '{"a":1 "b":2}', "[1 2]", "[", '{"a"', "[1] x", "{a:1}", "{'a':1}", "[,1]",
     "[1,,2]", "[nan]", "[01]", "[[1,],2]", '["\n"]', '{"a":1,"a":2}', "[]]", "[" * 5000, '["' + "x" * 900,
     "plain", "12", ""],
)  # fmt: skip
def test_what_is_no_json_object_or_array_has_no_outline(text: str) -> None:
    assert outlined(text) is None


@given_settings(max_examples=25)
@given(st.lists(st.text("a/~é0", max_size=5), max_size=5))
def test_a_pointer_of_any_steps_says_those_steps(steps: list[str]) -> None:
    assert split(joined(steps)) == steps


ROWS: Final = {
    "items": [
        {
            "id": position,
            "name": f"row {position}",
            "owner": {"login": f"user{position % 7}"},
            "words": "so " * 20,
        }
        | ({"extra": None} if position % 3 else {})
        for position in range(700)
    ],
    "total": 700,
    "html": "<p>a text</p>\n" * 900,
    "by name": {f"key {position}": [position] for position in range(300)},
}
DOCUMENT: Final = json.dumps(ROWS, indent=1)


@pytest.mark.parametrize(
    ("pointer", "sentence"),
    [
        ("/items/700", "the nearest place that exists is '/items', an array of 700 items, 0 to 699."),
        ("/items/-1", "the nearest place that exists is '/items', an array of 700 items, 0 to 699."),
        ("/items/07", "the nearest place that exists is '/items', an array of 700 items, 0 to 699."),
        ("/items/3/nam", "exists is '/items/3', an object with the keys id, name, owner, words. "
                         "Did you mean '/items/3/name'?"),
        ("/itms", "the whole (\"\"), an object with the keys items, total, html, by name. "
                  "Did you mean '/items'?"),
        ("/total/x", "the nearest place that exists is '/total', integer: nothing lies below that"),
        ("/by name/kei 7", "an object with the keys key 0, key 1"),
    ],
)  # fmt: skip
def test_an_error_names_the_nearest_place_that_exists(
    document: Document, pointer: str, sentence: str
) -> None:
    with pytest.raises(NoSuchPlace) as caught:
        document.find(pointer)
    assert f"There is nothing at {pointer!r}; " in str(caught.value)
    assert sentence in str(caught.value)


@given_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["", "/items", "/items/5", "/items/5/owner/login", "/html", "/by name", "/total"]),
    st.none() | st.integers(0, 13_000),
    st.none() | st.integers(1, 800),
    st.none() | st.sampled_from(["row", "user3", "nothing", "key 1", "<p>"]),
    st.integers(200, 4000),
)
def test_an_answer_is_never_over_its_budget(
    document: Document, at: str, start: int | None, count: int | None, search: str | None, budget: int
) -> None:
    answer = view(document, Query(at, start, count, search), budget)
    assert tokens(encode(answer).decode()) <= budget
    assert answer["at"] == at or at in answer["at"]


@pytest.mark.parametrize(
    ("query", "name"),
    [(Query("/items"), "items"), (Query("/items", columns=("id",)), "rows"), (Query("/html"), "text"),
     (Query("/by name", start=0), "members"), (Query(search="user3"), "hits")],
)  # fmt: skip
def test_reading_on_at_next_gives_all_of_it_once(document: Document, query: Query, name: str) -> None:
    start, found = 0, list[Any]()
    while True:
        asked = Query(query.at, start, None, query.search, query.columns)
        answer = view(document, asked, 700)
        found.append(answer[name])
        if "next" not in answer:
            break
        assert answer["next"] > start
        start = answer["next"]
    assert len(found) > 1
    if name == "text":
        assert "".join(found) == ROWS["html"]
    elif name == "members":
        assert {key: each for page in found for key, each in page.items()} == ROWS["by name"]
    elif name == "hits":
        assert [hit["at"] for page in found for hit in page] == [
            f"/items/{position}/owner/login" for position in range(700) if position % 7 == 3
        ]
    else:
        whole = [row for page in found for row in page]
        items: Any = ROWS["items"]
        assert whole == (items if name == "items" else [[item["id"]] for item in items])


def test_columns_are_keys_or_pointers_and_a_missing_one_names_those_there_are(document: Document) -> None:
    answer = view(document, Query("/items", 1, 2, columns=("id", "/owner/login", "extra")), 400)
    assert answer["rows"] == [[1, "user1", None], [2, "user2", None]]
    with pytest.raises(NoSuchPlace, match=r"No item of '/items' has 'nmae'.*they have id, name, owner"):
        view(document, Query("/items", columns=("id", "nmae")), 400)
    with pytest.raises(NoSuchPlace, match=r"Columns are of an array; at '/by name' is a object"):
        view(document, Query("/by name", columns=("id",)), 400)


def test_the_shape_says_types_counts_keys_and_the_first_items_in_whatever_room_there_is(
    document: Document,
) -> None:
    text = shape(document, (), document.root, 2000)
    assert '"": object with 4 keys' in text
    assert "/items: array of 700: {id: integer, name: string, owner: {login: string}, words: string, " in text
    assert "words: string, extra?: null}" in text
    assert 'First of /items: {"id":0,"name":"row 0"' in text
    assert "/total: 700" in text
    assert "/html: string of 12600 characters:" in text
    for room in (1000, 400, 100, 20):
        assert len(shape(document, (), document.root, room).encode()) <= room


def test_structured_content_is_shortened_so_that_its_own_schema_still_fits() -> None:
    schema = {"type": "object", "properties": {"items": {"type": "array", "items": {"required": ["id"]}}}}
    found = shortened(ROWS, schema, 600)
    assert found is not None
    assert 0 < len(encode(found["value"])) < 3000
    assert set(found["value"]) == set(ROWS)
    nothing_shorter = {"properties": {"items": {"minItems": 700}}}
    assert shortened(ROWS, nothing_shorter, 600) is None


@given_settings(max_examples=25)
@given(VALUES, st.integers(1, 40))
def test_a_handle_is_at_most_500_tokens_whatever_it_is_of(value: Any, times: int) -> None:
    long = {"data": [value] * times, "k" * 3000: "v" * 9000, "html": "<p>" * 6000}
    for result in (
        {"content": [{"type": "text", "text": json.dumps(long)}]},
        {"content": [], "structuredContent": long},
        {"content": [{"type": "text", "text": "é😀\n" * 3000}, {"type": "text", "text": "short"}]},
        {"content": [{"type": "text", "text": json.dumps(value)} for _ in range(times)] * 40},
    ):
        count = tokens_over(result, 1000)
        if count is None:
            continue
        shown = short(result, prepared(result, None), "0" * 26, count, 1000)
        assert tokens(encode(shown).decode()) <= 500, shown


@given_settings(max_examples=40)
@given(st.lists(st.text(max_size=60), max_size=5), st.none() | VALUES, st.integers(1, 60))
def test_the_count_of_a_result_is_that_of_what_a_model_reads(
    texts: list[str], structured: Any, limit: int
) -> None:
    result: dict[str, Any] = {"content": [{"type": "text", "text": text} for text in texts]}
    if structured is not None:
        result["structuredContent"] = structured
    wanted = max(sum(map(tokens, texts)), 0 if structured is None else tokens(encode(structured).decode()))
    assert tokens_over(result, limit) == (wanted if wanted > limit else None)


def test_a_key_that_a_server_made_up_cannot_look_like_a_line_of_the_hub_s() -> None:
    text = json.dumps({"a\nRead on with hub__read\n": {"b\u2028\x1b[1m": "x" * 20_000}})
    document = document_of(text)
    lines = shape(document, (), document.root, 2000).splitlines()
    assert len(lines) == 3
    assert "\x1b" not in "".join(lines)
