"""Threats T2, T8, T21, T32 from behind: a server that says too much, too often, or what it should not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from connectors.stderr import harmless
from hub.catalog import Catalog, Offer
from hub.cli.output import clean, print_fields, print_json
from hub.env import SystemEnv
from hub.hub import Hub
from hub.model import Agent
from hub.policy import Grants, Rule
from hub.server.streams import Notes
from hub.upstreams.freshness import pause_seconds
from hub.upstreams.learn import Known
from tests.homes import done, running, write
from tests.hub_room import SECONDS_MAX, asker, nothing, room, unwatched
from tests.sources import ROOT

SPRAWLING = str(ROOT / "tests" / "servers" / "sprawling.py")
CAN: dict[str, Any] = {"elicitation": {}}
MEGABYTE = 1024 * 1024


def test_t2_t32_a_server_that_says_too_much_costs_itself_and_writes_no_line_in_the_log(
    tmp_path: Path,
) -> None:
    for mode in ("wide", "long", "scrawls", "refuses"):
        connect = {"command": [sys.executable, SPRAWLING, mode]}
        write(tmp_path, mode, server=mode, connect=connect, start="eager", era="legacy")
    with running(tmp_path) as hub:
        for name, state in (
            ("wide", "ready"),
            ("long", "failed"),
            ("scrawls", "ready"),
            ("refuses", "failed"),
        ):
            hub.until(f"{name}: {state}")
        hub.until("resources/list was refused")
        hub.until("long: failed: .*longer than 33554432 bytes")
        wide = done(tmp_path, "servers", "show", "wide", "--json").json
        assert "larger than" in str(wide) and "x" * 1000 not in str(wide)
        hub.end()
    lines = hub.said.splitlines()
    assert not any(line.startswith("WARNING hub: all is well") for line in lines)
    assert any(line.startswith("    WARNING hub: all is well") for line in lines)
    assert "\x1b" not in hub.said and "\u202e" not in hub.said and "\x07" not in hub.said


def test_t24_no_server_can_offer_what_is_the_hubs_own_under_its_name() -> None:
    offers = [
        Offer("aaa", definitions={"template": ({"uriTemplate": "{+uri}", "name": "any"},)}),
        Offer(
            "bbb",
            definitions={
                "resource": ({"uri": "hub://results/1", "name": "mine"},),
                "template": ({"uriTemplate": "hub://results/{id}", "name": "mine"},),
            },
        ),
        Offer("hub", definitions={"template": ({"uriTemplate": "hub://results/{id}", "name": "result"},)}),
    ]
    catalog = Catalog.build(offers, 1)
    hub = Hub(SystemEnv(), nothing, unwatched, catalog)
    agent = Agent("me", Grants("me.yaml", (Rule("may[0]", ("*",), 1),)))
    for uri, server in (
        ("hub://results/1", "hub"), ("hub://results/x?from=1", "hub"), ("hub+bbb:hub://results/1", "bbb"),
        ("file:///x", "aaa"),
    ):  # fmt: skip
        entry = hub.new_call(agent, "s", "resources/read", {"uri": uri}).entry
        assert entry is not None and entry.server == server, uri
    assert hub.new_call(agent, "s", "resources/read", {"uri": "hub://other/1"}).entry is None


UNSEEN = (
    "\x1b[31m", "\x1b]8;;http://x\x07", "\x9b1m", "\u202e", "\u200b", "\U000e0041", "\U000e0100", "\u206a",
    "\xad", "\r",
)  # fmt: skip


@pytest.mark.parametrize("unseen", UNSEEN)
def test_t21_what_a_terminal_obeys_or_nobody_sees_is_in_nothing_that_people_are_shown(
    unseen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"a{unseen}b"
    assert clean(said, one_line=True) == "ab"
    assert unseen not in harmless(said)
    print_json({"said": said})
    shown = capsys.readouterr().out
    assert unseen not in shown and json.loads(shown)["said"] == said


def test_t21_no_line_of_what_a_server_says_looks_like_one_of_the_hubs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_fields({"title": "nice\nstate: ready\r\npinned: yes", "state": "failed"})
    assert capsys.readouterr().out.splitlines() == [
        "title: nice",
        "    state: ready",
        "    pinned: yes",
        "state: failed",
    ]


def test_t8_the_longer_a_servers_lists_the_less_often_they_are_read_again() -> None:
    def seconds(tools: int) -> float:
        return pause_seconds(Known("2025-11-25", {}, {}, None, {"tool": ({},) * tools, "prompt": ()}))

    assert pause_seconds(None) == seconds(1) == seconds(2000) == 1.0
    assert seconds(20_000) == 10.0


def test_t2_what_a_slow_reader_is_told_waits_within_bounds() -> None:
    notes = Notes()
    for n in range(1000):
        notes.add(b"%d" % n)
    assert notes.take() == [b"%d" % n for n in range(744, 1000)]
    for n in range(40):
        notes.add(b"%d" % n + b"x" * MEGABYTE)
    taken = notes.take()
    assert sum(map(len, taken)) <= 4 * MEGABYTE and taken[-1].startswith(b"39x")
    notes.add(b"x" * 9 * MEGABYTE)
    assert len(notes.take()) == 1 and not notes


@pytest.mark.anyio
async def test_t5_an_agent_that_answers_no_question_leaves_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.upstreams.parking._PARKED_OF_AGENT_MAX", 2)
    call = {"name": "q__ask", "arguments": {}}
    servers = {"q": {"connect": asker(tmp_path / "log")}}
    async with room(tmp_path, servers) as it, it.http("me") as me, it.http("other") as other:
        with anyio.fail_after(SECONDS_MAX):
            for expected in ("input_required", "input_required", None):
                answer = await it.ask(me, "tools/call", call, CAN)
                assert answer.get("result", {}).get("resultType") == expected, answer
            assert "Too many calls wait" in answer["error"]["message"]
            answer = await it.ask(other, "tools/call", call, CAN)
            assert answer["result"]["resultType"] == "input_required"
