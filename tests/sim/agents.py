"""Agents: what they ask, over connections that break, and what they note of the answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hub.middleware.once import KEY
from hub.route import DEADLINE
from tests.sim.network import Answer, Client, Gone
from tests.sim.servers import NONCE
from tests.sim.world import Ack

if TYPE_CHECKING:
    from tests.sim.world import World

__all__ = ["GRANTED", "Agent"]

VERSION: Final = "2026-07-28"
GRANTED: Final[Mapping[str, tuple[str, ...]]] = {
    "ann": ("alpha__look", "alpha__write", "alpha__put", "beta__look", "beta__write", "beta__put",
            "gamma__look", "gamma__write", "gamma__put"),
    "bob": ("alpha__look", "alpha__write", "alpha__put", "alpha__extra"),
    "cid": ("alpha__look", "beta__look", "gamma__look", "gamma__write"),
}  # fmt: skip
OTHERS: Final = ("alpha__secret", "alpha__extra", "beta__write", "gamma__put", "delta__none")
"""What an agent asks for now and then, granted or not."""
_NONCES: Final = re.compile(r"n-[a-z]+-\d+-\d+\.")

CONNECT_SECONDS: Final = 8.0
CALL_SECONDS: Final = 10.0
ONCE_SECONDS: Final = 30.0
STORE_SECONDS: Final = 10.0
"""How much longer an answer may take while the disk fails."""


class Agent:
    def __init__(self, world: World, name: str, token: str) -> None:
        self.name = name
        self._world = world
        self._token = token
        self._numbers = 0

    async def live(self, line: int, requests: int) -> None:
        """Ask so many times, over one connection after the other."""
        world, random = self._world, self._world.random
        client: Client | None = None
        for number in range(requests):
            await asyncio.sleep(random.choice((0.0, 0.0, 0.003, 0.05, 0.5, 3.0)))
            nonce = f"n-{self.name}-{line}-{number}."
            tool = random.choice(OTHERS if random.random() < 0.15 else GRANTED[self.name])
            key = nonce if random.random() < 0.3 else None
            for _ in range(random.randrange(1, 4) if key is not None else 1):
                if client is None or client.gone:
                    client = await self._connected()
                twin = None
                if key is not None and random.random() < 0.3:
                    twin = world.time.world.create_task(self._alone(tool, nonce, key))
                ack = await self.call(client, tool, nonce, key)
                if twin is not None:
                    await twin
                if ack.kind == "result":
                    break
                await asyncio.sleep(random.choice((0.0, 0.5, 3.0)))
            if random.random() < 0.1 and client is not None:
                await self.listed(client)
        if client is not None:
            client.close()

    async def _alone(self, tool: str, nonce: str, key: str) -> None:
        """The same call at the same time, over a connection of its own."""
        await asyncio.sleep(self._world.random.choice((0.0, 0.001, 0.02)))
        client = await self._connected()
        await self.call(client, tool, nonce, key)
        client.close()

    async def _connected(self) -> Client:
        while True:
            client = Client(self._world)
            try:
                client.connect()
                return client
            except Gone:
                await asyncio.sleep(0.2)

    async def call(self, client: Client, tool: str, nonce: str, key: str | None) -> Ack:
        """One call, whatever comes of it."""
        random, world = self._world.random, self._world
        meta: dict[str, Any] = {} if key is None else {KEY: key}
        if random.random() < 0.3:
            meta["progressToken"] = nonce
        if random.random() < 0.1:
            meta[DEADLINE] = random.choice((0.05, 1.0, 100.0))
        servers = {"alpha__look": 3, "beta__look": 2}.get(tool, 1)  # what stands in has its own server's time
        params = {"name": tool, "arguments": {NONCE: nonce}, "_meta": meta}
        seconds_max = servers * (CONNECT_SECONDS + CALL_SECONDS) + 1
        if DEADLINE in meta:
            seconds_max = min(seconds_max, meta[DEADLINE] + 1)
        if key is not None:
            seconds_max += ONCE_SECONDS
        impatient = not world.calm and random.random() < 0.1
        began = world.time.now
        if impatient:
            world.later(random.choice((0.001, 0.01, 2.0)), client.close)
        answer = await self._ask(client, "tools/call", params, tool, seconds_max, nonce)
        ack = self._ack(answer, tool, nonce, key)
        world.note(f"{self.name} asked {tool} for {nonce} at {began - 1000:.6f}: {ack.kind} {ack.reason}")
        world.acks.append(ack)
        return ack

    async def listed(self, client: Client) -> None:
        """What it may use: never more than is granted."""
        answer = await self._ask(client, "tools/list", {"_meta": {}}, None, CALL_SECONDS, "")
        for message in answer.messages() if answer is not None else []:
            for tool in message.get("result", {}).get("tools", ()):
                name = tool["name"]
                if name not in GRANTED[self.name] and not name.startswith("hub__"):
                    self._world.wrong("I2", f"{self.name} is shown {name}")

    async def _ask(
        self,
        client: Client,
        method: str,
        params: dict[str, Any],
        name: str | None,
        seconds: float,
        nonce: str,
    ) -> Answer | None:
        """The answer; `None` where the connection ended. Judges I5 and I6."""
        world = self._world
        self._numbers += 1
        id, began = f"{self.name}-{self._numbers}", world.time.now
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientInfo": {"name": "sim", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
            **params["_meta"],
        }
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}
        head = (
            f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self._token}\r\n"
            f"content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
            f"mcp-protocol-version: {VERSION}\r\nmcp-method: {method}\r\n"
            + (f"mcp-name: {name}\r\n" if name is not None else "")
        )
        answer: Answer | None = None
        try:
            # What hangs for ever is told from what is late.
            async with asyncio.timeout(seconds + 200):
                answer = await client.ask(head.encode(), json.dumps(body).encode())
        except Gone:
            pass
        except TimeoutError:
            world.wrong("I5", f"{id} ({nonce}) got no answer in {seconds + 200:g} s")
            client.close()
            return None
        took = world.time.now - began
        if began - 15 < world.disk_was_bad:
            seconds += STORE_SECONDS
        if took > seconds:
            world.wrong("I5", f"{id} ({nonce}) was answered after {took:.3f} s, later than {seconds:g} s")
        if answer is None:
            return None
        self._judge(answer, id, nonce, client)
        return answer

    def _judge(self, answer: Answer, id: str, nonce: str, client: Client) -> None:
        world = self._world
        others = {each for each in _NONCES.findall(answer.body.decode()) if each != nonce}
        if others:
            world.wrong("I6", f"{self.name} got {sorted(others)} in the answer to {nonce}")
        if client.beyond:
            world.wrong("I5", f"{id} got more than one answer")
        if answer.status >= 500 and answer.status != 503:
            world.wrong("F1", f"{id} ({nonce}) was answered {answer.status}: {answer.body[:200]!r}")
        finals = [message for message in answer.messages() if "method" not in message]
        if answer.status < 400 and len(finals) != 1:
            world.wrong("I5", f"{id} ({nonce}) got {len(finals)} answers: {answer.body[:200]!r}")
        for message in finals:
            if message.get("id") not in (id, None):
                world.wrong("I6", f"{id} got the answer to {message.get('id')}")

    def _ack(self, answer: Answer | None, tool: str, nonce: str, key: str | None) -> Ack:
        if answer is None:
            return Ack(self.name, tool, nonce, key, "gone")
        finals = [message for message in answer.messages() if "method" not in message]
        final = finals[-1] if finals else {}
        if "result" in final:
            result = final["result"]
            kind = "tool_error" if result.get("isError") else "result"
            return Ack(self.name, tool, nonce, key, kind, json.dumps(result))
        error = final.get("error", {})
        reason = (error.get("data") or {}).get("reason", "") if isinstance(error.get("data"), dict) else ""
        said = error.get("message", "")
        if error.get("message") == "Internal error":
            self._world.wrong("F1", f"{self.name} was told of {nonce}: {error}")
        return Ack(
            self.name, tool, nonce, key, "error", said, reason or str(error.get("code", answer.status))
        )
