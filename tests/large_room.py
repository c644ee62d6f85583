"""Servers whose answers are large, an agent that reads them, and what that costs a hub in memory."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hub.model import Json
from tests.homes import Running, token
from tests.house import headers_of
from tests.processes import memory_bytes
from tests.servers.dictated import Dictated, Era

MIB = 1024 * 1024
SECONDS_MAX = 60
ERAS: tuple[Era, ...] = ("modern", "legacy")


def answer(text: str) -> str:
    """What a dictated server is told to answer."""
    result = {"content": [{"type": "text", "text": text}], "resultType": "complete"}
    return f'"result":{json.dumps(result, ensure_ascii=False)}'


@contextmanager
def served(text: str) -> Iterator[dict[Era, str]]:
    """Servers over HTTP in a thread of their own, that answer with `text`: the URL of each."""
    urls: dict[Era, str] = {}
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        servers = {era: Dictated(era, f"{era}-http") for era in ERAS}
        async with servers["modern"].listening() as one, servers["legacy"].listening() as two:
            for era, url in zip(ERAS, (one, two), strict=True):
                servers[era].answer = answer(text)
                urls[era] = url
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(SECONDS_MAX)
    yield urls
    loop.call_soon_threadsafe(over.set)
    thread.join(SECONDS_MAX)
    loop.close()


def peak_bytes(hub: Running) -> int | None:
    """The most memory that the hub has ever had; `None` where the system does not say."""
    try:
        return memory_bytes(hub.pid, "VmHWM")
    except FileNotFoundError:
        return None


class HttpAgent:
    """Speaks with a hub in a process of its own, one message at a time, in either era."""

    def __init__(self, hub: Running) -> None:
        host, _, port = hub.url.split("/")[2].partition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=2 * SECONDS_MAX)
        self.headers = {
            "authorization": f"Bearer {token(hub.home)}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }

    def ask(self, body: Json) -> Json:
        headers = {**self.headers, **(headers_of(body) if "_meta" in body["params"] else {})}
        self._connection.request("POST", "/mcp", json.dumps(body, ensure_ascii=False).encode(), headers)
        response = self._connection.getresponse()
        session = response.headers.get("mcp-session-id")
        if session is not None:
            self.headers |= {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
        said = response.read()
        if response.headers["content-type"] == "text/event-stream":
            # What takes a busy machine long is answered so; the answer is the last that is said.
            said = [line[5:] for line in said.splitlines() if line.startswith(b"data:")][-1]
        answered: Json = json.loads(said)
        return answered

    def close(self) -> None:
        self._connection.close()
