"""A credential proves exactly one agent, or none; what is revoked is dead at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.env import SystemEnv
from hub.errors import NotFound, Unauthorized
from hub.identity.identity import Identities, issue_offline
from hub.model import Agent
from hub.policy import Grants, Rule
from hub.store import tokens
from hub.store.db import Store
from tests.token_room import mutated

pytestmark = pytest.mark.anyio

GRANTS = Grants("me.yaml", may=(Rule("may[0]", ("*",), 2),))


@pytest.fixture
async def identities(store: Store) -> Identities:
    return await loaded(store)


async def loaded(store: Store) -> Identities:
    identities = Identities(store, SystemEnv())
    identities.replace({"me": GRANTS, "other": Grants("other.yaml")})
    await identities.load()
    return identities


def proves_nothing(identities: Identities, authorization: str | None) -> bool:
    """Whether a header is refused, with the very answer that none at all gets."""
    with pytest.raises(Unauthorized) as nothing:
        identities.identify(None)
    try:
        identities.identify(authorization)
    except Unauthorized as refused:
        return str(refused) == str(nothing.value)
    return False


async def test_a_token_proves_its_agent_until_it_is_revoked(identities: Identities, store: Store) -> None:
    id, token = await identities.issue("me")
    assert re.fullmatch(r"hub_[A-Za-z0-9_-]{43}", token)
    for scheme in ("Bearer", "bearer", "BEARER"):
        agent = identities.identify(f"{scheme} {token}")
        assert agent == Agent("me", GRANTS, id)
        assert identities.identify(f"{scheme} {token}") is agent, "the second time from memory"
    assert identities.valid(agent)
    assert await identities.revoke(id)
    assert proves_nothing(identities, f"Bearer {token}")
    assert not identities.valid(agent)
    assert not await identities.revoke(id), "it is dead already"
    assert proves_nothing(await loaded(store), f"Bearer {token}")


async def test_tokens_outlive_the_hub_but_only_their_hashes_are_kept(
    identities: Identities, store: Store, tmp_path: Path
) -> None:
    id, token = await identities.issue("me")
    assert (await loaded(store)).identify(f"Bearer {token}").token == id
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("hub.db*"))
    assert id.encode() in kept
    assert token.encode() not in kept
    assert token.removeprefix("hub_").encode() not in kept


async def test_no_unknown_header_proves_an_agent(identities: Identities) -> None:
    """Ours: every header but the exact ones, however near to one, gets one and the same answer."""
    _, token = await identities.issue("me")
    _, revoked = await identities.issue("other")
    await identities.revoke((await identities.issue("other"))[0])
    await identities.remove("other")
    known = re.compile(rf"bearer {re.escape(token)}", re.IGNORECASE).fullmatch
    near = st.sampled_from([f"Bearer {token}", f"Bearer {revoked}", token])

    headers = st.one_of(
        st.text(),
        st.text().map("Bearer ".__add__),
        st.from_regex(r"\ABearer hub_[A-Za-z0-9_-]{43}\Z"),
        mutated(near),
        near.map(lambda header: header.replace("Bearer", "Basic")),
        near.map(lambda header: header + " "),
        near.map(lambda header: f"{header}, {header}"),
        st.sampled_from([f"Bearer  {token}", f" Bearer {token}", f"Bearer\t{token}", f"Bearer {token}\n"]),
    ).filter(lambda header: not known(header) or not header.endswith(token))

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(headers)
    def check(header: str) -> None:
        assert proves_nothing(identities, header)

    check()
    assert identities.identify(f"Bearer {token}").name == "me"


async def test_rotating_gives_one_new_token_and_ends_all_older_ones(
    identities: Identities, store: Store
) -> None:
    older = [(await identities.issue("me"))[1] for _ in range(2)]
    _, others = await identities.issue("other")
    token = await identities.rotate("me")
    for each in (identities, await loaded(store)):
        assert each.identify(f"Bearer {token}").name == "me"
        assert each.identify(f"Bearer {others}").name == "other"
        assert all(proves_nothing(each, f"Bearer {old}") for old in older)


async def test_a_removed_agent_is_gone_and_its_tokens_stay_dead_when_the_name_returns(
    identities: Identities,
) -> None:
    _, token = await identities.issue("me")
    local = identities.local("me")
    await identities.remove("me")
    assert proves_nothing(identities, f"Bearer {token}")
    assert not identities.valid(local)
    with pytest.raises(NotFound, match="no agent 'me'"):
        identities.local("me")
    with pytest.raises(NotFound):
        await identities.issue("me")
    identities.replace({"me": GRANTS})
    assert proves_nothing(identities, f"Bearer {token}")


async def test_only_the_agents_whose_grants_changed_must_be_proved_anew(identities: Identities) -> None:
    mine, others = identities.local("me"), identities.local("other")
    _, token = await identities.issue("me")
    proved = identities.identify(f"Bearer {token}")
    identities.replace(
        {"me": Grants("me.yaml", may=GRANTS.may), "other": Grants("other.yaml", may=GRANTS.may)}
    )
    assert identities.valid(mine)
    assert identities.valid(proved)
    assert not identities.valid(others)
    identities.replace({"other": GRANTS})
    assert not identities.valid(proved)
    assert proves_nothing(identities, f"Bearer {token}")


async def test_listeners_hear_of_every_change_that_may_take_something_away_when_it_is_in_force(
    identities: Identities,
) -> None:
    id, token = await identities.issue("me")
    agent = identities.identify(f"Bearer {token}")
    heard: list[bool] = []
    unsubscribe = identities.on_change(lambda: heard.append(identities.valid(agent)))
    await identities.issue("me")
    await identities.revoke(id)
    identities.replace({})
    assert heard == [False, False]
    unsubscribe()
    await identities.remove("me")
    assert len(heard) == 2


async def test_a_token_made_without_a_hub_counts_when_one_starts(store: Store, tmp_path: Path) -> None:
    id, token = issue_offline(tmp_path / "hub.db", "me", SystemEnv())
    assert (await loaded(store)).identify(f"Bearer {token}").token == id


async def test_when_a_token_was_last_used_is_noted(identities: Identities, store: Store) -> None:
    id, token = await identities.issue("me")
    unused, _ = await identities.issue("me")
    identities.identify(f"Bearer {token}")
    identities.flush()
    await store.write(lambda connection: None)
    used = {row.id: row.used is not None for row in await store.read(tokens.list_tokens)}
    assert used == {id: True, unused: False}
