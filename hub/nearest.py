"""What somebody probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

__all__ = ["did_you_mean", "nearest"]

_LENGTH_MAX: Final = 100


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that is most like this one, if any is alike."""
    if len(word) > _LENGTH_MAX:
        return None
    # Of two long ones, the time would grow with the product of their lengths.
    short = [each for each in known if len(each) <= _LENGTH_MAX]
    found = difflib.get_close_matches(word.lower(), short, 1, 0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A sentence: the nearest of the keys that are known, or all of them."""
    near = nearest(word, known)
    return f"Did you mean '{near}'?" if near is not None else f"Known keys: {', '.join(known)}."
