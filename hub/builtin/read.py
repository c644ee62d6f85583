"""`hub__read` and `hub://results/ID`: a stored result, a place at a time. See `hub.results.results`.

The tool's answers keep to a budget. So do those of the resource, where its URI asks for a part
(`?from=0&count=20#/items`); the URI alone is the whole of it, which a host asks for knowing its size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from connectors.jsonrpc import encode
from hub.builtin.definitions import READ
from hub.builtin.own import OwnTemplate, OwnTool, Wrong
from hub.errors import NotFound
from hub.model import Call, Json, Result
from hub.results.results import Results, Unreadable
from hub.results.settings import RESULT_URI
from hub.results.views import Query, view

__all__ = ["ReadTool"]

_TOKENS: Final = 4000
_TOKENS_MAX: Final = 25_000
_TEMPLATE: Final[Json] = {
    "name": "result",
    "title": "A stored result",
    "description": "A result that was too long to be given whole; with ?from=0&count=20#/items, a part.",
}


class ReadTool:
    def __init__(self, results: Results, limit: Callable[[str], int | None]) -> None:
        """
        Args:
            limit: How many tokens an agent takes at once, by its name; `None`: any number.
        """
        self._results = results
        self._limit = limit
        self.tool = OwnTool.of(READ, self.read)
        self.template = OwnTemplate(f"{RESULT_URI}{{id}}", _TEMPLATE, self.read_resource)

    async def read(self, call: Call, arguments: Json) -> Result:
        """Raises `Wrong`, `StoreError`."""
        columns = arguments.get("columns", ())
        query = Query(
            arguments.get("at", ""),
            arguments.get("from"),
            arguments.get("count"),
            arguments.get("search") or None,
            tuple(columns),
        )
        most = self._limit(call.agent.name) or _TOKENS_MAX
        tokens = min(arguments.get("tokens", _TOKENS), most, _TOKENS_MAX)
        try:
            answer = await self._view(call, arguments["id"], query, tokens)
        except Unreadable as error:
            raise Wrong(str(error)) from None
        return {"content": [{"type": "text", "text": encode(answer).decode()}]}

    async def read_resource(self, call: Call, uri: str) -> Result:
        """Raises `NotFound`, `StoreError`."""
        parts = urlsplit(uri)
        id = parts.path.removeprefix("/")
        try:
            if not parts.query and not parts.fragment:
                row = await self._results.find(call.agent, id)
                text, kind = (
                    await self._results.whole(row),
                    "text/plain" if row.is_text else "application/json",
                )
            else:
                asked = {key: values[-1] for key, values in parse_qs(parts.query).items()}
                text = encode(
                    await self._view(call, id, _asked(asked, unquote(parts.fragment)), _TOKENS)
                ).decode()
                kind = "application/json"
        except (Unreadable, ValueError):
            raise NotFound(f"Unknown resource: {uri}") from None
        return {"contents": [{"uri": uri, "mimeType": kind, "text": text}]}

    async def _view(self, call: Call, id: str, query: Query, tokens: int) -> Any:
        """Raises `Unreadable`, `StoreError`."""
        row = await self._results.find(call.agent, id)
        return await self._results.read(row, lambda document: view(document, query, tokens))


def _asked(given: dict[str, str], pointer: str) -> Query:
    """Raises `ValueError`."""
    start, count = (int(given[key]) if key in given else None for key in ("from", "count"))
    if (start or 0) < 0 or (count or 0) < 0:
        raise ValueError("less than none")
    columns = tuple(given["columns"].split(",")) if given.get("columns") else ()
    return Query(pointer, start, count, given.get("search"), columns)
