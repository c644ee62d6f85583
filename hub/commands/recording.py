"""A session of the record as a cassette: what its servers offered and answered.

What agents saw of it is turned back into what passed between hub and servers: entries by their own names,
arguments as they were filled in, URIs without the hub's prefix. Secrets were taken out when it was recorded.
Reads the database itself, whether a hub runs or not.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.base import Json
from connectors.cassette_file import LISTS, Change, Exchange, Offered, lines
from connectors.jsonrpc import Budget, parse
from hub.audit import leftover
from hub.audit.sources import new_file
from hub.failure import Failure
from hub.home import Home
from hub.records import definitions, moment, server
from hub.store import lookback, reading
from hub.store.calls import CallRow
from hub.store.parts import PartRow, parts_of, updates_of
from hub.upstreams.moved import outward

if TYPE_CHECKING:
    import sqlite3

__all__ = ["OWN", "recorded"]

OWN: Final = "hub"
"""The server that the hub itself is: it is there again where a cassette is played."""

_BUDGET: Final = Budget(1 << 30, 5_000_000)
_CUT: Final = '{"truncated":true,"start":"'
_KINDS: Final = ("tool", "resource", "template", "prompt")
_NAMED: Final = ("name", "uri")


_Rows = Sequence[tuple[int, reading.ServerRow]]
"""What was known of a server, each with since when."""


class _Unfit(Exception):
    """Why a call cannot be played again as it was."""


def recorded(home: Home, session: str, out: Path, *, skip_cut: bool = False) -> Json:
    """Write a session's calls to a cassette; what there is in it, and what not.

    Args:
        skip_cut: Leave out the calls of which the record does not hold all.

    Raises:
        Failure: there is no such session, or nothing of it to be played, or not all of it is kept.
    """
    with leftover.one_moment(home) as connection:
        row = reading.get_session(connection, session)
        if row is None:
            hint = "`hub sessions list` shows those there are."
            raise Failure("not_found", f"There is no session {session[:60]!r}.", hint)
        # What a connection's calls belong to, where that is another session.
        session = row.goes_on or session
        known = {each.name: each for each in reading.list_servers(connection)}
        left_out: Counter[str] = Counter()
        used: dict[str, int] = {}
        until = row.seen
        for call in filter(_is_played, lookback.session_calls(connection, session)):
            used.setdefault(str(call.server), call.started)
            until = max(until, call.started + (call.duration_us or 0) // 1000)
        said = {name: reading.known_since(connection, name, used[name]) for name in sorted(used)}
        offered = [_offered(rows, name) for name, rows in said.items()]
        updates = [
            (row.at, Change(row.server, {}, row.uri))
            for row in updates_of(connection, session)
            if row.server in used and row.at >= used[row.server]
        ]
        changes = sorted([*_changes(said, until), *updates], key=lambda each: each[0])
        calls = _Calls(connection, session, known, skip_cut, left_out, changes)
        if not offered:
            raise Failure("not_found", "No server has answered in that session: there is nothing to play.")
        about = {"recorded": moment(row.opened), "session": row.id, "agent": row.agent}
        try:
            with new_file(out) as file:
                for line in lines(about, offered, calls):
                    calls.redacted += b"[redacted: " in line
                    file.write(line)
        except OSError as error:
            raise Failure("home", f"{out} cannot be written: {error.strerror}.") from None
    return {
        "file": str(out),
        "servers": [each.server for each in offered],
        "calls": calls.count,
        "changes": len(changes),
        "left_out": dict(sorted(left_out.items())),
        "redacted": calls.redacted,
    }


class _Calls(Iterable[Exchange | Change]):
    """A session's exchanges, and changes between them; counts what it gives and what it leaves out."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        session: str,
        known: Mapping[str, reading.ServerRow],
        skip_cut: bool,
        left_out: Counter[str],
        changes: Sequence[tuple[int, Change]],
    ) -> None:
        self._connection = connection
        self._session = session
        self._skip_cut = skip_cut
        self._left_out = left_out
        self._moved = {name: _moved_back(row) for name, row in known.items()}
        self._changes = changes
        self.count = 0
        self.redacted = 0

    def __iter__(self) -> Iterator[Exchange | Change]:
        changes = deque(self._changes)
        for row in lookback.session_calls(self._connection, self._session):
            while changes and changes[0][0] <= row.started:
                yield changes.popleft()[1]
            if not _is_played(row):
                self._left_out[_why_not(row)] += 1
                continue
            try:
                exchange = self._exchange(row, parts_of(self._connection, [row.id]))
            except _Unfit as why:
                if not self._skip_cut:
                    raise Failure(
                        "invalid_params",
                        f"The record does not hold all of call {row.id} ({row.tool}): {why}.",
                        "Or leave such calls out: `--skip-cut`.",
                    ) from None
                self._left_out["cut"] += 1
                continue
            self.count += 1
            yield exchange
        for _, change in changes:
            yield change

    def _exchange(self, row: CallRow, parts: list[PartRow]) -> Exchange:
        """Raises `_Unfit`."""
        assert row.server is not None
        more = next((part for part in parts if part.kind == "more"), None)
        if more is not None:
            what = "it was told more meanwhile" if more.number else "its server was sent more"
            raise _Unfit(f"{what} than is kept. {_SETTING}")
        sent = next((part for part in parts if part.kind == "sent"), None)
        params = _whole(row.params, row.params_bytes) if sent is None else _read(sent.params)
        plain = {key: value for key, value in _own_params(row, params).items() if key != "_meta"}
        notifications = tuple(
            {"method": part.method, "params": _read(part.params)} for part in parts if part.kind == "notified"
        )
        if row.error is not None:
            error = _read(row.error)
            if "code" not in error:
                raise _Unfit(f"its error is longer than what is kept. {_SETTING}")
            return Exchange(row.server, row.method, plain, None, error, notifications)
        result = outward(_whole(row.result, row.result_bytes), self._moved.get(row.server, {}))
        return Exchange(row.server, row.method, plain, result, None, notifications)


_SETTING: Final = "Let hub.yaml keep more (`record: 16MiB`), start the hub again and do it once more"


def _is_played(row: CallRow) -> bool:
    """Whether it is an answer of a server."""
    if row.server is None or row.server == OWN or row.state not in ("done", "failed"):
        return False
    if row.state == "failed" and row.kind not in ("tool_error", "protocol_error"):
        return False
    asks = row.kind == "input_required" or '"resultType":"task"' in (row.result or "")[:200]
    return not (asks and ("hub://approvals/" in (row.result or "") or "hub approvals" in (row.result or "")))


def _why_not(row: CallRow) -> str:
    if row.server == OWN:
        return "the hub's own"
    return "waited for a person" if row.state == "done" else row.state


def _whole(text: str | None, size: int | None) -> Json:
    """Raises `_Unfit`."""
    if text is None:
        raise _Unfit("it was deleted by retention (`retention` in hub.yaml)")
    if text.startswith(_CUT) and size != len(text.encode()):
        raise _Unfit(f"it has {size} bytes, and was cut. {_SETTING}")
    return _read(text)


def _read(text: str) -> Json:
    found: Any = parse(text.encode(), _BUDGET)
    return found if isinstance(found, dict) else {}


def _own_params(row: CallRow, params: Json) -> Json:
    """By the name that the entry has at its server; an error in the place of an answer is a plain no."""
    if row.own is not None and row.method == "completion/complete":
        reference = params.get("ref") or {}
        key = next((key for key in _NAMED if key in reference), "name")
        params = {**params, "ref": {**reference, key: row.own}}
    elif row.own is not None and row.method in ("tools/call", "resources/read", "prompts/get"):
        params = {**params, "uri" if row.method == "resources/read" else "name": row.own}
    answers = params.get("inputResponses")
    if not isinstance(answers, dict):
        return params
    said = {key: {"action": "cancel"} if list(each) == ["error"] else each for key, each in answers.items()}
    return {**params, "inputResponses": said}


def _offered(rows: _Rows, name: str) -> Offered:
    """What it offered at first."""
    if not rows:
        raise Failure("not_found", f"What server {name!r} offers is not known any more.")
    row = rows[0][1]
    said = server(row)
    return Offered(
        name, said["info"] or {}, said["capabilities"] or {}, row.instructions, _lists(row), row.version
    )


def _lists(row: reading.ServerRow) -> dict[str, tuple[Json, ...]]:
    lists = definitions(row)
    return {key: lists[kind] for key, kind in zip(LISTS, _KINDS, strict=True)}  # type: ignore[index]


def _changes(said: Mapping[str, _Rows], until: int) -> list[tuple[int, Change]]:
    """When which lists became others.

    Args:
        until: What happened later is no matter of the session.
    """
    found: list[tuple[int, Change]] = []
    for name, rows in said.items():
        for (_, before), (since, after) in pairwise(rows):
            old, new = _lists(before), _lists(after)
            changed = {key: new[key] for key in LISTS if old[key] != new[key]}
            if changed and since <= until:
                found.append((since, Change(name, changed)))
    return found


def _moved_back(row: reading.ServerRow) -> dict[str, str]:
    """The URIs by which agents may know those of this server, and its own."""
    resources = definitions(row)["resource"]
    own = [str(each["uri"]) for each in resources if isinstance(each, dict) and "uri" in each]
    return {f"hub+{row.name}:{uri}": uri for uri in own}
