"""F1: requests that are wrong in every way, over HTTP and over the stdio bridge."""

from __future__ import annotations

import copy
import json
import random
import re
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

from hub.home import Home
from tests.faults.agents import opened, state
from tests.faults.figures import MEGABYTE, Figures, Row, Scale
from tests.faults.places import WORKER, Place, Start
from tests.raw_agents import STAMP

__all__ = ["ROW"]

RUDE: list[Any] = [
    None, True, -1, 0, 1.5, 1e308, 10**30, "", "\x00", "\ud83d", "../../etc/passwd", "💣" * 50, "a" * 10_000,
    [], {}, [[[[[[]]]]]], {"": {"": {}}}, "NaN", "__proto__", "%00", "\r\nX: y", "' OR 1=1 --",
]  # fmt: skip
RAW = (
    b"", b"{", b"[]", b"[1]", b"null", b"NaN", b'"x"', b"\xff\xfe", b"\xc3\x28", b'{"a":1,"a":2}',
    b"[" * 5000,
    b'{"jsonrpc":"2.0","id":1e999}', b'{"jsonrpc":"2.0","id":1,"method":"ping"}trailing', b"\x00" * 100,
)  # fmt: skip
METHODS = ("tools/call", "tools/list", "initialize", "ping", "resources/read", "prompts/get", "tasks/get",
           "server/discover", "completion/complete", "notifications/cancelled", "no/such", "")  # fmt: skip


def message(chance: random.Random) -> bytes:
    """One more that is not as it should be, in one place or in several."""
    if chance.random() < 0.15:
        return chance.choice(RAW)
    whole: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": chance.randrange(100),
        "method": chance.choice(METHODS),
        "params": {"name": "good__echo", "arguments": {"text": "x"}, "_meta": dict(STAMP)},
    }
    for _ in range(chance.randrange(1, 4)):
        place = chance.choice((whole, whole["params"], "arguments", "_meta"))
        if isinstance(place, str):
            place = whole["params"].get(place) if isinstance(whole["params"], dict) else None
        if not isinstance(place, dict):
            place = whole
        key = chance.choice([*place, "cursor", "uri", "extra"])
        if chance.random() < 0.2:
            place.pop(key, None)
        else:
            place[key] = copy.deepcopy(chance.choice(RUDE))
        if not isinstance(whole.get("params"), dict):
            break
    data = json.dumps(whole).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1 and data:
        at = chance.randrange(len(data))
        data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    return data


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, count = Figures(), scale(3_000, 100_000)
    chance = random.Random(20261121)
    statuses: dict[int, int] = {}
    async with start(folder, {"good": WORKER}) as place:
        assert place.hub is not None
        memory = place.memory()
        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(_over_http, place, random.Random(chance.random()), count // 4, statuses)
        lines = await _over_pipe(place, chance, count // 10)
        async with opened(place, "me") as (agent,):
            alive = (await agent.call("good", "echo", text="x")).good and (await state(place))[0] == 200
        grown = place.memory() - memory
        said = place.hub.said
    crashes = sum(times for status, times in statuses.items() if status >= 500)
    silent = statuses.get(0, 0)
    found.say(f"{sum(statuses.values())} over HTTP: {crashes} of status 5xx, {silent} without an answer",
              not crashes and not silent)  # fmt: skip
    found.say(f"{lines} lines over a pipe; the hub serves on", alive)
    found.say(f"{said.count('Traceback')} tracebacks", "Traceback" not in said)
    found.say(f"memory {grown / MEGABYTE:+.0f} MB", grown < 32 * MEGABYTE)
    return found


async def _over_http(place: Place, chance: random.Random, count: int, statuses: dict[int, int]) -> None:
    token = place.tokens["me"].encode()
    stream: anyio.abc.SocketStream | None = None
    for _ in range(count):
        body = message(chance)
        version = chance.choice((b"2026-07-28", b"2025-11-25", b"1", b""))
        head = b"".join((
            b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n",
            b"Accept: application/json, text/event-stream\r\nAuthorization: Bearer ", token,
            b"\r\nMCP-Protocol-Version: ", version, b"\r\nMcp-Method: tools/call\r\nMcp-Name: good__echo",
            b"\r\nContent-Length: %d\r\n\r\n" % len(body),
        ))  # fmt: skip
        status = 0
        with anyio.move_on_after(10):
            try:
                stream = stream or await anyio.connect_tcp("127.0.0.1", place.port)
                await stream.send(head + body)
                answer = await stream.receive()
                while b"\r\n\r\n" not in answer:
                    answer += await stream.receive()
                said, _, rest = answer.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", said)
                while length is not None and len(rest) < int(length[1]):
                    rest += await stream.receive()
                status = int(said[9:12])
                if length is None or b"connection: close" in said:
                    await stream.aclose()
                    stream = None
            except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
                stream = None
        if status == 0 and stream is not None:
            await stream.aclose()
            stream = None
        statuses[status] = statuses.get(status, 0) + 1
    if stream is not None:
        await stream.aclose()


async def _over_pipe(place: Place, chance: random.Random, count: int) -> int:
    """Lines to the socket that desktop clients' bridges use."""
    sent = 0
    path = Home.at(place.home).stdio_socket
    while sent < count:
        async with await anyio.connect_unix(path) as pipe:
            await pipe.send(b'{"agent": "me"}\n')
            async with anyio.create_task_group() as tasks:

                async def read(pipe: anyio.abc.SocketStream = pipe) -> None:
                    try:
                        while True:
                            await pipe.receive()
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        return

                tasks.start_soon(read)
                try:
                    for _ in range(200):
                        await pipe.send(message(chance).replace(b"\n", b" ") + b"\n")
                        sent += 1
                except anyio.BrokenResourceError:
                    sent += 1
                tasks.cancel_scope.cancel()
    return sent


ROW = Row(
    "F1",
    "100,000 inputs that are wrong, over HTTP and a pipe",
    "no crash, no 5xx, no traceback; memory flat",
    run,
)
