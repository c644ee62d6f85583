"""Passes one call on over one link, in the words of that link's server.

The entry's own name goes in, and what the agent's client can do; over HTTP, what the tool wants said
again in headers (`Mcp-Param-*`). A server that finds those headers wrong has done nothing yet: the
tool may have changed, so its list is read again, and the call sent once more if that makes a difference.

Source: specification 2026-07-28, basic/transports/streamable-http, "Client Behavior".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import anyio

from connectors.base import Link, LinkError, RemoteError
from connectors.jsonrpc import HEADER_MISMATCH
from connectors.mirror import BadMark, Mirrored, mirrored, said
from hub.env import Env
from hub.model import Call, Json, Kind, Notify, Result
from hub.tasks import TASKS
from hub.upstreams.learn import Known
from hub.upstreams.parking import plain_answers

__all__ = ["Passing", "capabilities_of", "inward"]

_REFRESH_SECONDS: Final = 1.0
"""At most one new look at a list in this time, however many headers are found wrong."""


class Passing:
    def __init__(
        self,
        env: Env,
        mirrors: Callable[[str], bool],
        known: Callable[[], Known | None],
        learn: Callable[[Link, frozenset[Kind]], Awaitable[None]],
        check: Callable[[Call], None],
    ) -> None:
        """
        Args:
            mirrors: Whether the server, of this protocol version, is told arguments again in headers.
            known: What was last learnt from it.
            learn: Reads its lists of these kinds again. Raises `LinkError`.
            check: Raises `Denied` where a call is, by what was learnt, not to be sent.
        """
        self._env = env
        self._mirrors = mirrors
        self._known = known
        self._learn = learn
        self._check = check
        self._marks: dict[str, tuple[Any, tuple[Mirrored, ...]]] = {}
        """By tool: the schema that was looked at, and what it marks."""
        self._refreshing = anyio.Lock()
        self._refreshed = -_REFRESH_SECONDS

    async def request(self, call: Call, params: Json, link: Link, notify: Notify | None) -> Result:
        """The server's result as it came.

        Raises:
            RemoteError: the server answered with an error.
            LinkError: there was no usable answer.
        """
        if "inputResponses" in params:
            params = plain_answers(params)
        capabilities = capabilities_of(call)
        headers = None
        if call.method == "tools/call" and self._mirrors(link.peer.version):
            assert call.entry is not None
            headers = self._headers(call.entry.own, call.entry.theirs, params)
        try:
            return await link.request(
                call.method,
                params,
                capabilities=capabilities,
                log_level=call.log_level,
                on_notify=notify,
                headers=headers,
            )
        except RemoteError as error:
            if error.code != HEADER_MISMATCH or headers is None:
                raise
            again = await self._looked_again(call, params, link, headers)
            if again == headers:
                raise
            self._check(call)
        return await link.request(
            call.method,
            params,
            capabilities=capabilities,
            log_level=call.log_level,
            on_notify=notify,
            headers=again,
        )

    async def _looked_again(
        self, call: Call, params: Json, link: Link, headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        """The headers by the newest definition; those that were sent, where nothing newer is to be had."""
        assert call.entry is not None
        own = call.entry.own
        async with self._refreshing:
            newest = self._headers(own, self._newest(own), params)
            if newest != headers or self._env.monotonic() - self._refreshed < _REFRESH_SECONDS:
                return newest
            self._refreshed = self._env.monotonic()
            try:
                await self._learn(link, frozenset({"tool"}))
            except LinkError:
                return headers
            return self._headers(own, self._newest(own), params)

    def _newest(self, own: str) -> Json:
        known = self._known()
        tools = known.definitions.get("tool", ()) if known is not None else ()
        return next((each for each in tools if isinstance(each, dict) and each.get("name") == own), {})

    def _headers(self, own: str, definition: Json, params: Json) -> Mapping[str, str]:
        schema = definition.get("inputSchema")
        known = self._marks.get(own)
        if known is None or known[0] is not schema:
            try:
                known = schema, mirrored(schema)
            except BadMark:
                # Not offered from the next look at the catalog on.
                known = schema, ()
            self._marks[own] = known
        return said(known[1], params.get("arguments")) if known[1] else _NONE


_NONE: Final[Mapping[str, str]] = {}


def capabilities_of(call: Call) -> Json:
    """What the agent's client declares, as far as it means the same in the era of 2026-07-28."""
    declared = dict(call.capabilities)
    extensions = declared.get("extensions")
    if not call.modern and isinstance(extensions, dict) and TASKS in extensions:
        # The older protocol has no word for a task of this kind.
        declared["extensions"] = {name: each for name, each in extensions.items() if name != TASKS}
    return declared


def inward(call: Call) -> Json:
    """The params of a call with the entry's own name in them."""
    entry = call.entry
    assert entry is not None
    if entry.own == call.name:
        return call.params
    key = "name" if entry.kind in ("tool", "prompt") else "uri"
    if call.method == "completion/complete":
        return {**call.params, "ref": {**call.params["ref"], key: entry.own}}
    # What is asked of a task names no entry.
    return {**call.params, key: entry.own} if key in call.params else call.params
