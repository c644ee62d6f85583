"""What servers' processes wrote for people, as the hub keeps it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["last_lines"]

_LINE_BYTES = 4096


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a file that others append to; `[]` where there is none.

    Reads no more than so many lines can be long.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - count * _LINE_BYTES)
            file.seek(start)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    return lines[1 if start and len(lines) > count else 0 :][-count:]
