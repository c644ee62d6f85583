"""What was done can be looked at: one call as a tree, one session whole, and gone when it is deleted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hub.admin.admin import Admin
from hub.audit.report import verified
from hub.commands import alone, client, session_files, trace
from hub.failure import Failure
from hub.home import Home
from hub.model import Json
from hub.store import approvals, lookback, memory, notes
from hub.store.approvals import ApprovalRow
from hub.store.calls import CallFilter, CallRow, Intent, Outcome, list_calls
from hub.store.forgetting import truncate_log
from hub.store.journal import Journal
from tests.audit_room import made, opened, report_of
from tests.commands import DESK, furnish, hub, serving
from tests.house import headers_of, modern
from tests.hub_room import Room, asker, room

pytestmark = pytest.mark.anyio

WORD = "m4rzipan"
FILLED_IN = {"action": "accept", "content": {"name": "Tea"}}


async def calls_of(it: Room) -> list[CallRow]:
    """The oldest first."""
    return (await it.app.store.read(lambda db: list_calls(db, CallFilter())))[::-1]


async def test_the_rounds_of_questions_of_a_call_are_one_tree_whichever_is_asked_for(tmp_path: Path) -> None:
    servers = {"it": {"connect": asker(tmp_path / "log", "--modern")}}
    async with room(tmp_path, servers) as it, it.http() as http:
        params: Json = {"name": "it__ask", "arguments": {"times": 2}}
        answer = await it.ask(http, "tools/call", params, {"elicitation": {}})
        for _ in range(2):
            state = answer["result"]["requestState"]
            more = {"inputResponses": {"it": FILLED_IN}, "requestState": state}
            answer = await it.ask(http, "tools/call", {**params, **more}, {"elicitation": {}})
        await it.ask(http, "tools/call", params, {"elicitation": {}})  # another one
        rows = await calls_of(it)
        first, _, last, _ = rows
        trees = [await it.app.store.read(lambda db, id=row.id: trace.trace(db, id)) for row in rows]  # type: ignore[misc]
    assert trees[0] == trees[1] == trees[2] != trees[3]
    tree = trees[0]
    assert (tree["id"], tree["state"], len(tree["rounds"])) == (first.id, "done", 3)
    assert [list(each["asked"]) for each in tree["rounds"]] == [["it"], ["it"], []]
    assert [each["answers"] for each in tree["rounds"]] == [{}, {"it": FILLED_IN}, {"it": FILLED_IN}]
    assert tree["duration_ms"] >= tree["rounds"][2]["at_ms"] >= tree["rounds"][1]["at_ms"] >= 0
    said = "\n".join(trace.lines(tree))
    assert f"└─ +{tree['rounds'][2]['at_ms']} ms {last.id} at it (ask): done" in said
    assert 'asked it: elicitation/create {"message": "Who?"' in said
    assert "│  └─ " in said


async def test_what_a_server_tells_meanwhile_is_kept_with_its_call(tmp_path: Path) -> None:
    async with room(tmp_path, {"desk": {"connect": {"command": DESK}}}) as it, it.http() as http:
        params: Json = {"name": "desk__work", "arguments": {}, "_meta": {"progressToken": "p"}}
        body = modern("tools/call", params)
        body["params"]["_meta"]["progressToken"] = "p"
        assert (await http.post(it.url, json=body, headers=headers_of(body))).status_code == 200
        (row,) = await calls_of(it)
        admin = Admin(it.app)
        shown = await admin.call(row.id[:12])
        said = "\n".join(trace.lines(await admin.call_trace(row.id)))
    (told,) = shown["told"]
    assert told["method"] == "notifications/progress"
    assert told["params"]["message"] == "half done"
    assert (shown["params"]["name"], shown["sent"]) == ("desk__work", None)
    assert 'told notifications/progress: {"' in said


async def test_a_call_that_is_told_more_than_is_kept_says_so_and_its_agent_gets_all(tmp_path: Path) -> None:
    servers = {"it": {"connect": asker(tmp_path / "log", "--modern")}}
    async with room(tmp_path, servers) as it, it.http() as http:
        await it.ask(http, "tools/call", {"name": "it__ask", "arguments": {"times": 0}}, {})
        (row,) = await calls_of(it)
        heard: list[Json] = []
        call = it.app.hub.new_call(
            it.app.identities.local("me"), row.session, "tools/call", {"name": "it__ask"},
            notify=lambda method, params: heard.append(params),
        )  # fmt: skip
        ear = it.app.parts.ear(call)
        assert ear is not None
        for number in range(500):
            ear("notifications/progress", {"progress": number, "password": "s3cret"})
        await it.app.hub.call(call)
        await it.app.parts.flush()
        shown = await it.app.store.read(lambda db: trace.call(db, call.id))
    assert [each["progress"] for each in heard] == [*range(500)]
    assert (len(shown["told"]), shown["told_more"]) == (199, True)
    assert shown["told"][0]["params"] == {"progress": 0, "password": "[redacted: password]"}


def files_with(folder: Path, word: str) -> list[str]:
    """The files below a folder in which it stands."""
    found = []
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root) / name
            if path.is_file() and word.encode() in path.read_bytes():
                found.append(name)
    return found


def typed(text: str) -> Json:
    return {"name": "desk__typed", "agent": "me", "pairs": [f"text={text}"]}


def test_what_a_session_held_is_in_no_file_once_it_is_deleted_and_the_chain_is_whole(tmp_path: Path) -> None:
    home = furnish(tmp_path / "home")
    with serving(home):
        it = client.find(Home.at(home))
        assert it is not None
        for text in (WORD, WORD * 2000):
            it.ask("tool_call", typed(text))
        session = it.ask("sessions")[0]["id"]
        assert files_with(home / ".hub", WORD)
        held = it.ask("session", {"id": session})["holds"]
        assert (held["calls"], held["payloads"]) == (2, 2)
        gone = it.ask("session_delete", {"id": session})
        assert gone["deleted"]["calls"] == 2
        assert gone["files_clean"] is True
        assert files_with(home / ".hub", WORD) == []
        # The next call is in another session; the deleted one is closed, and still says that it was.
        it.ask("tool_call", typed("more"))
        sessions = it.ask("sessions")
        assert [each["id"] == session for each in sessions] == [False, True]
        assert sessions[1]["closed"] is not None
        (_, first) = it.ask("calls", {"session": session})
        shown = it.ask("call", {"id": first["id"]})
        assert (shown["tool"], shown["params"], shown["result"]) == ("desk__typed", None, None)
        assert shown["result_bytes"] > 0
    report = verified(Home.at(home), None, None, None, None)
    assert (report.broken, report.payloads_deleted) == (None, 4)  # of two entries each


def test_a_session_is_deleted_where_no_hub_runs_and_its_export_has_all_of_it_before(tmp_path: Path) -> None:
    home = furnish(tmp_path / "home")
    at = Home.at(home)
    alone.do(at, "tool_call", {**typed(WORD), "given": None}, print)
    session = alone.do(at, "sessions", {}, print)[0]["id"]
    # What a killed hub had not put into its database yet is of the session as well.
    journal = Journal(at.database.with_name("hub.db.journal"))
    late = Intent("late00", session, "me", None, "desk", "tools/call", "x", "x", f'"{WORD}"', 9, 1)
    journal.append((*late, *Outcome("done")))
    journal.close()
    session_files.exported(at, session, tmp_path / "all")
    head, call, last = [json.loads(line) for line in (tmp_path / "all").read_text().splitlines()]
    assert head["session"]["id"] == session
    assert call["call"]["params"]["arguments"] == {"text": WORD}
    assert last["call"]["id"] == "late00"
    assert oct((tmp_path / "all").stat().st_mode & 0o777) == "0o600"
    said = hub(home, "sessions", "delete", session)
    assert said.err.startswith("Deleted: 2 calls. The record keeps that there was the session")
    assert files_with(home / ".hub", WORD) == []
    report = verified(at, None, None, None, None)
    assert (report.broken, report.payloads_deleted) == (None, 3)
    with pytest.raises(Failure, match="There is no session 'nothing'"):
        alone.do(at, "session_delete", {"id": "nothing"}, print)


async def test_only_a_deletion_that_the_chain_tells_of_is_none_that_breaks_it(tmp_path: Path) -> None:
    path = made(tmp_path / "hub.db", 5)
    with opened(path) as connection:
        connection.execute("BEGIN")
        session_files.forget(connection, "s1", 1, "ann (uid 501)")
        connection.execute("COMMIT")
    report = report_of(path)
    assert (report.broken, report.payloads_deleted) == (None, 10)  # of two entries each
    with opened(path) as connection:
        connection.execute("UPDATE calls SET session = 's2' WHERE id = 'call000001'")
    broken = report_of(path).broken
    assert broken is not None and broken.call == "call000001"


async def test_a_session_of_which_something_is_under_way_is_not_deleted(tmp_path: Path) -> None:
    path = made(tmp_path / "hub.db", 1)
    with opened(path) as connection:
        connection.execute("UPDATE calls SET state = 'intended'")
        assert lookback.under_way(connection, "s1") == 1
        with pytest.raises(Failure, match="Session s1 has 1 call under way"):
            session_files.forget(connection, "s1", 1, "ann")


async def test_what_retention_deletes_takes_what_was_told_along(tmp_path: Path) -> None:
    servers = {"it": {"connect": asker(tmp_path / "log", "--modern")}}
    async with room(tmp_path, servers) as it, it.http() as http:
        await it.ask(http, "tools/call", {"name": "it__ask", "arguments": {"times": 0}}, {})
        (row,) = await calls_of(it)
        it.app.parts.keep(row.id, 1, "notified", "n/x", "{}")
        await it.app.parts.flush()

        def count(db: object) -> int:
            found: int = db.execute("SELECT count(*) FROM parts").fetchone()[0]  # type: ignore[attr-defined]
            return found

        assert await it.app.store.read(count) == 1
        from hub.store import audit

        _, last = await it.app.store.read(audit.bounds)
        await it.app.store.write(lambda db: audit.delete_payloads(db, 0, last))
        assert await it.app.store.read(count) == 0


def test_a_tree_has_what_was_asked_of_a_task_and_who_approved_it(tmp_path: Path) -> None:
    path = made(tmp_path / "hub.db", 2)
    with opened(path) as connection:
        id, asking = "call000000", '{"taskId":"t1"}'
        connection.execute("UPDATE calls SET result = ? WHERE id = ?", (asking, id))
        connection.execute(
            "UPDATE calls SET method = 'tasks/get', params = ?, result = ? WHERE id = 'call000001'",
            (asking, '{"taskId":"t1","status":"working"}'),
        )
        row = ApprovalRow(
            "a1", "me", None, "s1", "tools/call", "git__commit", "git", "{}", "", bytes(32), bytes(32), "r",
            100, 500, "used", 400, "ann (uid 501)", None, 450, id,
        )  # fmt: skip
        approvals.ask(connection, row, 10)
        connection.execute("UPDATE approvals SET call = ?, state = 'used'", (id,))
        tree = trace.trace(connection, id)
    (only,) = tree["rounds"]
    assert only["tasks"][0]["status"] == "working"
    assert only["approvals"] == [{"id": "a1", "state": "used", "by": "ann (uid 501)", "waited_ms": 300}]
    said = "\n".join(trace.lines(tree))
    assert "approval a1: used by ann (uid 501) after 300 ms" in said
    assert "+1000 ms tasks/get: working" in said


async def test_notes_memory_and_results_go_with_their_session_and_others_stay(tmp_path: Path) -> None:
    path = made(tmp_path / "hub.db", 1)
    with opened(path) as connection:
        for owner in ("s1", "s2"):
            row = memory.MemoryRow("session", owner, "key", f"{WORD}{owner}", 9, "me", owner, "c", 1, None)
            memory.put(connection, row)
        memory.put(connection, row._replace(scope="agent", owner="me"))
        notes.add(connection, notes.NoteRow("s1", 1, "c", WORD, None))
        held = lookback.held(connection, "s1")
        assert (held["calls"], held["payloads"], held["notes"], held["memory"]) == (1, 1, 1, 1)
        connection.execute("BEGIN")
        gone = session_files.forget(connection, "s1", 1, "ann")
        connection.execute("COMMIT")
        assert (gone.notes, gone.memory) == (1, 1)
        kept = connection.execute("SELECT scope, owner FROM memory ORDER BY owner").fetchall()
        assert kept == [("agent", "me"), ("session", "s2")]
    assert truncate_log(path)
    assert f"{WORD}s1".encode() not in path.read_bytes()
    assert f"{WORD}s2".encode() in path.read_bytes()
