"""Tokens that end, and that are for less than their agent may; what proves whom."""

from __future__ import annotations

import logging

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.errors import InvalidParams, Unauthorized
from hub.identity import scopes
from hub.identity.identity import Identities
from hub.identity.tokens import Terms
from hub.policy import Grants, Rule
from hub.store.db import Store
from tests.clocks import Clock
from tests.token_room import DAY, GRANTS, loaded, may, mutated, proved

pytestmark = pytest.mark.anyio


@pytest.fixture
async def identities(store: Store, clock: Clock) -> Identities:
    return await loaded(store, clock)


# Time


async def test_a_token_proves_nothing_from_its_end_on(
    identities: Identities, store: Store, clock: Clock
) -> None:
    """T10: expired."""
    _, short = await identities.issue("me", Terms(expires_seconds=30 * DAY))
    _, endless = await identities.issue("me")
    clock.ahead = 30 * DAY - 5
    agent = proved(identities, short)
    assert agent is not None
    assert identities.valid(agent)
    clock.ahead = 30 * DAY + 5
    assert not identities.valid(agent)
    assert identities.current(agent) is None
    for each in (identities, await loaded(store, clock)):
        assert proved(each, short) is None
        assert proved(each, endless) is not None


async def test_a_clock_that_was_set_back_wakes_no_token(identities: Identities, clock: Clock) -> None:
    _, token = await identities.issue("me", Terms(expires_seconds=60))
    clock.ahead = 61
    assert proved(identities, token) is None
    clock.ahead = 0
    assert proved(identities, token) is None


async def test_whoever_listens_hears_of_an_end_within_100_ms(identities: Identities, clock: Clock) -> None:
    """T18: what is open ends with the token, though nobody asks anything."""
    _, token = await identities.issue("me", Terms(expires_seconds=0.5))
    agent, late = proved(identities, token), anyio.Event()
    assert agent is not None
    ended: list[float] = []
    woken: list[float] = []

    def hear() -> None:
        if identities.current(agent) is None:
            ended.append(clock.now())
            late.set()

    async def wake() -> None:
        """When a busy machine lets this process go on, which is no matter of the hub's."""
        await anyio.sleep(0.5)
        woken.append(clock.now())

    identities.on_change(hear)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(identities.run)
            tasks.start_soon(wake)
            await late.wait()
            while not woken:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert len(ended) == 1
    assert ended[0] < woken[0] + 0.1


# Scope


async def test_a_scope_narrows_and_the_agents_own_rules_still_hold(
    identities: Identities, store: Store, clock: Clock
) -> None:
    scope = scopes.written(["git__*", "files__*"], ["git__log"])
    id, token = await identities.issue("me", Terms(scope))
    for each in (identities, await loaded(store, clock)):
        agent = proved(each, token)
        assert [name for name in ("git__status", "git__log", "git__push", "time__now", "files__read")
                if may(agent, name)] == ["git__status"]  # fmt: skip
        assert agent is not None
        assert agent.token == id
        assert agent.grants.file == f"token {id}"


async def test_a_scope_of_denials_alone_leaves_all_else(identities: Identities) -> None:
    _, token = await identities.issue("me", Terms(scopes.written((), ["git__*"])))
    agent = proved(identities, token)
    assert may(agent, "time__now")
    assert not may(agent, "git__log")


async def test_a_scope_may_say_what_a_manifests_rule_may(identities: Identities) -> None:
    scope = scopes.written(["{use: git__log, with: {repo: {const: /srv}}}"])
    _, token = await identities.issue("me", Terms(scope))
    agent = proved(identities, token)
    assert agent is not None
    (rule,) = agent.grants.may
    assert (rule.use, rule.with_) == (("git__log",), {"repo": {"const": "/srv"}})
    assert agent.grants.within is identities.local("me").grants


@pytest.mark.parametrize(
    ("may", "said"),
    [
        (["{use: [}"], "no YAML"),
        (["{uses: git__log}"], "may[0].uses"),
        ([""], "may[0]"),
        (["x"] * 65, "at most 64 rules"),
        (["x" * 1024] * 20, "bytes"),
    ],
)
def test_a_scope_that_cannot_be_used_is_refused_before_there_is_a_token(may: list[str], said: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        scopes.written(may)
    assert said in str(refused.value)


async def test_a_scope_that_no_version_understands_proves_nothing(
    identities: Identities, store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    id, token = await identities.issue("me", Terms('{"may": [{"use": "*", "hence": 1}]}'))
    with caplog.at_level(logging.WARNING):
        assert proved(identities, token) is None
    assert id in caplog.text
    assert token not in caplog.text


async def test_a_changed_manifest_reaches_narrower_tokens_and_widens_none(identities: Identities) -> None:
    """T18: also for what is open, which asks for the agent of now."""
    _, token = await identities.issue("me", Terms(scopes.written(["git__*"])))
    before = proved(identities, token)
    assert before is not None
    identities.replace({"me": Grants("me.yaml", (Rule("may[0]", ("*",), 2),))})
    assert not identities.valid(before)
    now = identities.current(before)
    assert now is not None
    assert now == proved(identities, token)
    assert may(now, "git__push")
    assert not may(now, "time__now")
    assert identities.current(now) is now, "nothing has changed since"
    identities.replace({"other": GRANTS})
    assert identities.current(now) is None


# What proves whom


async def test_every_header_proves_the_agent_that_its_token_was_issued_for_or_none(
    identities: Identities, store: Store, clock: Clock
) -> None:
    """T10: live, scoped, child, counted, over, revoked, orphaned and foreign tokens, whole and mutated."""
    issued: dict[str, str] = {}
    for agent in ("me", "other"):
        parent, token = await identities.issue(agent)
        issued[token] = agent
        for terms in (
            Terms(scopes.written(["git__*"])),
            Terms(expires_seconds=DAY),
            Terms(calls=1),
            Terms(parent=parent),
        ):
            issued[(await identities.issue(agent, terms))[1]] = agent
    dead, root = [], (await identities.issue("me"))[0]
    dead.append((await identities.issue("me", Terms(parent=root)))[1])
    await identities.revoke(root)
    dead.append((await identities.issue("me", Terms(expires_seconds=1)))[1])
    clock.ahead = 2

    known = [f"Bearer {token}" for token in issued]
    near = st.sampled_from(
        [*known, *(f"bEaReR {token}" for token in issued), *(f"Bearer {each}" for each in dead)]
    )

    headers = st.one_of(
        st.none(), near, mutated(near), st.text(),
        st.from_regex(r"\A[Bb]earer (hub_)?[A-Za-z0-9_-]{0,60}(\.[A-Za-z0-9_-]{0,20}){0,3}\Z"),
    )  # fmt: skip

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(headers)
    def check(header: str | None) -> None:
        try:
            agent = identities.identify(header)
        except Unauthorized:
            exact = header is not None and header[:7].lower() == "bearer " and header[7:] in issued
            assert not exact
            return
        assert header is not None
        assert header[:7].lower() == "bearer "
        assert agent.name == issued[header[7:]]

    check()
