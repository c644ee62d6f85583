"""Agents that work on whatever becomes of the hub: each with a session, what it keeps there, keys for calls.

What had no answer is asked again with its key once a hub is there again. What was answered is remembered
here, and has to be there afterwards.
"""

from __future__ import annotations

import random
import re
from typing import Any

import anyio
import orjson

from benchmarks import versions
from benchmarks.wire import Connection, head
from tests.faults.places import Place

__all__ = ["LONG", "Lasting", "Lost"]

LONG = 8000
"""Characters of a text that is kept as a result."""
TRIES, PAUSE_SECONDS = 100, 0.1
_KEY = "hub/idempotency-key"


class Lost(Exception):
    """The connection broke: nobody knows what came of it."""


class Lasting:
    """One agent in one session of one era, one call at a time."""

    def __init__(self, number: int, era: versions.Era, chance: random.Random) -> None:
        self.name = f"a{number}"
        self.era = era
        self.goal = f"The goal of {self.name}"
        self.answered: set[str] = set()
        """Keys whose effect was acknowledged."""
        self.repeated: set[str] = set()
        """Of those, the ones that were answered from the record."""
        self.unknown: set[str] = set()
        """Keys of which the hub says that nobody knows."""
        self.open: str | None = None
        """The key of a call that had no answer yet."""
        self.kept: set[Any] = {None}
        """What may be kept in the session: what was acknowledged, and what had no answer since."""
        self.noted: list[str] = []
        self.results: dict[str, str] = {}
        """Texts by the ids that the agent was given in their place."""
        self.wrong: list[str] = []
        """What was acknowledged, and is not so."""
        self.resumed = 0
        self.put_off = 0
        """How often a server was not there yet."""
        self._chance = chance
        self._step = 0
        self._brief = ""
        self._session: dict[str, str] = {}
        self._connection: Connection | None = None
        self._place: Place | None = None

    async def connect(self, place: Place) -> None:
        """A new connection to a hub, which has to take the session where there was one."""
        self.leave()
        self._place, self._connection = place, await Connection.open(place.port)
        if self.era == "legacy" and not self._session:
            await self._initialize()
        if self.noted:
            await self._look()
        else:
            await self._begin()

    def leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def work(self, done: Any) -> None:
        """Call after call until the hub is gone; `done()` after each answer."""
        try:
            while True:
                await self._append()
                done()
                what = self._chance.random()
                if what < 0.15:
                    await self._keep()
                elif what < 0.25:
                    await self._long()
                elif what < 0.3:
                    await self._note()
                else:
                    continue
                done()
        except Lost:
            pass

    async def _append(self) -> None:
        if self.open is None:
            self._step += 1
            self.open = f"{self.name}-{self._step}"
        key = self.open
        result = await self._call("good__note", {"text": key}, key)
        if result.get("isError"):
            if "nobody knows" not in result["content"][0]["text"]:
                self.wrong.append(f"{key} was refused: {result['content'][0]['text']}")
            elif f'{{"text":"{key}"}}: unknown' not in self._brief:
                self.wrong.append(f"the brief of {self.name} has not that {key} is unknown")
            self.unknown.add(key)
        else:
            if result["content"][0]["text"] != key:
                self.wrong.append(f"{key} was answered with something else")
            self.answered.add(key)
            if "hub/repeated" in result.get("_meta", {}):
                self.repeated.add(key)
        self.open = None

    async def _keep(self) -> None:
        """One of these is there from now on: the new one, once that was acknowledged."""
        self._step += 1
        self.kept.add(self._step)
        await self._own("memory", action="put", key="state", value=self._step)
        self.kept = {self._step}

    async def _note(self) -> None:
        self._step += 1
        text = f"note {self._step} of {self.name}"
        await self._own("session", action="note", text=text)
        self.noted.append(text)

    async def _long(self) -> None:
        self._step += 1
        text = f"{self.name} {self._step} ".ljust(LONG, "x")
        result = await self._call("good__echo", {"text": text})
        self.results[result["_meta"]["hub/result"]["id"]] = text

    async def _begin(self) -> None:
        if self.era == "modern":
            await self._own("session", action="open", name=self.name)
        await self._own("session", action="note", text=f"note 0 of {self.name}", goal=self.goal)
        self.noted.append(f"note 0 of {self.name}")

    async def _look(self) -> None:
        """What the session holds is what was acknowledged."""
        told = (await self._own("context", tokens=100_000))["content"][0]["text"]
        self._brief = told
        for what in (self.goal, *self.noted):
            if what not in told:
                self.wrong.append(f"the brief of {self.name} has not {what!r}")
        got = await self._own("memory", action="get", key="state")
        value = got.get("structuredContent", {}).get("value")
        if value not in self.kept:
            self.wrong.append(f"{self.name} keeps {value!r}, not one of {self.kept!r}")
        self.kept = {value}
        for id in self._chance.sample(sorted(self.results), min(3, len(self.results))):
            read = await self._own("read", id=id, **{"from": LONG - 10})
            told = orjson.loads(read["content"][0]["text"])
            if told.get("text") != self.results[id][-10:] or told.get("total") != LONG:
                self.wrong.append(f"result {id} of {self.name} is not what it was")
        self.resumed += 1

    async def _own(self, tool: str, **arguments: Any) -> Any:
        return await self._call(f"hub__{tool}", arguments)

    async def _call(self, name: str, arguments: dict[str, Any], key: str | None = None) -> Any:
        """The result. Raises `Lost`."""
        meta: dict[str, Any] = {**versions.meta_of(self.era).get("_meta", {})}
        opens = name == "hub__session" and arguments["action"] == "open"
        if self.era == "modern" and not opens:
            meta["hub/session"] = self.name
        if key is not None:
            meta[_KEY] = key
        params = {"name": name, "arguments": arguments, "_meta": meta}
        for _ in range(TRIES):
            status, message = await self._post("tools/call", params, name)
            if status == 200 and "result" in message:
                return message["result"]
            about = message.get("error", {}).get("data") or {}
            if about.get("reason") != "upstream_down":
                break
            # Nothing was sent: its server is just being started again.
            self.put_off += 1
            await anyio.sleep(PAUSE_SECONDS)
        raise AssertionError(f"{self.name}, {name}: {status}: {message!r:.300}")

    async def _initialize(self) -> None:
        offer = {"protocolVersion": versions.LEGACY, "capabilities": {}, "clientInfo": versions.CLIENT}
        await self._post("initialize", offer)
        if not re.fullmatch(r"[\w-]+", self._session.get("Mcp-Session-Id", "")):
            raise AssertionError("no session id")

    async def _post(self, method: str, params: Any, name: str | None = None) -> tuple[int, Any]:
        assert self._place is not None and self._connection is not None
        headers = {**self._place.headers("me"), **self._session}
        headers |= versions.headers_of(self.era, method, name)
        body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        try:
            answer = await self._connection.post(head(self._place.port, "/mcp", headers), body)
        except ConnectionError:
            raise Lost from None
        if method == "initialize":
            self._session = {"Mcp-Session-Id": answer.headers["mcp-session-id"]}
        data = answer.body
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            data = [line[5:] for line in data.splitlines() if line.startswith(b"data:")][-1]
        return answer.status, orjson.loads(data)
