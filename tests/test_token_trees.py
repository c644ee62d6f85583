"""Tokens made from tokens: never wider, ended with their parent; and the calls that they are good for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.errors import InvalidParams, NotFound, Refused, TokenSpent
from hub.identity import scopes
from hub.identity.identity import Identities, issue_offline
from hub.identity.tokens import Terms
from hub.model import Agent
from hub.policy import Grants, Rule, decide, named
from hub.store import tokens
from hub.store.db import Store
from tests.clocks import Clock
from tests.token_room import DAY, loaded, may, proved

pytestmark = pytest.mark.anyio


@pytest.fixture
async def identities(store: Store, clock: Clock) -> Identities:
    return await loaded(store, clock)


PATTERNS = st.lists(
    st.sampled_from(["*", "a__*", "b__*", "*__x", "a__x", "a__y", "b__x", "?__y"]), max_size=3
)

CUTS = st.tuples(PATTERNS, PATTERNS, st.none() | st.integers(1000, 1100), st.none() | st.integers(1, 5))


async def test_no_token_is_ever_wider_than_what_it_came_from(store: Store, clock: Clock) -> None:
    """T16: over chains of generated scopes, ends and numbers of calls; also after a restart."""
    names = ["a__x", "a__y", "b__x", "b__y", "c__z"]
    chains: list[list[str]] = []

    def allowed(identities: Identities, token: str) -> set[str]:
        return {name for name in names if may(proved(identities, token), name)}

    async def check(
        own: tuple[list[str], list[str]], cuts: list[tuple[list[str], list[str], int, int]]
    ) -> None:
        identities = Identities(store, clock)
        grants = Grants("me.yaml", (Rule("may[0]", tuple(own[0]), 1),), (Rule("never[0]", tuple(own[1]), 2),))
        identities.replace({"me": grants})
        parent: str | None = None
        chain: list[str] = []
        for use, deny, seconds, calls in cuts:
            terms = Terms(scopes.written(use, deny), seconds, calls, parent)
            parent, token = await identities.issue("me", terms)
            chain.append(token)
        again = Identities(store, clock)
        again.replace({"me": grants})
        await again.load()
        before = {name for name in names if decide(grants, named("tool", *name.split("__"))).allowed}
        for token in chain:
            now = allowed(identities, token)
            assert now <= before
            assert allowed(again, token) == now
            before = now
        rows = {row.id: row for row in await store.read(tokens.list_tokens)}
        for row in rows.values():
            if row.parent is not None:
                above = rows[row.parent]
                assert above.expires is None or (row.expires is not None and row.expires <= above.expires)
                assert above.calls is None or (row.calls is not None and row.calls <= above.calls)
        await store.write(partial(tokens.revoke_all, agent="me", when=1))
        chains.append(chain)

    cases: list[tuple[tuple[list[str], list[str]], list[tuple[list[str], list[str], int, int]]]] = []

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.tuples(PATTERNS, PATTERNS), st.lists(CUTS, min_size=1, max_size=4))
    def collect(own: tuple[list[str], list[str]], cuts: list[tuple[list[str], list[str], int, int]]) -> None:
        cases.append((own, cuts))

    collect()
    for own, cuts in cases:
        await check(own, cuts)
    assert len(chains) >= 40


# Children


async def test_a_revoked_parent_ends_the_whole_tree_at_once(
    identities: Identities, store: Store, clock: Clock
) -> None:
    """T18: and nothing else."""
    root, root_token = await identities.issue("me")
    child, child_token = await identities.issue("me", Terms(parent=root))
    _, grandchild_token = await identities.issue("me", Terms(parent=child))
    _, sibling_token = await identities.issue("me", Terms(parent=root))
    _, stranger_token = await identities.issue("me")
    tree = [proved(identities, token) for token in (child_token, grandchild_token)]
    heard: list[list[bool]] = []
    identities.on_change(lambda: heard.append([each is not None and identities.valid(each) for each in tree]))
    assert await identities.revoke(child)
    assert heard == [[False, False]]
    for each in (identities, await loaded(store, clock)):
        assert [proved(each, token) is not None
                for token in (root_token, child_token, grandchild_token, sibling_token, stranger_token)
                ] == [True, False, False, True, True]  # fmt: skip
    assert await identities.revoke(root)
    for each in (identities, await loaded(store, clock)):
        assert proved(each, sibling_token) is None
        assert proved(each, stranger_token) is not None


async def test_a_child_ends_with_its_parent_whatever_it_was_to_be(
    identities: Identities, clock: Clock
) -> None:
    parent, _ = await identities.issue("me", Terms(expires_seconds=60))
    _, child = await identities.issue("me", Terms(expires_seconds=DAY, parent=parent))
    assert proved(identities, child) is not None
    clock.ahead = 61
    assert proved(identities, child) is None


async def test_an_agent_mints_from_the_token_that_it_came_with_and_from_nothing_else(
    identities: Identities, clock: Clock
) -> None:
    id, token = await identities.issue("me", Terms(scopes.written(["git__*"])))
    agent = proved(identities, token)
    assert agent is not None
    _, minted = await identities.mint(agent, scopes.written(["git__log", "time__now"]), 60, 3)
    child = proved(identities, minted)
    assert child is not None
    assert child.counted
    assert [may(child, name) for name in ("git__log", "git__status", "time__now")] == [True, False, False]
    with pytest.raises(Refused, match="needs a parent"):
        await identities.mint(identities.local("me"))
    await identities.revoke(id)
    for dead in (agent, child):
        with pytest.raises(Refused, match="needs a parent"):
            await identities.mint(dead)


async def test_a_parent_is_a_live_token_of_the_same_agent(identities: Identities, clock: Clock) -> None:
    """T11: another agent's token is as unknown as none."""
    theirs, _ = await identities.issue("other")
    over, _ = await identities.issue("me", Terms(expires_seconds=1))
    clock.ahead = 2
    sentences = set()
    for parent in (theirs, over, "01nothing"):
        with pytest.raises(NotFound) as refused:
            await identities.issue("me", Terms(parent=parent))
        sentences.add(str(refused.value).replace(parent, "ID"))
    assert len(sentences) == 1


async def test_children_are_bounded_in_number_and_in_generations(
    identities: Identities, store: Store
) -> None:
    first = parent = (await identities.issue("me"))[0]
    for _ in range(tokens.DEPTH_MAX - 1):
        parent, _ = await identities.issue("me", Terms(parent=parent))
    with pytest.raises(InvalidParams, match="generations"):
        await identities.issue("me", Terms(parent=parent))
    rows = [tokens.NewToken(f"c{n}", "me", n.to_bytes(32, "big"), 1, parent=first) for n in range(993)]
    await store.write(lambda connection: [tokens.add(connection, row) for row in rows])
    with pytest.raises(InvalidParams, match="1000 live child tokens"):
        await identities.issue("me", Terms(parent=first))


async def test_a_child_can_be_made_where_no_hub_runs(
    identities: Identities, store: Store, clock: Clock, tmp_path: Path
) -> None:
    parent, _ = await identities.issue("me", Terms(scopes.written(["git__*"])))
    id, token = issue_offline(tmp_path / "hub.db", "me", clock, Terms(expires_seconds=DAY, parent=parent))
    agent = proved(await loaded(store, clock), token)
    assert agent is not None
    assert agent.token == id
    assert not may(agent, "time__now")
    with pytest.raises(NotFound):
        issue_offline(tmp_path / "hub.db", "other", clock, Terms(parent=parent))


# Number of calls


async def test_a_number_of_calls_is_exact_among_many_at_once_and_over_a_restart(
    identities: Identities, store: Store, clock: Clock
) -> None:
    """A child's calls are its parent's too: 200 at once, never more than either allows."""
    parent, parent_token = await identities.issue("me", Terms(calls=50))
    child, child_token = await identities.issue("me", Terms(calls=30, parent=parent))
    agents = [proved(identities, token) for token in (parent_token, child_token)]
    made = {parent_token: 0, child_token: 0}

    async def call(agent: Agent, token: str) -> None:
        try:
            await identities.spend(agent)
        except TokenSpent:
            return
        made[token] += 1

    async with anyio.create_task_group() as tasks:
        for number in range(200):
            agent = agents[number % 2]
            assert agent is not None
            tasks.start_soon(call, agent, (parent_token, child_token)[number % 2])
    assert sum(made.values()) == 50
    assert made[child_token] <= 30
    rows = {row.id: row for row in await store.read(tokens.list_tokens)}
    assert (rows[parent].spent, rows[child].spent) == (50, made[child_token])
    again = await loaded(store, clock)
    for token in (parent_token, child_token):
        agent = proved(again, token)
        assert agent is not None, "it still proves who asks: lists are no calls"
        with pytest.raises(TokenSpent, match="used up"):
            await again.spend(agent)


async def test_nothing_is_counted_where_one_of_two_is_used_up(identities: Identities, store: Store) -> None:
    parent, _ = await identities.issue("me", Terms(calls=5))
    child, token = await identities.issue("me", Terms(calls=2, parent=parent))
    agent = proved(identities, token)
    assert agent is not None
    for _ in range(2):
        await identities.spend(agent)
    with pytest.raises(TokenSpent):
        await identities.spend(agent)
    rows = {row.id: row.spent for row in await store.read(tokens.list_tokens)}
    assert (rows[parent], rows[child]) == (2, 2)


async def test_a_revoked_token_makes_no_call_that_was_about_to_be_made(identities: Identities) -> None:
    id, token = await identities.issue("me", Terms(calls=5))
    agent = proved(identities, token)
    assert agent is not None
    await identities.revoke(id)
    with pytest.raises(Refused):
        await identities.spend(agent)
