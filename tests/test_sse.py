"""Server-sent events: what a reader makes of bytes, however they are cut. Claims: WHATWG HTML 9.2."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sse import Event, Reader, TooLarge, encode


def read(*chunks: bytes, event_bytes_max: int = 1000) -> list[Event]:
    reader = Reader(event_bytes_max)
    return [event for chunk in chunks for event in reader.feed(chunk)]


def data(*chunks: bytes) -> list[bytes]:
    return [event.data for event in read(*chunks)]


def test_the_three_line_ends_are_alike_wherever_they_are_cut() -> None:
    for end in (b"\n", b"\r", b"\r\n"):
        text = end.join([b"data: one", b"data: two", b"", b"data: three", b"", b""])
        for cut in range(len(text)):
            assert data(text[:cut], text[cut:]) == [b"one\ntwo", b"three"]


def test_an_event_that_ends_in_cr_is_not_held_back_for_a_lf_that_may_follow() -> None:
    reader = Reader(100)
    assert list(reader.feed(b"data: a\r\r")) == [Event(b"a")]
    assert list(reader.feed(b"\ndata: b\r\n\r")) == [Event(b"b")]
    assert list(reader.feed(b"\n")) == []


def test_comments_and_unknown_fields_and_one_leading_bom_are_no_data() -> None:
    assert data(b"\xef\xbb\xbf: ping\n\n:\ncolour: red\ndata: x\n:y\n\n") == [b"x"]


def test_one_space_after_the_colon_is_dropped_and_no_more() -> None:
    assert data(b"data:a\n\ndata:  b\n\ndata\n\n") == [b"a", b" b", b""]


def test_a_name_holds_for_one_event_and_an_id_until_the_next_id() -> None:
    reader = Reader(100)
    text = b"event: endpoint\nid: 7\ndata: a\n\ndata: b\n\nid: 8\n\nid: 9\0\ndata: c\n\nid: 10\n"
    assert list(reader.feed(text)) == [Event(b"a", "endpoint"), Event(b"b"), Event(b"c")]
    assert reader.last_id == b"8"  # 9 holds a NUL, 10 was never dispatched


def test_retry_is_taken_where_it_is_a_number() -> None:
    reader = Reader(100)
    list(reader.feed(b"retry: 250\nretry: soon\nretry: -1\nretry: 99999999999999\n\n"))
    assert reader.retry_milliseconds == 250


def test_an_event_cut_off_by_the_end_of_its_stream_is_not_dispatched() -> None:
    assert data(b"data: a\n\ndata: b\n") == [b"a"]


def test_what_is_too_large_is_refused_after_what_came_before_it() -> None:
    seen = []
    reader = Reader(20)
    with pytest.raises(TooLarge, match="20 bytes"):
        for event in reader.feed(b"data: fits\n\ndata: 12345\ndata: 12345\n\n"):
            seen.append(event.data)  # noqa: PERF401
    assert seen == [b"fits"]


def test_a_line_without_end_is_refused_as_soon_as_it_is_too_long() -> None:
    reader = Reader(1000)
    with pytest.raises(TooLarge):
        for _ in range(1000):
            list(reader.feed(b"x" * 100))


def test_comments_that_never_stop_are_not_added_up() -> None:
    assert read(*[b": ping\n"] * 1000, b"data: x\n\n", event_bytes_max=50) == [Event(b"x")]


def test_a_large_line_in_many_pieces_takes_time_in_proportion() -> None:
    """Joined once: 20,000 pieces of 1 KB would be 200 GB of copying if each were added to the last."""
    events = read(b"data: ", *[b"x" * 1000] * 20_000, b"\n\n", event_bytes_max=100_000_000)
    assert [len(event.data) for event in events] == [20_000_000]


tokens = b"data|event|id|retry|:| |x|12|\n|\r|\r\n|\0|\xef\xbb\xbf|\xff".split(b"|")
pieces = st.lists(st.sampled_from(tokens), max_size=60).map(b"".join)


def seen(chunks: list[bytes]) -> tuple[list[Event], bool, bytes, int | None]:
    reader = Reader(24)
    events: list[Event] = []
    try:
        for chunk in chunks:
            for event in reader.feed(chunk):
                events.append(event)  # noqa: PERF402
    except TooLarge:
        return events, True, b"", None
    return events, False, reader.last_id, reader.retry_milliseconds


@given(pieces, st.data())
def test_where_the_bytes_are_cut_makes_no_difference(text: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    chunks = [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]
    whole = seen([text])
    assert seen(chunks) == whole
    assert seen([bytes([byte]) for byte in text]) == whole


carriable = st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])
words = st.text(carriable, min_size=1, max_size=10)


@given(st.binary(max_size=60), st.none() | words, st.none() | words, st.none() | st.integers(0, 10**8))
def test_what_was_written_is_read(body: bytes, name: str | None, id: str | None, retry: int | None) -> None:
    reader = Reader(1000)
    text = encode(body, event=name, id=id, retry_milliseconds=retry)
    expected = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert list(reader.feed(text)) == [Event(expected, name or "message")]
    assert reader.last_id == (id or "").encode()
    assert reader.retry_milliseconds == retry


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
def test_a_name_or_id_that_would_start_another_field_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        encode(b"", event=bad)
    with pytest.raises(ValueError, match="line end"):
        encode(b"", id=bad)
