"""Repetition: the same call with the same result, again and again, in one session.

Models do this when they do not understand what they read. Of each session only the last call is
remembered, as two hashes, and only of calls whose rules ask for it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, Final

from connectors.base import RemoteError
from connectors.jsonrpc import encode
from hub.model import Call, Result

__all__ = ["PAUSE_SECONDS", "Repeats", "fingerprint"]

PAUSE_SECONDS: Final = 600.0
"""After this long without the call its row is over: what it asks may have changed."""

_SESSIONS_MAX: Final = 10_000
_BYTES: Final = 16


class _Row:
    __slots__ = ("at", "call", "count", "result")

    def __init__(self, call: bytes) -> None:
        self.call = call
        self.result = b""
        self.count = 0
        self.at = 0.0


class Repeats:
    def __init__(self) -> None:
        self._rows: OrderedDict[str, _Row] = OrderedDict()

    def wait_seconds(self, session: str, call: bytes, most: int, now: float) -> float:
        """How long the call has to wait that was made `most` times with one result; 0 for all others.

        Args:
            call: Its `fingerprint`.
            now: Monotonic.
        """
        row = self._rows.get(session)
        if row is None or row.call != call or row.count < most:
            return 0.0
        return max(0.0, row.at + PAUSE_SECONDS - now)

    def note(self, session: str, call: bytes, outcome: Result | RemoteError, now: float) -> None:
        """A call was answered: its row grows, or another one begins."""
        row = self._rows.get(session)
        if row is None or row.call != call or row.at + PAUSE_SECONDS <= now:
            row = self._rows[session] = _Row(call)
            if len(self._rows) > _SESSIONS_MAX:
                self._rows.popitem(last=False)
        result = _hash(_essence(outcome))
        row.count = row.count + 1 if row.result == result else 1
        row.result, row.at = result, now
        self._rows.move_to_end(session)


def fingerprint(call: Call) -> bytes:
    """The same for the same use of the same entry, in whichever order its arguments are written."""
    assert call.entry is not None
    asked = {key: call.params[key] for key in ("arguments", "argument") if key in call.params}
    return _hash([call.method, call.entry.grant, asked])


def _essence(outcome: Result | RemoteError) -> Any:
    if isinstance(outcome, RemoteError):
        return [outcome.code, outcome.message, outcome.data]
    # What stands in `_meta` is about the answer, a time for example, and is not shown to models.
    return {key: value for key, value in outcome.items() if key != "_meta"}


def _hash(value: Any) -> bytes:
    return hashlib.blake2b(encode(_sorted(value)), digest_size=_BYTES).digest()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
