"""What people change by command on disk: manifests, and, where no hub runs, tokens.

Whoever has a running hub reloads it after a manifest was written, and leaves tokens to it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hub.env import Env, SystemEnv
from hub.errors import HomeError, InvalidParams
from hub.failure import Failure
from hub.home import Home
from hub.model import Json
from hub.secrets_file import logins_file
from hub.settings import Settings
from hub.store import tokens
from hub.store.approvals import ApprovalRow
from hub.store.connection import open_for_writing

if TYPE_CHECKING:
    from hub.identity.tokens import Terms
    from hub.upstreams.pin_changes import Change

__all__ = [
    "add_agent",
    "add_server",
    "approve_tools",
    "decide",
    "issue_token",
    "keep_token",
    "must_be_live",
    "remove_agent",
    "remove_server",
    "revoke_token",
    "revoke_tokens",
    "terms",
]

CALLS_MAX: Final = 1_000_000_000

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def add_server(home: Home, name: str, connect: Json, title: str | None = None) -> Json:
    """Write a server's manifest.

    Raises:
        ManifestError: it would not be valid, or the name is taken; nothing is written.
        HomeError: the folder cannot be written.
    """
    from hub.manifests.write import write_server

    return {"server": name, "file": _done(partial(write_server, home.manifests, name, connect, title=title))}


def remove_server(home: Home, name: str) -> Json:
    """Remove a server's manifest.

    Raises:
        ManifestError: no file holds it, or one that holds more than it.
        HomeError: the file cannot be removed.
    """
    from hub.manifests.write import remove_server

    return {"server": name, "file": _done(partial(remove_server, home.manifests, name))}


def add_agent(home: Home, name: str, may: list[str], never: list[str], title: str | None = None) -> Json:
    """Write an agent's manifest. Raises as `add_server`."""
    from hub.manifests.write import write_agent

    return {"agent": name, "file": _done(partial(write_agent, home.manifests, name, may, never, title=title))}


def remove_agent(home: Home, name: str) -> Json:
    """Remove an agent's manifest, the token that is kept for it, and its own logins at servers.

    Its other tokens are the caller's.

    Raises:
        ManifestError: no file holds it, or one that holds more than it.
        HomeError: the file cannot be removed.
    """
    from hub.manifests.write import remove_agent

    file = _done(partial(remove_agent, home.manifests, name))
    home.token_file(name).unlink(missing_ok=True)
    # Another one of that name must not come into its accounts.
    logins = logins_file(home, SystemEnv())
    for key in logins.names():
        if key.partition(" ")[2] == name:
            logins.remove(key)
    return {"agent": name, "file": file}


def must_be_live(id: str, known: list[Json], agent: str) -> None:
    """Raises `Failure`: `id` is none of the agent's tokens that are not revoked."""
    if not any(each["id"] == id and each["revoked"] is None for each in known):
        raise Failure(
            "not_found",
            f"Agent {agent!r} has no live token {id[:60]!r}.",
            f"`hub agents token {agent} --list` shows those there are.",
        )


def keep_token(home: Home, agent: str, token: str) -> None:
    """Put a new token where the old one of the same agent is kept for its owner, if there is one."""
    path = home.token_file(agent)
    if path.exists():
        # A new file in its place: who reads the old one keeps a whole token.
        new = path.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
        new.replace(path)


def terms(
    may: list[str] | None, never: list[str] | None, expires: str | None, calls: int | None, parent: str | None
) -> Terms:
    """What a new token is to be good for. Raises `InvalidParams`."""
    from hub import units
    from hub.identity import scopes
    from hub.identity.tokens import Terms

    try:
        seconds = None if expires is None else units.lifetime_seconds(expires)
    except ValueError as error:
        raise InvalidParams(f"--expires: {error}") from None
    if calls is not None and not 0 < calls <= CALLS_MAX:
        raise InvalidParams(f"calls: must be a whole number from 1 to {CALLS_MAX}.")
    return Terms(scopes.written(may or (), never or ()), seconds, calls, parent)


def issue_token(home: Home, agent: str, env: Env, terms: Terms | None = None) -> tuple[str, str]:
    """A further token, `(id, token)`.

    Raises:
        NotFound: it has no such live parent.
        StoreError: it cannot be kept.
    """
    from hub.identity.identity import issue_offline

    return issue_offline(home.database, agent, env, terms)


def revoke_token(home: Home, id: str, env: Env) -> None:
    """Raises `StoreError`."""
    _change(home, partial(tokens.revoke, id=id, when=int(env.now() * 1000)))


def revoke_tokens(home: Home, agent: str, env: Env) -> None:
    """All of an agent's. Raises `StoreError`."""
    _change(home, partial(tokens.revoke_all, agent=agent, when=int(env.now() * 1000)))


def decide(
    home: Home, id: str, approve: bool, reason: str | None, settings: Settings, env: Env
) -> ApprovalRow:
    """Approve or deny a call that waits, as the user of this process. Raises as `decided_row`."""
    from hub.approvals.rows import decided_row
    from hub.os_user import os_user

    row: ApprovalRow = _change(
        home,
        partial(
            decided_row,
            id=id,
            approve=approve,
            decider=os_user(),
            reason=reason,
            now=int(env.now() * 1000),
            pending_seconds=settings.approval_pending,
            approved_seconds=settings.approval_use,
        ),
    )
    return row


def approve_tools(home: Home, some: Sequence[Change], env: Env) -> str:
    """Serve these tools, as they are defined now; returns who said so, which is the user of this process."""
    from hub.os_user import os_user
    from hub.store import pins
    from hub.upstreams.pins import approval, by_server

    by = os_user()

    def work(connection: Any) -> None:
        known, marks = by_server(pins.list_pins(connection)), pins.list_servers(connection)
        for server in {each.server for each in some}:
            mine = {each.held.tool: each.after for each in some if each.server == server}
            now = int(env.now() * 1000)
            look = approval(server, marks[server], known.get(server, {}), mine, by, now)
            pins.approve(connection, look, by)

    _change(home, work)
    return by


def _change(home: Home, work: Any) -> Any:
    connection = open_for_writing(home.database)
    try:
        return work(connection)
    finally:
        connection.close()


def _done(work: Callable[[], Path]) -> str:
    try:
        return str(work())
    except FileExistsError as error:
        raise Failure(
            "usage", f"{error.filename}: {error.strerror}.", "Change that file, or choose another name."
        ) from None
    except OSError as error:
        # Where a write fails, and not an opening, the system names no file.
        what = error.filename or "The folder of manifests"
        remedy = "Free some space" if error.errno in _FULL else "Make it writable for you"
        raise HomeError(f"{what} cannot be changed: {error.strerror}. {remedy}.") from None
