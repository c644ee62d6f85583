"""How long to wait before asking again."""

from __future__ import annotations

__all__ = ["retry_wait_seconds"]


def retry_wait_seconds(failures: int, seed: bytes, *, base: float = 0.5, cap: float = 30.0) -> float:
    """How long to wait before starting a server again, after `failures` earlier failures in a row.

    Equal jitter: half of min(cap, base * 2**failures) seconds, and up to as much again at random,
    so that hubs which lost the same server do not all return at once, and none returns at once.

    Args:
        failures: 0 or more.
        seed: Random bytes; the same bytes give the same wait.

    Raises:
        ValueError: `failures` is negative.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if failures < 0:
        raise ValueError(f"failures must be 0 or more, not {failures}")
    whole = min(cap, base * 2.0 ** min(failures, 32))
    fraction = int.from_bytes(seed, "big") / (1 << 8 * len(seed)) if seed else 0.0
    return whole / 2 + whole / 2 * fraction
