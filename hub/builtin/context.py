"""`hub__context`, the tool and the prompt: what a session is about and where it stands, within a budget.

For an agent whose window is full or that begins anew: in the order in which it would miss it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from hub.brief import Section, brief
from hub.builtin.definitions import CONTEXT, CONTEXT_PROMPT
from hub.builtin.memory import start_of
from hub.builtin.own import OwnPrompt, OwnTool, Wrong, said
from hub.counted import counted
from hub.env import Env
from hub.model import Call, Json, Result
from hub.records import moment
from hub.store import brief as reading
from hub.store import memory
from hub.store.brief import Gathered, LastCall
from hub.store.memory import MemoryRow

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["ContextTool"]

_TOKENS: Final = 2000
_TOKENS_MAX: Final = 100_000
_MEMORY_MAX: Final = 20
_LINE_LENGTH: Final = 160
_TEXT_LENGTH: Final = 4096
_MORE: Final = "hub__context with more tokens"


class ContextTool:
    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env

    @property
    def tool(self) -> OwnTool:
        return OwnTool.of(CONTEXT, self._run)

    @property
    def prompt(self) -> OwnPrompt:
        return OwnPrompt(CONTEXT_PROMPT["name"], CONTEXT_PROMPT, self._prompt)

    async def _run(self, call: Call, arguments: Json) -> Result:
        return said(await self._brief(call, arguments.get("tokens", _TOKENS), arguments.get("query")))

    async def _prompt(self, call: Call, arguments: Json) -> Result:
        written = arguments.get("tokens", str(_TOKENS))
        if not isinstance(written, str) or not written.isdecimal() or not 0 < int(written[:9]) <= _TOKENS_MAX:
            raise Wrong(f"tokens must be a whole number from 1 to {_TOKENS_MAX}")
        query = arguments.get("query")
        text = await self._brief(call, int(written), query if isinstance(query, str) else None)
        return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}

    async def _brief(self, call: Call, budget: int, query: str | None) -> str:
        now = int(self._env.now() * 1000)
        found: Gathered | None = await self._store.read(partial(reading.gather, id=call.session, now=now))
        assert found is not None
        owners: list[memory.Owner] = [("session", call.session), ("agent", call.agent.name)]
        about = query or found.session.goal
        kept: list[MemoryRow] = []
        if about is not None:
            kept = await self._store.read(
                partial(memory.search, owners=owners, query=about, now=now, limit=_MEMORY_MAX)
            )
        if query is None:
            newest = await self._store.read(
                partial(memory.newest, owners=owners[:1], now=now, limit=_MEMORY_MAX)
            )
            kept = list(dict.fromkeys([*kept, *newest]))
        return brief(sections(found, kept), budget)


def sections(found: Gathered, kept: list[MemoryRow]) -> list[Section]:
    """In the order in which they are kept: what comes last is dropped first."""
    session = found.session
    name = session.id if session.name is None else f"{session.name} ({session.id})"
    open_ = [
        f"- {row.tool} waits for a person since {moment(row.asked)} (approval {row.id})"
        if row.state == "pending"
        else f"- {row.tool} is approved: call it again as before (approval {row.id})"
        for row in found.approvals
    ]
    open_ += [f"- a task of {task.tool}: {task.status} (call {task.call})" for task in found.tasks]
    notes = [
        f"- {_line(note.text, _TEXT_LENGTH)} ({moment(note.at)})"
        for note in reversed(found.notes)
        if note.text is not None
    ]
    pinned = [
        f"- {pin.id}: there is nothing of this id"
        if pin.name is None
        else f"- {pin.id}: {pin.name}, {counted(pin.bytes, 'byte')}: {_line(pin.start, 4 * _LINE_LENGTH)}"
        for pin in found.pinned
    ]
    memories = [
        f"- {row.key} ({row.scope}, {moment(row.at)}): {_line(start_of(row), _LINE_LENGTH)}" for row in kept
    ]
    others = [
        f"- {row.name}, last used {moment(row.seen)}"
        + (f": {_line(row.goal, _LINE_LENGTH)}" if row.goal else "")
        for row in found.others
    ]
    return [
        Section("", [f"# Session {name}, since {moment(session.opened)}"]),
        Section("Goal", [_line(session.goal, _TEXT_LENGTH)] if session.goal else [], "goal", _MORE),
        Section(
            "Not known whether they did what they were to do: look before you repeat them",
            [_call(call) for call in found.unknown],
            "calls whose outcome is unknown",
            _MORE,
        ),
        Section("Open", open_, "open approvals and tasks", _MORE),
        Section("Notes, the newest first", notes, "notes", _MORE),
        Section("Pinned", pinned, "pinned results", "hub__read, or " + _MORE),
        Section("Called so far", _counts(found), "tools that were called", _MORE),
        Section("Calls, the newest first", [_call(call) for call in found.calls], "calls", _MORE),
        Section("Your other sessions", others, "other sessions", _MORE),
        Section("Kept values", memories, "kept values", "hub__memory search"),
    ]


def _counts(found: Gathered) -> list[str]:
    by_tool: dict[str, list[str]] = {}
    for each in found.counts:
        by_tool.setdefault(each.tool, []).append(f"{each.times} {each.state}")
    return [f"- {_line(tool, _LINE_LENGTH)}: {', '.join(states)}" for tool, states in by_tool.items()]


def _call(call: LastCall) -> str:
    state = call.state if call.state == "done" or call.reason is None else f"{call.state} ({call.reason})"
    asked = "" if call.params in (None, "{}") else f" {_line(call.params, _LINE_LENGTH)}"
    answered = "" if not call.said else f" -> {_line(call.said, _LINE_LENGTH)}"
    where = f"call {call.id}" if call.result is None else f"result {call.result}"
    return f"- {_line(call.tool, _LINE_LENGTH)}{asked}: {state}{answered} ({where}, {moment(call.started)})"


def _line(text: str | None, most: int) -> str:
    """In one line, and not too long."""
    flat = " ".join((text or "").split())
    return flat if len(flat) <= most else flat[: most - 4] + " ..."
