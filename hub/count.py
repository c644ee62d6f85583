"""How long a text is for a model, as well as can be said without knowing which model.

No tokenizer: each model has its own, and all of them cost more than the calls that they would count.
Whatever keeps to a budget says that it counts so.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COUNTER", "tokens", "tokens_of_bytes"]

COUNTER: Final = "bytes/4"
"""What this way of counting is called."""

_BYTES_A_TOKEN: Final = 4


def tokens(text: str) -> int:
    """UTF-8 bytes / 4, rounded up."""
    # The length of ASCII is known without a copy.
    return tokens_of_bytes(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")))


def tokens_of_bytes(count: int) -> int:
    """The same, where the bytes are counted already."""
    return -(-count // _BYTES_A_TOKEN)
