"""Waiting for a server on a person's behalf: for longer than an agent would, and told what it does.

A package may have to be installed first; people see that it goes on and may stop it themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from hub.errors import UpstreamError
from hub.failure import Failure

if TYPE_CHECKING:
    from hub.upstreams.upstream import Upstream

__all__ = ["Progress", "until_learnt", "until_up"]

Progress = Callable[[str], None]
"""Gets sentences about what an operation does right now. Must not block."""

_LOOK_SECONDS = 0.1
_SECONDS_MAX = 900.0


async def until_learnt(upstream: Upstream, progress: Progress) -> None:
    """Return once it has been learnt, or there is no use in waiting."""
    async with _telling(upstream, progress):
        with anyio.move_on_after(_SECONDS_MAX):
            while upstream.known is None and upstream.state != "failed":  # noqa: ASYNC110 (it tells nobody)
                await anyio.sleep(_LOOK_SECONDS)


async def until_up(upstream: Upstream, start: Callable[[], Awaitable[None]], progress: Progress) -> None:
    """Have it started by `start`, and wait as long as it is starting.

    Raises:
        Failure: it does not come up, with its own reason.
    """
    async with _telling(upstream, progress):
        with anyio.move_on_after(_SECONDS_MAX):
            while True:
                try:
                    return await start()
                except UpstreamError as error:
                    if upstream.state != "starting":
                        raise Failure(
                            error.reason,
                            f"{upstream.name}: {upstream.reason or error}",
                            f"`hub servers logs {upstream.name}` shows what it wrote."
                            if upstream.stderr
                            else "",
                        ) from None
                    start = upstream.check
    raise Failure(
        "upstream_down", f"{upstream.name}: still {upstream.doing or 'starting'}; not waited for longer."
    )


@asynccontextmanager
async def _telling(upstream: Upstream, progress: Progress) -> AsyncIterator[None]:
    """Say meanwhile what the server does."""
    async with anyio.create_task_group() as tasks:

        async def tell() -> None:
            last: str | None = None
            while True:
                if upstream.doing not in (None, last):
                    last = upstream.doing
                    progress(f"{upstream.name}: {last}")
                await anyio.sleep(_LOOK_SECONDS)

        tasks.start_soon(tell)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()
