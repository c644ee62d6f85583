"""An app in the test's own process, without listeners; its servers are real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from hub.app import App, open_app
from hub.home import Home
from hub.server import Front
from hub.settings import Settings
from hub.upstreams.upstream import Upstream
from tests.homes import write

__all__ = ["app_at", "front_of", "until", "until_known", "until_ready"]


@asynccontextmanager
async def app_at(home: Path, *, never: Sequence[str] = ()) -> AsyncIterator[App]:
    """With the servers whose manifests are there, and an agent `me` that may use everything but `never`."""
    write(home, "me", agent="me", may=["*"], never=[*never])
    with anyio.fail_after(60):
        async with open_app(Home.at(home), Settings()) as app:
            yield app


def front_of(app: App, *, question_seconds: float = 600.0) -> Front:
    """As `hub.serve` makes it."""
    return Front(
        app.hub,
        app.identities,
        app.sessions,
        ready=app.ready,
        instructions=app.instructions,
        capabilities=app.capabilities,
        question_seconds=question_seconds,
    )


async def until(app: App, name: str, *states: str) -> Upstream:
    """The server of that name, once it is in one of these states."""
    upstream = app.fleet.upstreams[name]
    while upstream.state not in states:
        await upstream.moved()
    return upstream


async def until_ready(app: App) -> None:
    """Return once all servers are up."""
    for name in app.fleet.upstreams:
        await until(app, name, "ready")


async def until_known(app: App) -> None:
    """Return once it has been learnt what each server offers; none may fail."""
    for upstream in app.fleet.upstreams.values():
        while upstream.known is None:
            await upstream.moved()
            assert upstream.state != "failed", upstream.reason
