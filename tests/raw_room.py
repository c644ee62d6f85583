"""A hub in this process: dictated servers behind it and raw agents before it, both eras, both wires."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from hub.app import App, open_app
from hub.home import Home
from hub.server import HttpApp
from hub.settings import Settings
from tests.app_room import front_of, until_ready
from tests.homes import write
from tests.raw_agents import Era, RawAgent, raw_agent
from tests.servers import dictated
from tests.servers.dictated import Dictated

ERAS: tuple[Era, ...] = ("modern", "legacy")
WIRES = ("http", "stdio")
SECONDS = 30


@dataclass
class Server:
    """One dictated server: how to tell it its next answer, and what it was asked last."""

    name: str
    era: Era
    tell: Callable[[str], None]
    asked: Callable[[], bytes]


@dataclass(repr=False)
class RawRoom:
    app: App
    servers: dict[tuple[Era, str], Server]
    over_http: dict[Era, Dictated]
    """The dictated servers that listen in this process."""
    offering: dict[Era, Dictated]
    """Servers over HTTP whose lists are dictated as well."""
    agents: dict[tuple[Era, str], RawAgent] = field(default_factory=dict)


@asynccontextmanager
async def raw_room(home: Path) -> AsyncIterator[RawRoom]:
    """All of it, connected and learnt."""
    servers: dict[tuple[Era, str], Server] = {}
    over_http: dict[Era, Dictated] = {}
    offering: dict[Era, Dictated] = {}
    write(home, "me", agent="me", may=["*"])
    async with AsyncExitStack() as stack:
        for era in ERAS:
            for name in (f"{era}-http", f"{era}-lists"):
                at = Dictated(era, name)
                url = await stack.enter_async_context(at.listening())
                # Its lists are other ones each time, and are to be served as they are.
                more = {"results": "whole", "tools": {"changed": "serve"}}
                write(home, name, server=name, connect={"url": url}, era=era, **more)
                if name.endswith("http"):
                    tell, asked = _dictate(at)
                    over_http[era] = at
                    servers[era, "http"] = Server(name, era, tell, asked)
                else:
                    offering[era] = at
            servers[era, "stdio"] = _over_stdio(home, era)
        app = await stack.enter_async_context(open_app(Home.at(home), Settings()))
        front = front_of(app)
        http = HttpApp(front, app.settings)
        with anyio.fail_after(SECONDS):
            await until_ready(app)
            _, token = await app.identities.issue("me")
        room = RawRoom(app, servers, over_http, offering)
        for era in ERAS:
            for wire in WIRES:
                local = app.identities.local("me")
                agent = raw_agent(front, http, token, local, wire, era)
                room.agents[era, wire] = await stack.enter_async_context(agent)
        yield room
        front.close()


def _dictate(at: Dictated) -> tuple[Callable[[str], None], Callable[[], bytes]]:
    def tell(answer: str) -> None:
        at.answer = answer

    return tell, lambda: at.asked


def _over_stdio(home: Path, era: Era) -> Server:
    name = f"{era}-stdio"
    folder = home / name
    folder.mkdir()
    (folder / "answer").write_text('"result":{}')
    command = [sys.executable, str(Path(dictated.__file__)), era, name, str(folder)]
    write(home, name, server=name, connect={"command": command}, era=era, results="whole")

    def tell(answer: str) -> None:
        (folder / "answer").write_text(answer, "utf-8")

    return Server(name, era, tell, (folder / "asked").read_bytes)
