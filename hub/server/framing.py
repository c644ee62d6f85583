"""Bytes as they come to lines: one JSON-RPC message each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import anyio

__all__ = ["messages"]


async def messages(
    receive: Callable[[], Awaitable[bytes]], first: bytes, bytes_max: int
) -> AsyncIterator[bytes | None]:
    """Each line without its end; `None` for one that is too long (the rest of it is skipped)."""
    pieces: list[bytes] = []
    size, skipping, chunk = 0, False, first
    while True:
        *complete, rest = chunk.split(b"\n")
        for end in complete:
            if not skipping and size + len(end) > bytes_max:
                yield None
            elif not skipping:
                yield b"".join([*pieces, end])
            pieces, size, skipping = [], 0, False
        if rest and not skipping:
            pieces.append(rest)
            size += len(rest)
            if size > bytes_max:
                pieces, skipping = [], True
                yield None
        try:
            chunk = await receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            break
    if pieces:
        yield b"".join(pieces)
