"""`hub__token`: an agent makes tokens for helpers of its own, each a child of the token that it came with.

A child is the same agent and is only ever narrower: in tools, arguments, time and calls
(`hub.identity.scopes`, `Identities.mint`). It ends with its parent. Over stdio there is no token, so there
is none to be a child of.
The token itself is in this answer alone: the record has `[redacted: hub token]` in its place.
"""

from __future__ import annotations

from typing import Any, Final

from hub import units
from hub.builtin.definitions import TOKEN
from hub.builtin.own import OwnTool, Wrong, said
from hub.counted import counted
from hub.errors import InvalidParams, NotFound, Refused
from hub.identity import scopes
from hub.identity.identity import Identities
from hub.model import Call, Json, Result
from hub.records import moment
from hub.threads import in_thread

__all__ = ["TokenTool"]

_EXPIRES: Final = "1h"
"""Where nothing is said: what is made by itself ends by itself."""


class TokenTool:
    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    @property
    def tool(self) -> OwnTool:
        return OwnTool.of(TOKEN, self._run)

    async def _run(self, call: Call, arguments: Json) -> Result:
        if arguments["action"] == "revoke":
            return await self._revoke(call, arguments.get("id"))
        return await self._mint(call, arguments)

    async def _mint(self, call: Call, arguments: Json) -> Result:
        may, never = arguments.get("may", []), arguments.get("never", [])
        if not all(isinstance(rule, str | dict) for rule in may):
            raise Wrong("may: each is a name of a tool, a pattern, or a rule: {use: ..., with: {...}}.")
        written, calls = arguments.get("expires", _EXPIRES), arguments.get("calls")
        try:
            seconds = units.lifetime_seconds(written)
        except ValueError as error:
            raise Wrong(f"expires: {error}") from None
        try:
            # A rule is read as one of a manifest is, which takes milliseconds.
            scope = await in_thread(scopes.written, may, never)
            id, token = await self._identities.mint(call.agent, scope, seconds, calls)
        except (InvalidParams, NotFound, Refused) as error:
            raise Wrong(str(error)) from None
        ends = moment(int(self._identities.ends(id) * 1000))
        told: dict[str, Any] = {"id": id, "token": token, "expires": ends, "calls": calls}
        count = "" if calls is None else f", for at most {counted(calls, 'call')}"
        return said(
            f"{token}\nIts id is {id}. It is shown once. It ends at {ends}{count}, and with the token that "
            "you came with.",
            told,
        )

    async def _revoke(self, call: Call, id: Any) -> Result:
        if id is None:
            raise Wrong("revoke needs the id that mint gave.")
        if not await self._identities.revoke_child(call.agent, id):
            raise Wrong(f"You have no live child token {id[:60]!r}.")
        return said(f"Token {id} is revoked, and all that were minted with it.")
