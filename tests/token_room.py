"""Agents who prove themselves by tokens, over a real store."""

from __future__ import annotations

from hypothesis import strategies as st

from hub.errors import Unauthorized
from hub.identity.identity import Identities
from hub.model import Agent
from hub.policy import Grants, Rule, decide, named
from hub.store.db import Store
from tests.clocks import Clock

GRANTS = Grants(
    "me.yaml", (Rule("may[0]", ("git__*", "time__*"), 2),), (Rule("never[0]", ("git__push",), 3),)
)

DAY = 24 * 3600.0


async def loaded(store: Store, clock: Clock) -> Identities:
    identities = Identities(store, clock)
    identities.replace({"me": GRANTS, "other": Grants("other.yaml", GRANTS.may)})
    await identities.load()
    return identities


def proved(identities: Identities, token: str) -> Agent | None:
    try:
        return identities.identify(f"Bearer {token}")
    except Unauthorized:
        return None


def may(agent: Agent | None, name: str) -> bool:
    assert agent is not None
    return decide(agent.grants, named("tool", *name.split("__"))).allowed


def mutated(headers: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One of them, with one character taken out, replaced by another, or by two."""

    def put(parts: tuple[str, int, str]) -> str:
        header, position, text = parts
        return header[: position % len(header)] + text + header[position % len(header) + 1 :]

    return st.tuples(headers, st.integers(0, 200), st.text(max_size=2)).map(put)
