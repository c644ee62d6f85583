"""A session in few words: what fits into a budget of tokens, and what did not. Pure.

Lines are taken in an order that depends on the session alone: where it stands, its goal, what is not
known, what is open, then notes, pinned results, calls and memory, each with its most important line
first. Within a section nothing is skipped: what is left of it is always its beginning. Counted as
`hub.results.count` counts, and never over the budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hub.results.count import COUNTER, tokens, tokens_of_bytes

__all__ = ["Section", "brief"]


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    """Empty: its lines stand without one."""
    lines: Sequence[str]
    """The most important first. None holds a line break."""
    noun: str = ""
    """What its lines are called where they are left out; without one they are not counted."""
    elsewhere: str = ""
    """Where to read what is left out."""


def brief(sections: Sequence[Section], budget: int) -> str:
    """What fits of `sections`, in their order.

    Args:
        budget: In tokens, more than 0.

    Returns:
        A text of at most that many, with a line about what is left out where something is.
    """
    taken = [0] * len(sections)
    size = 0  # in bytes, with a line break for each line
    for index, section in enumerate(sections):
        for line in section.lines:
            more = _size(line) + (_size(_heading(section)) if section.title and not taken[index] else 0)
            taken[index] += 1
            if tokens_of_bytes(size + more + _size(_rest(sections, taken, budget)) - 1) > budget:
                taken[index] -= 1
                break
            size += more
    parts = [part for part in (_text(sections, taken), _rest(sections, taken, budget)) if part]
    text = "\n".join(parts)
    return text if any(taken) and tokens(text) <= budget else _least(sections, budget)


def _heading(section: Section) -> str:
    return f"## {section.title}"


def _size(line: str) -> int:
    """With its line break; nothing is not even a line."""
    return len(line.encode("utf-8", "surrogatepass")) + 1 if line else 0


def _text(sections: Sequence[Section], taken: Sequence[int]) -> str:
    lines: list[str] = []
    for section, count in zip(sections, taken, strict=True):
        if count:
            if section.title:
                lines.append(_heading(section))
            lines += section.lines[:count]
    return "\n".join(lines)


def _rest(sections: Sequence[Section], taken: Sequence[int], budget: int) -> str:
    """What was left out, and where it is."""
    by_place: dict[str, list[str]] = {}
    for section, count in zip(sections, taken, strict=True):
        left = len(section.lines) - count
        if left and section.noun:
            by_place.setdefault(section.elsewhere, []).append(f"{section.noun}: {left}")
    said = "; ".join(f"{', '.join(parts)} ({place})" for place, parts in by_place.items())
    return f"Left out to stay within {budget} tokens ({COUNTER}): {said}." if said else ""


def _least(sections: Sequence[Section], budget: int) -> str:
    """Where not even the first lines fit beside the word that something is left out."""
    first = next((section.lines[0] for section in sections if section.lines), "")
    for text in (
        f"{first}\nAll else is left out: ask hub__context for 300 tokens.",
        "All is left out: ask hub__context for 300 tokens.",
        "Ask for 300 tokens.",
        "300 tokens?",
        "...",
    ):
        if tokens(text) <= budget:
            return text
    raise ValueError("a budget is at least one token")
