"""How much of long requests is in memory at once: of all agents, and of one. No I/O.

A request is counted from when its body is wanted until it is answered, by what it says that it will send:
so that many who begin to send and never end, or whose calls take long, cost what is written here. What has
come in one piece with its head is not counted: that is most of them, and a few ten KiB each.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

__all__ = ["ALL_BYTES_MAX", "OWN_BYTES_MAX", "Bodies"]

ALL_BYTES_MAX: Final = 256 * 1024 * 1024
OWN_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one credential."""


class Bodies:
    def __init__(self) -> None:
        self._all = 0
        self._own: Counter[bytes] = Counter()

    def take(self, owner: bytes, size: int) -> bool:
        """Whether there is room. Who has none there may add one, unless twice as much is there."""
        own = self._own[owner]
        most = ALL_BYTES_MAX if own else 2 * ALL_BYTES_MAX
        if self._all + size > most or own + size > max(OWN_BYTES_MAX, size):
            return False
        self._all += size
        self._own[owner] = own + size
        return True

    def leave(self, owner: bytes, size: int) -> None:
        self._all -= size
        self._own[owner] -= size
        if self._own[owner] <= 0:
            del self._own[owner]
