"""Who may do what, decided 100,000 times by chance: as the oracle says, for list and for call."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs

from hub.catalog import Catalog, Offer, Override, View
from hub.env import SystemEnv
from hub.hub import Hub
from hub.manifests import manifest
from hub.model import Agent, Call, Entry, Result
from hub.policy import Grants, decide
from hub.rules.judge import judge
from tests import oracle
from tests.policies import TOOLS, a_call, a_policy

DECISIONS = 100_000
CALLS_A_POLICY = 25
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": ["string", "null", "integer", "array"]}, "count": {}, "flag": {}},
}
A_MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


def grants_of(policy: dict[str, Any]) -> Grants:
    """As a manifest that says this is read, within what it is within."""
    text = json.dumps({"agent": "me", "may": policy["may"], "never": policy.get("never", [])})
    read = manifest.load_text(Path("manifests/me.yaml"), text)
    assert read.problems == (), (read.problems, policy)
    grants = read.agents["me"].grants()
    within = grants_of(policy["within"]) if "within" in policy else None
    return Grants(grants.file, grants.may, grants.never, within=within)


def catalog() -> Catalog:
    offers = []
    for server in sorted({tool["server"] for tool in TOOLS}):
        here = [tool for tool in TOOLS if tool["server"] == server]
        overrides = tuple(
            Override(tool["own"], annotations={"readOnlyHint": tool["reads_only"]}, tags=tuple(tool["tags"]))
            for tool in here
        )
        definitions = tuple({"name": tool["own"], "inputSchema": SCHEMA} for tool in here)
        offers.append(Offer(server, View(overrides=overrides), {"tool": definitions}))
    return Catalog.build(offers, 1)


def test_what_is_listed_and_what_is_called_is_what_the_oracle_says() -> None:
    """Threats T16, T17, T19: and no call is hidden by the schema that its agent is shown."""
    draw = random.Random(20261121)
    entries = {(entry.server, entry.own): entry for entry in catalog().entries["tool"]}
    outcomes: dict[str, int] = {
        "listed": 0,
        "not listed": 0,
        "sent": 0,
        "refused": 0,
        "changed": 0,
        "hidden": 0,
    }
    done = 0
    hub = Hub(SystemEnv(), _nowhere, _unwatched, catalog())
    while done < DECISIONS:
        policy = a_policy(draw)
        grants = grants_of(policy)
        shown = {(e.server, e.own): e for e in hub.entries(Agent("me", grants), "tool")}
        hub._sights.clear()
        for tool in TOOLS:
            entry = entries[tool["server"], tool["own"]]
            expected = oracle.listed(policy, tool)
            assert decide(grants, entry).allowed is expected is ((entry.server, entry.own) in shown), (
                policy,
                tool,
            )
            outcomes["listed" if expected else "not listed"] += 1
        done += len(TOOLS)
        for _ in range(CALLS_A_POLICY):
            tool, arguments, minute, day = a_call(draw)
            entry = entries[tool["server"], tool["own"]]
            sent = sent_by_us(grants, entry, arguments, minute, day)
            wanted = oracle.allowed(policy, tool, arguments, minute, day)
            assert json.dumps(sent) == json.dumps(wanted), (policy, tool, arguments, minute, day)
            outcomes["refused" if sent is None else "sent"] += 1
            outcomes["changed"] += sent is not None and sent != arguments
            if sent == arguments:
                schema = shown[tool["server"], tool["own"]].definition["inputSchema"]
                visible = {
                    key: value for key, value in sent.items() if key in schema["properties"] or key == "other"
                }
                # What is not shown is what the hub fills in.
                filled = sent_by_us(grants, entry, visible, minute, day)
                outcomes["hidden"] += filled != sent or not jsonschema_rs.is_valid(schema, visible)
        done += CALLS_A_POLICY
    assert outcomes["hidden"] == 0
    # The cases must be worth something.
    assert min(outcomes[key] for key in ("listed", "not listed", "sent", "refused")) > DECISIONS / 20, (
        outcomes
    )
    assert outcomes["changed"] > DECISIONS / 200, outcomes


def sent_by_us(grants: Grants, entry: Entry, arguments: Any, minute: int, day: int) -> Any:
    decision = decide(grants, entry)
    if not decision.allowed:
        return None
    at = (A_MONDAY + timedelta(days=day, minutes=minute)).timestamp()
    judged = judge(decision, entry, "tools/call", {"arguments": arguments}, at=at)
    return judged.params["arguments"] if judged.refusal is None else None


async def _nowhere(call: Call) -> Result:
    raise AssertionError(call)


def _unwatched(*_: Any) -> Any:
    raise AssertionError
