"""JSON Pointers (RFC 6901): ways to one place in a JSON text. Pure."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["joined", "split"]


def split(pointer: str) -> list[str]:
    """Its steps. The `/` at the beginning may be missing: there is nothing else that it could mean."""
    if not pointer:
        return []
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.removeprefix("/").split("/")]


def joined(steps: Iterable[str | int]) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
