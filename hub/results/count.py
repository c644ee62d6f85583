"""How long a text is for a model, as well as can be said without knowing which model.

No tokenizer: each model has its own, and all of them cost more than the calls that they would count.
Whatever keeps to a budget says that it counts so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["COUNTER", "pieces", "size_in_bytes", "tokens", "tokens_of_bytes"]

COUNTER: Final = "bytes/4"
"""What this way of counting is called."""

_BYTES_A_TOKEN: Final = 4
_PIECE: Final = 1024**2


def tokens(text: str) -> int:
    """UTF-8 bytes / 4, rounded up."""
    return tokens_of_bytes(size_in_bytes(text))


def tokens_of_bytes(count: int) -> int:
    """The same, where the bytes are counted already."""
    return -(-count // _BYTES_A_TOKEN)


def size_in_bytes(text: str) -> int:
    """In UTF-8, without a copy of all of a long text."""
    return len(text) if text.isascii() else sum(map(len, pieces(text)))


def pieces(text: str) -> Iterator[bytes]:
    """In UTF-8, some at a time."""
    return (text[at : at + _PIECE].encode("utf-8", "surrogatepass") for at in range(0, len(text), _PIECE))
