"""What a person calls a session, for rules (`when: {labels: ...}`). An agent cannot.

Labels decide what may be used, so the audit's chain says who gave them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hub import lock, records
from hub.errors import InvalidParams
from hub.store import audit, sessions

if TYPE_CHECKING:
    from sqlite3 import Connection

    from hub.env import Env
    from hub.home import Home

__all__ = ["changes", "label", "label_alone"]

LABELS_MAX: Final = 32
_key = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}").fullmatch
_VALUE_LENGTH_MAX: Final = 256


def changes(pairs: Sequence[str]) -> dict[str, str | None]:
    """Of `KEY=VALUE` and `KEY=` (which takes the label away).

    Raises:
        InvalidParams: a pair is none.
    """
    found: dict[str, str | None] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or _key(key) is None or len(value) > _VALUE_LENGTH_MAX:
            raise InvalidParams(
                f"{pair[:100]!r} is no label. Write KEY=VALUE (KEY= takes it away): letters, digits, '.', "
                f"'_', '/' and '-' before the '=', at most {_VALUE_LENGTH_MAX} characters behind it."
            )
        found[key] = value or None
    return found


def label(
    connection: Connection, id: str, changed: Mapping[str, str | None], now: int, by: str
) -> dict[str, str]:
    """All the labels that the session has now. To be called in a transaction.

    Raises:
        Failure: there is no such session.
        InvalidParams: it would have too many.
    """
    row = sessions.get_session(connection, id)
    if row is None:
        records.session(row, id, ())  # says so
    assert row is not None
    labels: dict[str, str] = {} if row.labels is None else json.loads(row.labels)
    for key, value in changed.items():
        if value is None:
            labels.pop(key, None)
        else:
            labels[key] = value
    if len(labels) > LABELS_MAX:
        raise InvalidParams(f"A session has at most {LABELS_MAX} labels")
    text = json.dumps(labels, ensure_ascii=False, sort_keys=True) if labels else None
    if text != row.labels:
        sessions.set_labels(connection, id, text)
        audit.note(connection, now, "session.labels", id, {"labels": text, "by": by})
    return labels


def label_alone(home: Home, id: str, changed: Mapping[str, str | None], env: Env) -> dict[str, str]:
    """The same where no hub runs. Raises as `label`, and `StoreError`."""
    from hub.os_user import os_user
    from hub.store.connection import open_for_writing

    if not home.database.exists():
        records.session(None, id, ())  # says so
    with lock.held(home):
        connection = open_for_writing(home.database)
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                labels = label(connection, id, changed, int(env.now() * 1000), os_user())
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            return labels
        finally:
            connection.close()
