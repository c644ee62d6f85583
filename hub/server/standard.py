"""This process's stdin and stdout as a byte stream that waits without a thread.

Descriptors keep their blocking mode, which other processes may share: reading waits until there is
something, writing until a small piece fits. While it is open, whatever else this process prints
goes to stderr: stdout carries messages only.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

__all__ = ["standard_streams"]

_READ_BYTES: Final = 64 * 1024


@contextmanager
def standard_streams() -> Iterator[tuple[Callable[[], Awaitable[bytes]], Callable[[bytes], Awaitable[None]]]]:
    """`(receive, send)`: the next bytes (raises `anyio.EndOfStream`), and room for bytes."""
    sys.stdout.flush()
    source, target = os.dup(0), os.dup(1)
    os.dup2(2, 1)

    async def receive() -> bytes:
        while True:
            await _wait(anyio.wait_readable, source)
            try:
                data = os.read(source, _READ_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise anyio.EndOfStream
            return data

    unsent = bytearray()

    async def send(data: bytes) -> None:
        # What is cancelled half-way leaves its rest, which goes before all that follows.
        unsent.extend(data)
        while unsent:
            await _wait(anyio.wait_writable, target)
            try:
                # A pipe that can be written to takes this much without waiting (POSIX).
                del unsent[: os.write(target, unsent[: select.PIPE_BUF])]
            except BlockingIOError:
                continue

    try:
        yield receive, send
    finally:
        sys.stdout.flush()
        os.dup2(target, 1)
        os.close(source)
        os.close(target)


async def _wait(until: Callable[[int], Awaitable[None]], descriptor: int) -> None:
    try:
        await until(descriptor)
    except PermissionError:
        # A plain file: it is always ready, and cannot be waited for.
        await anyio.lowlevel.checkpoint()
