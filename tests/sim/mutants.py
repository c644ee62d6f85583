"""Hubs that are broken on purpose: who finds nothing wrong in one of these would find nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hub.middleware.authorize import Authorize
from hub.middleware.deadline import Deadline
from hub.middleware.once import Once
from hub.store.calls import Calls
from hub.store.journal import Journal
from hub.store.writer import Writer
from hub.upstreams.berth import Berth

__all__ = ["MUTANTS", "broken"]


def sends_before_it_records() -> None:
    """I1."""
    Calls.intend = lambda self, intent: None  # type: ignore[method-assign]


def lets_anybody() -> None:
    """I2."""
    before = Authorize.__call__

    async def call(self: Any, call: Any, inner: Any) -> Any:
        return await (before(self, call, inner) if call.entry is None else inner(call))

    Authorize.__call__ = call  # type: ignore[method-assign]


def loses_rows() -> None:
    """I3: what is in the journal is not taken up."""
    Journal.rows = lambda self: iter(())  # type: ignore[method-assign]


def forgets_open_calls() -> None:
    """I3: of what was under way when the hub was killed nothing is said."""
    Calls.recover = _zero  # type: ignore[method-assign]


def sends_again() -> None:
    """I4: what may have been done is sent a second time."""
    before = Berth.again

    async def again(self: Any, link: Any, error: Any, attempt: int) -> None:
        error.sent = False
        await before(self, link, error, attempt)

    Berth.again = again  # type: ignore[method-assign]


def forgets_keys() -> None:
    """I4: a key counts for nothing."""

    async def once(self: Any, call: Any, meta: Any, inner: Any) -> Any:
        return await inner(call)

    Once._once = once  # type: ignore[method-assign]


def waits_for_ever() -> None:
    """I5."""
    before = Deadline.__init__

    def init(self: Any, env: Any, patience: Any) -> None:
        before(self, env, lambda *_: 1e9)

    Deadline.__init__ = init  # type: ignore[method-assign, assignment]


def says_it_failed() -> None:
    """Honesty: what may have been done is recorded as not done."""
    from hub.middleware.record import Record

    before = Record._failed

    def failed(self: Any, error: Exception, may_change: bool, *more: Any) -> Any:
        return before(self, error, False, *more)

    Record._failed = failed  # type: ignore[method-assign, assignment]


def forgets_what_failed() -> None:
    """I3: what is in the journal and could not be committed is not tried again."""
    before = Writer._fail

    def fail(self: Any, group: Any, sentence: str) -> None:
        before(self, [entry for entry in group if type(entry[0]) is not int], sentence)

    Writer._fail = fail  # type: ignore[method-assign]


async def _zero(self: Any) -> int:
    return 0


MUTANTS: Mapping[str, Callable[[], None]] = {
    mutant.__name__: mutant
    for mutant in (
        sends_before_it_records, lets_anybody, loses_rows, forgets_open_calls, sends_again, forgets_keys,
        waits_for_ever, says_it_failed, forgets_what_failed,
    )
}  # fmt: skip


def broken(mutant: str, violation: str) -> bool:
    """Whether that is what this mutant breaks: its first word."""
    kind = str(MUTANTS[mutant].__doc__).partition(":")[0].rstrip(".")
    return violation.partition(":")[0].lower() == kind.lower()
