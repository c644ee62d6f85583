"""Which agent the claims of a checked token of another issuer stand for. Pure.

An agent's manifest says which: the issuer, and claims that the token must have. Where a token fits
two agents it proves neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Claims", "Identified", "named_by"]


@dataclass(frozen=True, slots=True)
class Identified:
    """One way in which an agent is known to an issuer."""

    issuer: str
    claims: tuple[tuple[str, str], ...]
    """Claims that must be there and be this, or, where the token has a list, hold this. At least one."""

    def fits(self, claims: Claims) -> bool:
        if claims.get("iss") != self.issuer:
            return False
        return bool(self.claims) and all(_says(claims.get(name), value) for name, value in self.claims)


Claims = Mapping[str, Any]
"""Of a token whose signature, issuer, audience and time have been checked."""


def named_by(claims: Claims, agents: Mapping[str, tuple[Identified, ...]]) -> tuple[str, ...]:
    """The names of all agents that these claims fit, in order."""
    return tuple(sorted(name for name, known in agents.items() if any(each.fits(claims) for each in known)))


def _says(said: Any, wanted: str) -> bool:
    if isinstance(said, list | tuple):
        return any(isinstance(each, str) and each == wanted for each in said)
    return isinstance(said, str) and said == wanted
