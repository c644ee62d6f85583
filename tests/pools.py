"""A pool of HTTP/1.1 connections to a server that answers as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from connectors.http_connect import Address, Route
from connectors.http_pool import Pool
from connectors.http_response import Stream
from tests.servers.fault_http import Answer, Faulty, serve

POST = b"POST /mcp HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\n{}"
GET = b"GET /mcp HTTP/1.1\r\nHost: here\r\n\r\n"


@asynccontextmanager
async def pool_of(answer: Answer, **options: Any) -> AsyncIterator[tuple[Pool, Faulty]]:
    with anyio.fail_after(30):
        async with serve(answer) as server:
            route = Route(Address("http", "127.0.0.1", server.port, "/mcp"), None, None)
            pool = Pool(route, body_bytes_max=options.pop("body_bytes_max", 1000), **options)
            try:
                yield pool, server
            finally:
                await pool.close()
                assert len(pool) == 0


async def stream_of(pool: Pool) -> Stream:
    stream = (await pool.exchange(POST)).stream
    assert stream is not None
    return stream


async def read_all(stream: Stream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    stream.close()
    return b"".join(parts)
