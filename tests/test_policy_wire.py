"""What reaches a server is what the oracle allows: calls by chance, in both eras, over both transports."""

from __future__ import annotations

import json
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.app import open_app
from hub.home import Home
from hub.server import HttpApp
from hub.settings import Settings
from tests import oracle
from tests.app_room import front_of, until_ready
from tests.homes import write
from tests.policies import TOOLS, a_call, a_policy
from tests.raw_agents import STAMP, raw_agent
from tests.servers.dictated import Dictated

pytestmark = pytest.mark.anyio

CALLS = 5_000
AGENTS = 40
WAYS: Any = [(wire, era) for wire in ("http", "stdio") for era in ("modern", "legacy")]
SCHEMA = {"type": "object", "properties": {"path": {}, "count": {}, "flag": {}}}
SECONDS = 60


async def test_what_reaches_a_server_is_exactly_what_the_oracle_allows(tmp_path: Path) -> None:
    """Threats T16 and T9: no era and no transport decides differently."""
    draw = random.Random(20261122)
    policies = [timeless(a_policy(draw, depth=9)) for _ in range(AGENTS)]
    counts = {"sent": 0, "refused": 0, "unknown": 0}
    async with AsyncExitStack() as stack:
        servers = {}
        for era, name in (("modern", "git"), ("legacy", "files")):
            servers[name] = at = Dictated(era, name)  # type: ignore[arg-type]
            here = [tool for tool in TOOLS if tool["server"] == name]
            listed = [{"name": tool["own"], "inputSchema": SCHEMA} for tool in here]
            more = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}
            at.lists["tools/list"] = f'"result":{json.dumps({"tools": listed, **more})}'
            at.answer = '"result":{"content":[],"resultType":"complete"}'
            url = await stack.enter_async_context(at.listening())
            curated = {
                tool["own"]: {"tags": tool["tags"], "annotations": {"readOnlyHint": tool["reads_only"]}}
                for tool in here
            }
            write(tmp_path, name, server=name, connect={"url": url}, era=era, tools={"override": curated})
        for position, policy in enumerate(policies):
            write(tmp_path, f"a{position}", agent=f"a{position}", **policy)
        app = await stack.enter_async_context(open_app(Home.at(tmp_path), Settings()))
        assert app.manifests.problems == ()
        front = front_of(app)
        http = HttpApp(front, app.settings)
        with anyio.fail_after(SECONDS):
            await until_ready(app)
            for position, policy in enumerate(policies):
                name, (wire, era) = f"a{position}", WAYS[position % len(WAYS)]
                _, token = await app.identities.issue(name)
                local = app.identities.local(name)
                async with raw_agent(front, http, token, local, wire, era) as agent:
                    for _ in range(CALLS // AGENTS):
                        tool, arguments, _, _ = a_call(draw)
                        at = servers[tool["server"]]
                        at.asked = b""
                        called = f"{tool['server']}__{tool['own']}"
                        meta = {"_meta": STAMP} if era == "modern" else {}
                        params = {"name": called, "arguments": arguments, **meta}
                        answer = json.loads(await agent.ask("tools/call", called, json.dumps(params)))
                        wanted = oracle.allowed(policy, tool, arguments, 0, 0)
                        case = (policy, tool, arguments, answer)
                        if wanted is not None:
                            reached = json.loads(at.asked)["params"]
                            assert (reached["name"], reached["arguments"]) == (tool["own"], wanted), case
                            counts["sent"] += 1
                        else:
                            assert at.asked == b"", case
                            granted = oracle.listed(policy, tool)
                            if granted:
                                assert answer["result"]["isError"] is True, case
                                assert "Not allowed" in answer["result"]["content"][0]["text"], case
                            else:
                                assert answer["error"]["message"] == f"Unknown tool: {called}", case
                            counts["refused" if granted else "unknown"] += 1
        front.close()
    assert min(counts.values()) > CALLS / 10, counts


def timeless(policy: dict[str, Any]) -> dict[str, Any]:
    """Without times: a real hub has a real clock, whose minute may end in the middle of a call."""
    for rule in policy["may"]:
        if isinstance(rule, dict):
            rule.pop("when", None)
    return policy
