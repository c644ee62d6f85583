"""Extensions of the protocol that servers speak: which an agent may use, and whose a method is.

The hub knows of an extension no more than its identifier, `vendor.example/skills`. A request method
that is not the protocol's own, `skills/list`, belongs to the extension whose identifier ends in the
method's first word. A server's extension is granted like an entry of it, by `server__IDENTIFIER`:
the same decision says whether it is advertised to an agent and whether its methods work. (Tasks are
the exception: each belongs to the tool that made it, and is granted with that.)

Where several servers speak one extension, a request goes to one of them all the same: to the one that
offers the `uri` it names; and lists of them are given one after another, page by page. Pure.

Source: SEP-2133 (extensions); SEP-2640 (skills, the one with a method elsewhere).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final

from hub.catalog import Catalog
from hub.errors import InvalidParams
from hub.model import Entry, Json, Result
from hub.policy import Grants, decide, named

__all__ = ["advertised", "onward", "route", "speakers"]

_TASKS: Final = "io.modelcontextprotocol/tasks"

_ELSEWHERE: Final[Mapping[str, str]] = {"resources/directory/read": "skills"}
"""Methods that do not say by their first word whose they are."""

_CORE: Final = frozenset(
    {
        *("completion", "elicitation", "initialize", "logging", "notifications", "ping", "prompts"),
        *("resources", "roots", "sampling", "server", "subscriptions", "tasks", "tools"),
    }
)
"""First words that belong to the protocol itself, of whatever version."""


def advertised(catalog: Catalog, grants: Grants, used: set[str], *, modern: bool) -> Json:
    """The extensions of all servers that an agent may use, with their settings.

    Where two servers give one setting, the first one's counts.

    Args:
        used: The servers of which it may use an entry.
    """
    found: Json = {}
    for server, extensions in catalog.extensions.items():
        for identifier, settings in extensions.items():
            if identifier == _TASKS:
                allowed = modern and server in used
            else:
                allowed = decide(grants, named("extension", server, identifier)).allowed
            if allowed:
                found[identifier] = {**settings, **found.get(identifier, {})}
    return found


def speakers(catalog: Catalog, grants: Grants, method: str) -> tuple[Entry, ...]:
    """The extensions that `method` may belong to and an agent may use, in the order of servers."""
    word = _ELSEWHERE.get(method)
    if word is None:
        word, slash, _ = method.partition("/")
        if not slash or word in _CORE:
            return ()
    return tuple(
        entry
        for server, extensions in catalog.extensions.items()
        for identifier in extensions
        if identifier.rpartition("/")[2] == word
        and decide(grants, entry := named("extension", server, identifier)).allowed
    )


def route(
    among: Sequence[Entry], resources: Sequence[Entry], method: str, params: Json
) -> tuple[Entry, Json]:
    """Whose request it is, and what that server is to get.

    Args:
        among: Who it can be, at least one.
        resources: All resources that there are.

    Raises:
        InvalidParams: it does not say.
    """
    if len(among) == 1:
        return among[0], params
    if method.endswith("/list"):
        return _page(among, params)
    uri = params.get("uri")
    if type(uri) is str:
        below = uri.rstrip("/") + "/"
        owners = {entry.server for entry in resources if entry.own == uri or entry.own.startswith(below)}
        owning = [entry for entry in among if entry.server in owners]
        if len(owning) == 1:
            return owning[0], params
    servers = ", ".join(repr(entry.server) for entry in among)
    raise InvalidParams(f"Invalid params: servers {servers} have {method}; its 'uri' must say whose it is")


def onward(among: Sequence[Entry], entry: Entry, method: str, result: Result) -> Result:
    """A page of `entry`'s list, with the cursor of what comes next among several lists."""
    if len(among) == 1 or not method.endswith("/list"):
        return result
    own = result.get("nextCursor")
    if type(own) is str:
        return {**result, "nextCursor": _cursor(entry, own)}
    later = among[among.index(entry) + 1 :]
    rest = {key: value for key, value in result.items() if key != "nextCursor"}
    return {**rest, "nextCursor": _cursor(later[0], None)} if later else rest


def _page(among: Sequence[Entry], params: Json) -> tuple[Entry, Json]:
    cursor = params.get("cursor")
    if cursor is None:
        return among[0], params
    try:
        server, _, own = base64.urlsafe_b64decode(str(cursor)).decode().partition("\n")
        (entry,) = (entry for entry in among if entry.server == server)
    except ValueError:
        raise InvalidParams("Invalid params: unknown cursor") from None
    rest = {key: value for key, value in params.items() if key != "cursor"}
    return entry, {**rest, "cursor": own[1:]} if own else rest


def _cursor(entry: Entry, own: str | None) -> str:
    # A server's cursor may be empty: what stands before it says that there is one.
    text = f"{entry.server}\n" if own is None else f"{entry.server}\n={own}"
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode()
