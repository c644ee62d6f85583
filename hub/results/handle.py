"""From a tool's long result to what is kept of it, and to the short one that its agent gets instead.

What is kept is one text: JSON where it can be, so that it can be read by pointer. That is
`structuredContent`, where the result has any and its content says the same again; else what the long text
says, as JSON if it is JSON; else all long blocks in an array.

Pictures and sounds stay in the answer: a model does not read their bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from connectors.jsonrpc import Spelt, encode
from hub.model import Json, Result
from hub.results.count import COUNTER, pieces, size_in_bytes, tokens, tokens_of_bytes
from hub.results.document import Document, Place, Text, is_long, kind_of
from hub.results.outline import Outline, outlined
from hub.results.pointers import joined
from hub.results.settings import RESULT_URI
from hub.results.shape import shape, shortened

__all__ = ["HANDLE_KEY", "Long", "prepared", "short", "tokens_over"]

HANDLE_KEY: Final = "hub/result"
"""In `_meta`: what programs are told of it."""

_MEDIA: Final = ("image", "audio")
_MEDIA_BYTES_MAX: Final = 8 * 1024**2
"""What is larger than this, no model takes."""
_BLOCK_BYTES_MAX: Final = 400
_BLOCKS_BYTES_MAX: Final = 800
"""Blocks that stay beside a long one: each at most, and together."""
_SHAPE_BYTES_MAX: Final = 900
_STRUCTURED_BYTES_MAX: Final = 500
_POINTER_LENGTH_MAX: Final = 80


@dataclass(frozen=True, slots=True)
class Long:
    """What is kept."""

    text: str
    size_bytes: int
    """Of it, in UTF-8."""
    outline: Outline | None
    """`None` of a text that is no JSON."""
    digest: bytes
    blocks: tuple[Any, ...]
    """Of its content, what stays in the answer."""
    shape: str
    example: str
    """A place to look at next."""
    is_array: bool
    """What lies there."""
    structured: Json | None
    """A shorter `structuredContent`, where one is wanted: as `value`."""
    is_whole: bool
    """Whether that is all of it, as its schema lets nobody shorten it."""


def tokens_over(result: Result, limit: int) -> int | None:
    """How many tokens a model would read of it, if that is more than `limit`.

    That is the longer of its content and its `structuredContent`: most clients show one of them.
    """
    if type(result) is Spelt and len(result.text) <= limit:
        return None  # the usual case, told by the length: a byte is at most a token
    content = result.get("content")
    blocks = content if type(content) is list else ()
    structured = result.get("structuredContent")
    if structured is None and len(blocks) == 1:
        # The usual case, told by the length: a character is at most 4 bytes, so at most a token.
        text = blocks[0].get("text") if type(blocks[0]) is dict else None
        if type(text) is str and len(text) <= limit and len(blocks[0]) == 2:
            return None
    found = sum(map(_tokens_of_block, blocks))
    if structured is not None:
        found = max(found, tokens_of_bytes(len(encode(structured))))
    return found if found > limit else None


def _tokens_of_block(block: Any) -> int:
    if type(block) is dict:
        if _is_media(block):
            return 0
        text = block.get("text")
        if type(text) is str:
            return tokens(text)
    return tokens_of_bytes(len(encode(block)))


def _is_media(block: Json) -> bool:
    data = block.get("data")
    return block.get("type") in _MEDIA and type(data) is str and len(data) <= _MEDIA_BYTES_MAX


def prepared(result: Result, schema: Json | None) -> Long:
    """For a worker thread: it goes through all of it.

    Args:
        schema: The output schema by which clients check `structuredContent`.
    """
    content = result.get("content")
    blocks = content if type(content) is list else []
    kept, long = _split(blocks)
    structured = result.get("structuredContent")
    text, outline = _one_text(long, structured)
    digest = _digest(text) if outline is None else outline.digest
    document = Document(
        None if outline is None else outline.root, len(text), lambda start, end: text[start:end]
    )
    stub, is_whole = None, False
    if schema is not None and "structuredContent" in result:
        stub = shortened(structured, schema, _STRUCTURED_BYTES_MAX)
        if stub is None:
            stub, is_whole = {"value": structured}, True
    look = shape(document, (), document.root, _SHAPE_BYTES_MAX)
    example, place = _longest(document)
    is_array = kind_of(place) == "array"
    return Long(
        text, size_in_bytes(text), outline, digest, tuple(kept), look, example, is_array, stub, is_whole
    )


def _split(blocks: list[Any]) -> tuple[list[Any], list[Any]]:
    """Which blocks stay in the answer, and which are long."""
    sizes = [_size(block) for block in blocks]
    small = [size <= _BLOCK_BYTES_MAX for size in sizes]
    if sum(size for size, is_small in zip(sizes, small, strict=True) if is_small) > _BLOCKS_BYTES_MAX:
        small = [size == 0 for size in sizes]  # many of them are a long one together
    kept = [block for block, stays in zip(blocks, small, strict=True) if stays]
    return kept, [block for block, stays in zip(blocks, small, strict=True) if not stays]


def _size(block: Any) -> int:
    """In bytes, or something long of what is long: that is not written out for it."""
    if type(block) is dict:
        if _is_media(block):
            return 0
        text = block.get("text")
        if type(text) is str and len(text) > _BLOCK_BYTES_MAX:
            return len(text)
    return len(encode(block))


def _digest(text: str) -> bytes:
    found = hashlib.sha256()
    for piece in pieces(text):
        found.update(piece)
    return found.digest()


def _one_text(long: list[Any], structured: Any) -> tuple[str, Outline | None]:
    said, said_outline = _of_blocks(long)
    if structured is None or (long and _only_member(structured) == said):
        return said, said_outline
    if type(structured) is str:
        return (structured, None) if said in ("", structured) else _both(structured, long)
    text = encode(structured).decode()
    outline = outlined(text)
    if outline is None:  # a number, say, or deeper than is read by places
        return (text, None) if not long else _both(structured, long)
    if not long or _says(structured, outline, said_outline):
        return text, outline
    return _both(structured, long)


def _says(structured: Any, outline: Outline, said_outline: Outline | None) -> bool:
    """Whether content says what `structuredContent` does, or what its only member does."""
    if said_outline is None:
        return False
    if said_outline.digest == outline.digest:
        return True
    inner = _only_member(structured)
    if not isinstance(inner, dict | list):
        return False
    wrapped = outlined(encode(inner).decode())
    return wrapped is not None and wrapped.digest == said_outline.digest


def _only_member(structured: Any) -> Any:
    """SDKs wrap what is no object: `{"result": …}`."""
    return next(iter(structured.values())) if type(structured) is dict and len(structured) == 1 else None


def _of_blocks(long: list[Any]) -> tuple[str, Outline | None]:
    if not long:
        return "", None
    if len(long) == 1:
        text = _text_of(long[0])
        if text is not None:
            return text, outlined(text)
    parts = []
    for block in long:
        text = _text_of(block)
        is_json = text is not None and outlined(text) is not None
        parts.append(text if is_json and text is not None else encode(text or block).decode())
    whole = f"[{','.join(parts)}]"
    return whole, outlined(whole)


def _text_of(block: Any) -> str | None:
    text = block.get("text") if type(block) is dict and block.get("type") == "text" else None
    return text if type(text) is str else None


def _both(structured: Any, long: list[Any]) -> tuple[str, Outline | None]:
    whole = encode({"structuredContent": structured, "content": long}).decode()
    return whole, outlined(whole)


def _longest(document: Document) -> tuple[str, Place]:
    """The first long value that is no object, or what it is in."""
    where, place = "", document.root
    while not isinstance(place, Text) and kind_of(place) == "object":
        long = ((where + joined([key]), each) for key, each in document.members(place) if is_long(each))
        found = next(((there, each) for there, each in long if len(there) <= _POINTER_LENGTH_MAX), None)
        if found is None:
            break
        where, place = found
    return where, place


_ONLY_BEGINS: Final = "structuredContent has only the beginning of it.\n"


def short(result: Result, long: Long, id: str, count: int, limit: int) -> Result:
    """What the agent gets instead of `result`."""
    where = long.example
    reading: Json = {"id": id, "at": where, "from": 0, **({"count": 20} if long.is_array else {})}
    pointing = {"$result": id, "at": f"{where}/0" if long.is_array else where}
    begins = long.structured is not None and not long.is_whole
    text = (
        f"This result has about {count} tokens ({COUNTER}), more than {limit}: the hub keeps it for you.\n"
        f"{long.shape}\n{_ONLY_BEGINS if begins else ''}"
        f"Read on with hub__read, e.g. {encode(reading).decode()}, with `search` or `columns` too. To give a "
        f"value of it to another tool unread, write {encode(pointing).decode()} as the argument."
    )
    is_json = long.outline is not None
    link: Json = {
        "type": "resource_link",
        "uri": f"{RESULT_URI}{id}",
        "name": id,
        "mimeType": "application/json" if is_json else "text/plain",
        "size": long.size_bytes,
    }
    shown: Result = {key: value for key, value in result.items() if key != "structuredContent"}
    shown["content"] = [*long.blocks, {"type": "text", "text": text}, link]
    if long.structured is not None:
        shown["structuredContent"] = long.structured["value"]
    meta = result.get("_meta")
    about: Json = {"id": id, "tokens": count, "counter": COUNTER, "limit": limit}
    if begins:
        about["structuredContent"] = "shortened"
    shown["_meta"] = {**(meta if type(meta) is dict else {}), HANDLE_KEY: about}
    return shown
