"""What is over and long ago is deleted, and nothing that is live or that another row refers to."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from hub.audit.settings import FOR_EVER, Retention
from hub.audit.tidying import Tidying
from hub.identity.identity import Identities
from hub.identity.tokens import Terms
from hub.model import Agent
from hub.policy import Grants, Rule
from hub.sessions import Sessions
from hub.store import approvals, audit, calls, tokens
from hub.store.db import Store
from tests.audit_room import intent, result
from tests.clocks import Clock

pytestmark = pytest.mark.anyio

DAY = 86_400.0
GRANTS = Grants("me.yaml", may=(Rule("may[0]", ("*",), 3),))
ME = Agent("me", GRANTS)


async def ids(store: Store, table: str) -> set[str]:
    return await store.read(lambda it: {id for (id,) in it.execute(f"SELECT id FROM {table}")})


async def test_dead_tokens_go_after_a_month_with_all_their_children_and_the_chain_keeps_them(
    store: Store, clock: Clock
) -> None:
    identities = Identities(store, clock)
    identities.replace({"me": GRANTS})
    live, _ = await identities.issue("me")
    parent, _ = await identities.issue("me")
    children = [(await identities.issue("me", Terms(parent=parent)))[0] for _ in range(3)]
    grandchild, _ = await identities.issue("me", Terms(parent=children[0]))
    over, _ = await identities.issue("me", Terms(expires_seconds=1))
    tidying = Tidying(store, Sessions(store, clock), clock, FOR_EVER)
    await identities.revoke(parent)
    clock.ahead = 29 * DAY
    await tidying.sweep()
    assert await ids(store, "tokens") == {live, parent, *children, grandchild, over}
    late, _ = await identities.issue("me")
    await identities.revoke(late)
    clock.ahead = 31 * DAY
    await tidying.sweep()
    assert await ids(store, "tokens") == {live, late}
    said = await store.read(lambda it: [entry[3] for entry in audit.entries(it, 1, ("id",))])
    assert {parent, *children, grandchild, over} <= set(said)
    assert [row.id for row in await store.read(partial(tokens.live, now=int(clock.now() * 1000)))] == [live]


async def test_sessions_go_when_nothing_refers_to_them_and_nobody_uses_them(
    store: Store, clock: Clock
) -> None:
    kept = Sessions(store, clock)
    tidying = Tidying(store, kept, clock, Retention(calls=10 * DAY))

    async def opened(kind: Any) -> Any:
        return await kept.open(ME, kind=kind, version="2025-11-25", client={}, capabilities={})

    used, called, unused, pipe = [await opened(kind) for kind in ("legacy", "legacy", "legacy", "stdio")]
    await kept.current(ME, {})
    row = (*intent(1)._replace(session=called.id), *result(1))
    await store.write(partial(calls.write_rows, rows=[row]))
    for day in (5, 11):
        clock.ahead = day * DAY
        assert await kept.get(used.id, ME) is not None
    await tidying.sweep()
    assert await kept.get(unused.id, ME) is None, "closed"
    assert await kept.get(used.id, ME) is not None
    clock.ahead += 3700
    await tidying.sweep()
    assert await ids(store, "sessions") == {used.id, called.id, pipe.id}
    assert (await kept.current(ME, {})).id not in {used.id, called.id, pipe.id}, "a new one"
    # A hub that begins anew has no pipe of before.
    clock.ahead += 3700
    again = Tidying(store, Sessions(store, clock), clock, Retention(calls=10 * DAY))
    await again.sweep()
    clock.ahead += 3700
    await again.sweep()
    assert pipe.id not in await ids(store, "sessions")
    assert used.id in await ids(store, "sessions")


async def test_approvals_go_when_they_can_be_of_no_use(store: Store, clock: Clock) -> None:
    now = int(clock.now() * 1000)

    def row(id: str, **more: Any) -> approvals.ApprovalRow:
        digest = id.encode().ljust(32, b"\0")
        made = approvals.ApprovalRow(
            id, "me", None, "s1", "tools/call", "t", "s", "{}", "", digest, digest, "r", now, now + 3_600_000
        )
        return made._replace(**more)

    for each in (row("old"), row("waits", until=now + int(20 * DAY * 1000))):
        await store.write(partial(approvals.ask, new=each, most=10))
    clock.ahead = 11 * DAY
    for retention, left in ((FOR_EVER, {"old", "waits"}), (Retention(calls=10 * DAY), {"waits"})):
        await Tidying(store, Sessions(store, clock), clock, retention).sweep()
        assert await ids(store, "approvals") == left


async def test_a_call_in_a_session_that_was_closed_meanwhile_is_recorded_all_the_same(
    store: Store, clock: Clock
) -> None:
    kept = Sessions(store, clock)
    session = await kept.open(ME, kind="legacy", version="2025-11-25", client={}, capabilities={})
    clock.ahead = 30 * DAY
    with anyio.fail_after(20):
        await Tidying(store, kept, clock, Retention(calls=DAY)).sweep()
        await store.write(
            partial(calls.write_rows, rows=[(*intent(1)._replace(session=session.id), *result(1))])
        )
    assert await ids(store, "calls") == {"call000001"}
