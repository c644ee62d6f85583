"""One call as a tree: its rounds of questions and answers, what was sent and told, tasks, approvals.

An older call's questions are rows of their own in the record; they belong together by the state that each
question carries. Plain functions of a connection and of rows; no event loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from hub import records
from hub.counted import counted
from hub.model import Json
from hub.store import lookback, reading
from hub.store.calls import CallRow
from hub.store.parts import PartRow, parts_of
from hub.store.results import uses_of

if TYPE_CHECKING:
    import sqlite3

__all__ = ["call", "lines", "trace"]

_BRIEF: Final = 160
_TASK_ID: Final = "taskId"


def call(connection: sqlite3.Connection, id: str) -> Json:
    """One call, with exactly what was sent and what came back. Raises `Failure`: there is none."""
    row = reading.get_call(connection, id)
    shown = records.call(row, id)
    parts = parts_of(connection, [shown["id"]])
    sent = next((records.value_of(part.params) for part in parts if part.kind == "sent"), None)
    told = [_told(part) for part in parts if part.kind == "notified"]
    references = [records.reference(use) for use in uses_of(connection, shown["id"])]
    more = any(part.kind == "more" for part in parts)
    return {**shown, "sent": sent, "references": references, "told": told, "told_more": more}


def trace(connection: sqlite3.Connection, id: str) -> Json:
    """The tree that a call stands in, from its first round on. Raises `Failure`: there is no such call.

    Returns:
        `rounds`, each a call with `at_ms` (since the first began), `attempts`, `sent`, `told`, `asked`,
        `answers`, `approvals` and `tasks`; and of the whole `id`, `tool`, `state`, `duration_ms` and so on.
    """
    found = reading.get_call(connection, id)
    if found is None:
        records.call(found, id)  # says so
    assert found is not None
    rows = [*_rounds(connection, _first(connection, found))]
    first, last = rows[0], rows[-1]
    rounds = [_round(connection, row, first.started) for row in rows]
    ended = last.started + (last.duration_us or 0) / 1000
    return {
        **records.calls([first])[0],
        "state": last.state,
        "kind": last.kind,
        "reason": last.reason,
        "method": first.method,
        "duration_ms": None if last.duration_us is None else round(ended - first.started, 3),
        "working_ms": round(sum((row.duration_us or 0) for row in rows) / 1000, 3),
        "rounds": rounds,
    }


def lines(tree: Json) -> Iterator[str]:
    """The tree as people read it."""
    whole = _ms(tree["duration_ms"])
    yield f"{tree['id']} {tree['method']} {tree['tool']}: {tree['state']}, {whole}"
    yield f"by {tree['agent']} in session {tree['session']} at {tree['started']}"
    rounds = tree["rounds"]
    for number, each in enumerate(rounds):
        last = number == len(rounds) - 1
        yield f"{'└─' if last else '├─'} {_round_line(each)}"
        inner = [*_inner_lines(each)]
        for position, line in enumerate(inner):
            mark = "└─" if position == len(inner) - 1 else "├─"
            yield f"{'  ' if last else '│ '} {mark} {line}"


def _first(connection: sqlite3.Connection, row: CallRow) -> CallRow:
    for _ in range(lookback.ROUNDS_MAX):
        state = _member(row.params, "requestState")
        before = lookback.asked_by(connection, row.session, state) if isinstance(state, str) else None
        if before is None:
            return row
        row = before
    return row


def _rounds(connection: sqlite3.Connection, row: CallRow) -> Iterator[CallRow]:
    """A call and those that went on with it, in their order."""
    seen = {row.id}
    waiting = [row]
    while waiting and len(seen) <= lookback.ROUNDS_MAX:
        row = waiting.pop(0)
        yield row
        state = _member(row.result, "requestState")
        if row.kind == "input_required" and isinstance(state, str):
            after = lookback.answered_by(connection, row.session, state)
            waiting += [each for each in after if each.id not in seen]
            seen.update(each.id for each in after)


def _round(connection: sqlite3.Connection, row: CallRow, began: int) -> Json:
    parts = parts_of(connection, [row.id])
    asked = _member(row.result, "inputRequests")
    task = _member(row.result, _TASK_ID) or _member(row.result, "task", _TASK_ID)
    tasks = lookback.task_calls(connection, row.session, task) if isinstance(task, str) else []
    return {
        "id": row.id,
        "at_ms": row.started - began,
        "duration_ms": None if row.duration_us is None else row.duration_us / 1000,
        "state": row.state,
        "kind": row.kind,
        "reason": row.reason,
        "server": row.server,
        "own_name": row.own,
        "attempts": row.attempts,
        "answers": _member(row.params, "inputResponses") or {},
        "sent": any(part.kind == "sent" for part in parts),
        "told": [{**_told(part), "at_ms": part.at - began} for part in parts if part.kind == "notified"],
        "asked": asked if isinstance(asked, dict) else {},
        "approvals": [
            {
                "id": each.id,
                "state": each.state,
                "by": each.decider,
                "waited_ms": None if each.decided is None else each.decided - each.asked,
            }
            for each in lookback.approvals_of(connection, row.id)
        ],
        "tasks": [
            {
                "id": each.id,
                "method": each.method,
                "at_ms": each.started - began,
                "state": each.state,
                "status": _member(each.result, "status"),
            }
            for each in tasks
        ],
        "result_bytes": row.result_bytes,
        "error": records.value_of(row.error),
    }


def _told(part: PartRow) -> Json:
    return {"at": records.moment(part.at), "method": part.method, "params": records.value_of(part.params)}


def _member(text: str | None, *keys: str) -> Any:
    found = records.value_of(text)
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _round_line(each: Json) -> str:
    attempts = "" if each["attempts"] == 1 else f", {each['attempts']} attempts"
    where = f" at {each['server']} ({each['own_name']})" if each["server"] else ""
    why = f" ({each['reason'] or each['kind']})" if each["reason"] or each["kind"] else ""
    return (
        f"+{each['at_ms']} ms {each['id']}{where}: {each['state']}{why}, {_ms(each['duration_ms'])}{attempts}"
    )


def _inner_lines(each: Json) -> Iterator[str]:
    for approval in each["approvals"]:
        waited = f" after {approval['waited_ms']} ms" if approval["waited_ms"] is not None else ""
        yield f"approval {approval['id']}: {approval['state']} by {approval['by'] or 'nobody'}{waited}"
    for key, answer in each["answers"].items():
        yield f"answered {key}: {_brief(answer)}"
    if each["sent"]:
        yield "sent with what the hub filled in: `hub calls show` has it"
    for told in each["told"]:
        yield f"+{told['at_ms']} ms told {told['method']}: {_brief(told['params'])}"
    for key, question in each["asked"].items():
        asked = question if isinstance(question, dict) else {}
        yield f"asked {key}: {asked.get('method')} {_brief(asked.get('params'))}"
    for task in each["tasks"]:
        yield f"+{task['at_ms']} ms {task['method']}: {task['status'] or task['state']}"
    if each["error"]:
        yield f"error: {_brief(each['error'])}"
    elif each["result_bytes"] is not None and not each["asked"]:
        yield f"result: {counted(each['result_bytes'], 'byte')}"


def _brief(value: Any) -> str:
    text = records.text_of(value)
    return text if len(text) <= _BRIEF else text[: _BRIEF - 1] + "…"


def _ms(milliseconds: float | None) -> str:
    return "still open" if milliseconds is None else f"{milliseconds:g} ms"
