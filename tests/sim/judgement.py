"""What must hold after a run: of the rows, the receipts of the servers, and what agents were told."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import Any

from hub.audit.chain import verify
from hub.audit.sources import DatabaseSource
from hub.route import ROUTE
from tests.sim.agents import GRANTED
from tests.sim.servers import NONCE
from tests.sim.world import World

__all__ = ["judge"]


def judge(world: World) -> None:
    """Tell the world of each thing that does not hold, after an orderly end."""
    assert world.graves
    home = world.graves[-1].home
    connection = sqlite3.connect(home.database)
    try:
        said = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if said != "ok":
            world.wrong("store", f"the database is damaged: {said}")
        report = verify(DatabaseSource(connection))
        if report.broken is not None:
            world.wrong("audit", f"the chain does not verify: {report.broken}")
        columns = "id, agent, server, tool, params, state, kind, reason, result, attempts"
        rows = connection.execute(f"SELECT {columns} FROM calls ORDER BY id").fetchall()
    finally:
        connection.close()
    _judge_rows(world, [_Row(*row) for row in rows])


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    agent: str
    server: str | None
    tool: str
    params: str
    state: str
    kind: str | None
    reason: str | None
    result: str | None
    attempts: int

    @property
    def nonce(self) -> str:
        arguments = json.loads(self.params).get("arguments") or {}
        return str(arguments.get(NONCE, ""))


def _judge_rows(world: World, rows: list[_Row]) -> None:
    by_nonce: dict[str, list[_Row]] = {}
    for row in rows:
        by_nonce.setdefault(row.nonce, []).append(row)
        if row.state == "intended":
            world.wrong("I3", f"call {row.id} ({row.nonce}) is still 'intended' after an orderly end")
    times = Counter((receipt.nonce, receipt.tool) for receipt in world.receipts)
    for receipt in world.receipts:
        mine = by_nonce.get(receipt.nonce, [])
        called = f"{receipt.server}__{receipt.tool}"
        if not receipt.safe:
            world.wrong("I1", f"{called} was done for {receipt.nonce} before its intent was safe")
        agent = receipt.nonce.split("-")[1]
        if called not in GRANTED[agent]:
            world.wrong("I2", f"{called} was done for {agent}, who may not use it")
        if receipt.tool == "look":
            continue
        if not any(row.tool == called and row.state != "refused" for row in mine):
            world.wrong("I1", f"{called} was done for {receipt.nonce}, and its row says: {_said(mine)}")
        # What a manifest calls idempotent may be made again, where a manifest says so.
        if times[receipt.nonce, receipt.tool] > 1 and receipt.tool != "put":
            world.wrong(
                "I4", f"{called} was done {times[receipt.nonce, receipt.tool]} times for {receipt.nonce}"
            )
        honest = [row for row in mine if row.state in ("done", "failed", "unknown")]
        if not any(row.kind != "transport" or row.state == "unknown" for row in honest):
            world.wrong("honesty", f"{called} was done for {receipt.nonce}, and its row says: {_said(mine)}")
    first: dict[str, str] = {}
    for ack in world.acks:
        _judge_ack(world, ack, by_nonce.get(ack.nonce, []))
        if ack.key is not None and ack.kind == "result":
            content = json.loads(ack.said)["content"]
            if first.setdefault(ack.key, content) != content:
                world.wrong("I4", f"{ack.key} was answered in two ways: {first[ack.key]} and {content}")


def _said(rows: list[_Row]) -> str:
    return ", ".join(f"{row.tool} {row.state} {row.kind} {row.reason}" for row in rows) or "there is none"


def _judge_ack(world: World, ack: Any, rows: list[_Row]) -> None:
    if ack.tool not in GRANTED[ack.agent] and ack.kind in ("result", "tool_error"):
        world.wrong("I2", f"{ack.agent} got an answer of {ack.tool}: {ack.said[:100]}")
    wanted = {"result": "done", "tool_error": "failed"}.get(ack.kind)
    if wanted is None or (ack.kind == "tool_error" and ack.nonce not in ack.said):
        return
    if ack.nonce not in ack.said:
        world.wrong("I6", f"the answer to {ack.nonce} is another's: {ack.said[:100]}")
    stands_in = ROUTE in ack.said
    outcomes = [row for row in rows if (row.tool == ack.tool) != stands_in and row.state == wanted]
    if ack.kind == "tool_error":
        outcomes = [row for row in outcomes if row.kind == "tool_error"]
    if len(outcomes) != 1 and (ack.key is None or not outcomes):
        world.wrong("I3", f"{ack.nonce} was answered with a {ack.kind}; its rows say: {_said(rows)}")
