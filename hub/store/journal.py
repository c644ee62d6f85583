"""What was recorded and is not in the database yet: a file that outlives the process.

A row is appended by copying it into shared memory, which the operating system writes out also
when the process is killed that very moment: what `synchronous=NORMAL` promises of a commit as
well. That costs 2 us where to wait for a commit costs 25 to 105, so the database gets its rows in
large groups, and nobody waits for them.

Two halves take turns: one is filled while the rows of the other go into the database, then that one
is begun anew. A row is a length, a checksum and its bytes; a length of 0 ends a half.
"""

from __future__ import annotations

import marshal
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["HALF_BYTES", "Journal"]

Row = tuple[Any, ...]

HALF_BYTES: Final = 4 * 1024 * 1024
_HEAD: Final = struct.Struct("<II")
_END: Final = bytes(4)
_FORMAT: Final = 2
"""Of `marshal`: one that every later Python reads."""


class Journal:
    """To be used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, made and given all its space where needed.

        Raises:
            OSError: it cannot be, or there is no space for it.
        """
        self.path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # All of it now: a disk that is full later is no reason to lose a row.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, 2 * HALF_BYTES)
            elif os.fstat(descriptor).st_size < 2 * HALF_BYTES:
                for _ in range(2):
                    os.write(descriptor, bytes(HALF_BYTES))
            self._memory = mmap.mmap(descriptor, 2 * HALF_BYTES)
        finally:
            os.close(descriptor)
        self._half = 0
        self._at = 0
        self._unwritten = [0, 0]

    def rows(self) -> Iterator[Row]:
        """All that a hub which ended left behind, of each half in order; a torn row ends a half."""
        for half in (0, 1):
            at, end = half * HALF_BYTES, (half + 1) * HALF_BYTES
            while at + _HEAD.size <= end:
                length, checksum = _HEAD.unpack_from(self._memory, at)
                at += _HEAD.size
                data = self._memory[at : at + length]
                if not 0 < length <= end - at or zlib.crc32(data) != checksum:
                    break
                yield marshal.loads(data)
                at += length

    def clear(self) -> None:
        """Forget all rows: they are in the database."""
        self._memory[0:4] = self._memory[HALF_BYTES : HALF_BYTES + 4] = _END
        self._half = self._at = 0
        self._unwritten = [0, 0]

    def append(self, row: Row) -> int | None:
        """Keep a row; returns what `written` is to be told of it, or `None` where there is no room."""
        data = marshal.dumps(row, _FORMAT)
        size = _HEAD.size + len(data)
        if self._at + size + len(_END) > HALF_BYTES and not self._turn(size):
            return None
        memory, start = self._memory, self._half * HALF_BYTES + self._at
        end = start + size
        # The end first, and then all at once: of a row that is not there whole, the checksum does not fit.
        memory[end : end + 4] = _END
        memory[start:end] = _HEAD.pack(len(data), zlib.crc32(data)) + data
        self._at += size
        self._unwritten[self._half] += 1
        return self._half

    @property
    def holds(self) -> bool:
        """Whether any row of it may not be in the database yet."""
        return self._unwritten != [0, 0]

    def written(self, half: int, rows: int = 1) -> None:
        """So many rows of that half are in the database."""
        self._unwritten[half] -= rows

    def wipe(self) -> bool:
        """Overwrite all that was ever kept, if all of it is in the database; whether it was. Takes 1 ms."""
        if self.holds:
            return False
        for half in (0, HALF_BYTES):
            self._memory[half : half + HALF_BYTES] = bytes(HALF_BYTES)
        self._half = self._at = 0
        return True

    def close(self) -> None:
        self._memory.close()

    def _turn(self, size: int) -> bool:
        """Begin the other half anew, if all its rows are in the database and the next one fits."""
        other = 1 - self._half
        if self._unwritten[other] or size + len(_END) > HALF_BYTES:
            return False
        self._half, self._at = other, 0
        self._memory[other * HALF_BYTES : other * HALF_BYTES + 4] = _END
        return True
