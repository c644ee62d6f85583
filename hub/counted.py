"""Numbers of things, as people write them: `1 call`, `2 calls`."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, noun: str, several: str | None = None) -> str:
    """
    Args:
        noun: Of one.
        several: Of any other number, where that is not the same with an `s`.
    """
    return f"{count} {noun if count == 1 else several or noun + 's'}"
