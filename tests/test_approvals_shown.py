"""Calls that wait for a person, where the agent's own user can be shown the way there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hub.model import Json
from tests.approving import (
    LONG,
    URL_CAPABLE,
    append,
    approve,
    approving,
    pending,
    receipts,
    result_of,
    rows,
    said,
)
from tests.hub_room import asker

pytestmark = pytest.mark.anyio


async def test_a_client_that_can_show_addresses_is_asked_for_its_users_attention(tmp_path: Path) -> None:
    """Specification 2026-07-28, client/elicitation, "URL Mode"; ours: the address itself approves nothing."""
    async with approving(tmp_path) as it, it.http() as http:
        asked = await append(it, http, capabilities=URL_CAPABLE)
        assert asked["resultType"] == "input_required"
        question = asked["inputRequests"]["approval"]
        row = await pending(it)
        assert question["method"] == "elicitation/create" and question["params"]["mode"] == "url"
        assert f"hub approvals approve {row.id}" in question["params"]["message"]
        state = asked["requestState"]
        more = {"requestState": state, "inputResponses": {"approval": {"action": "accept"}}}
        assert said(await append(it, http, "k", URL_CAPABLE, **more)).startswith("Pending")
        await approve(it)
        other = await append(it, http, "other", URL_CAPABLE, **more)
        assert other["isError"] and "for another call" in said(other)
        assert said(await append(it, http, "k", URL_CAPABLE, **more)) == "k"
        again = await append(it, http, "k", URL_CAPABLE, **more)
        assert again["isError"] and receipts(tmp_path) == ["k"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_client_shows_its_user_where_to_go(tmp_path: Path, mode: Any) -> None:
    """The same through a client of both eras, whose user goes there and approves."""
    from mcp_types import ElicitResult

    shown: list[str] = []
    async with approving(tmp_path, LONG) as it:

        async def elicited(context: Any, params: Any) -> ElicitResult:
            shown.append(params.url)
            await approve(it)
            return ElicitResult(action="accept")

        async with it.client(mode, elicitation_callback=elicited) as client:
            result: Any = await client.call_tool("ledger__append", {"key": "k"})
            assert result.content[0].text == "k", result
        (row,) = await rows(it)
        assert shown == [f"hub://approvals/{row.id}"] and receipts(tmp_path) == ["k"]


async def test_a_user_who_declines_withdraws_the_call(tmp_path: Path) -> None:
    async with approving(tmp_path, LONG) as it, it.http() as http:
        state = (await append(it, http, capabilities=URL_CAPABLE))["requestState"]
        more = {"requestState": state, "inputResponses": {"approval": {"action": "decline"}}}
        declined = await append(it, http, "k", URL_CAPABLE, **more)
        assert declined["isError"] and [row.state for row in await rows(it)] == ["withdrawn"]


async def test_an_approved_call_may_be_asked_by_its_server_and_each_round_counts_once(tmp_path: Path) -> None:
    """Ours: a repeated answer would be a second call, which nobody approved."""
    servers = {
        "box": {
            "connect": asker(tmp_path / "log", "--modern")["command"] and asker(tmp_path / "log", "--modern")
        }
    }
    rule = {"use": ["box__ask"], "ask": "human"}
    async with approving(tmp_path, rule=rule, servers=servers) as it, it.http() as http:
        params = {"name": "box__ask", "arguments": {"times": 2}}
        form: Json = {"elicitation": {"form": {}}}
        assert said(await result_of(it, http, params, form)).startswith("Pending")
        await approve(it)
        first = await result_of(it, http, params, form)
        answers = {"inputResponses": {"it": {"action": "accept", "content": {"name": "n"}}}}
        second = await result_of(it, http, {**params, **answers, "requestState": first["requestState"]}, form)
        assert second["resultType"] == "input_required"
        for stale in (first, first):
            again = await result_of(
                it, http, {**params, **answers, "requestState": stale["requestState"]}, form
            )
            assert again["isError"] and "only once" in said(again)
        done = await result_of(it, http, {**params, **answers, "requestState": second["requestState"]}, form)
        assert "accept" in said(done)
        sent = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        calls = [each for each in sent if each.get("method") == "tools/call"]
        assert [each["params"].get("requestState") for each in calls] == [None, "1", "2"]
        assert "hub/approval" not in json.dumps(calls)
