"""A hub's folder with a past: calls that went through the real steps which judge and record them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

import hub.cli
from hub.catalog import Catalog
from hub.chain import build
from hub.commands.remembered import picture
from hub.env import SystemEnv
from hub.errors import Refused
from hub.home import Home
from hub.hub import Hub
from hub.identity import scopes
from hub.manifests import manifest
from hub.middleware.authorize import Authorize
from hub.middleware.record import Record
from hub.model import Agent, Call, Result
from hub.store import servers, sessions, tokens
from hub.store.calls import Calls
from hub.store.db import Store
from tests.commands import Done
from tests.store_room import SESSION

__all__ = ["Room", "Use", "room_at"]

BYTES_MAX = 2000


class Clock(SystemEnv):
    at: float | None = None

    def now(self) -> float:
        return SystemEnv.now() if self.at is None else self.at


@dataclass(frozen=True)
class Use:
    """One call of a tool (or of what `method` says), `ago` seconds ago or at a moment."""

    name: str
    arguments: dict[str, Any] | None = None
    agent: str = "me"
    at: float | None = None
    ago: float = 0.0
    method: str = "tools/call"
    scope: str | None = None
    """What its token is narrowed to."""
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    home: Home
    run: Callable[..., Done]
    """`hub ARGUMENTS`, in this process."""

    def write(self, folder: str = "manifests", **written: Any) -> Path:
        """A manifest; the folder it is in."""
        name = written.get("agent") or written["server"]
        at = self.home.path / folder
        at.mkdir(parents=True, exist_ok=True)
        (at / f"{name}.yaml").write_text(json.dumps(written))
        return at

    def server(self, name: str, offers: dict[str, Any], **more: Any) -> None:
        """A server that was asked what it offers: its tools with their schemas."""
        self.write(server=name, connect={"command": ["none"]}, **more)
        offered = [
            {"name": own, "inputSchema": {"type": "object", **schema}} for own, schema in offers.items()
        ]
        kinds = {"tool": offered, "resource": [], "template": [], "prompt": []}
        self.learn(name, **kinds)

    def learn(self, name: str, **definitions: list[dict[str, Any]]) -> None:
        fingerprint = manifest.load(self.home.manifests).servers[name].fingerprint
        row = servers.ServerRow(name, fingerprint, "2026-07-28", "{}", "{}", None, json.dumps(definitions), 1)

        async def keep() -> None:
            async with Store.open(self.home.database, SystemEnv()) as store:
                await store.write(partial(servers.save, row=row))

        anyio.run(keep)

    @property
    def catalog(self) -> Catalog:
        from hub.review.replay import opened

        with opened(self.home) as record:
            return picture(manifest.load(self.home.manifests), record.servers).catalog

    def past(self, *uses: Use) -> list[bool]:
        """Use things as the agents of the manifests may; which uses were let through."""
        return anyio.run(self._past, uses)

    async def _past(self, uses: Sequence[Use]) -> list[bool]:
        env, through = Clock(), []
        agents = manifest.load(self.home.manifests).agents
        found = Hub(env, _answer, _unwatched, self.catalog)
        async with Store.open(self.home.database, SystemEnv()) as store:
            if await store.read(partial(sessions.get_session, id="s1")) is None:
                await store.write(partial(sessions.insert, row=SESSION))
            handler = build([Record(Calls(store), env, BYTES_MAX), Authorize(env)], _answer)
            for use in uses:
                env.at = None
                env.at = use.at if use.at is not None else env.now() - use.ago
                grants, token = agents[use.agent].grants(), None
                if use.scope is not None:
                    token = env.new_id()
                    made = tokens.NewToken(token, use.agent, env.random_bytes(32), 1, scope=use.scope)
                    await store.write(partial(tokens.add, token=made))
                    grants = scopes.grants(use.scope, within=grants)
                key = "uri" if use.method == "resources/read" else "name"
                params = {key: use.name, **use.params}
                if use.arguments is not None:
                    params["arguments"] = use.arguments
                call = found.new_call(Agent(use.agent, grants, token), "s1", use.method, params)
                try:
                    await handler(call)
                    through.append(True)
                except Refused:
                    through.append(False)
        return through


async def _answer(call: Call) -> Result:
    return {"content": []}


def _unwatched(*_: Any) -> Any:
    raise AssertionError


def room_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> Room:
    home = Home.at(folder)
    home.path.mkdir()
    home.create()
    home.manifests.mkdir()

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = hub.cli.run([*arguments, "--home", str(home.path)])
        captured = capsys.readouterr()
        assert not re.search(r"Traceback|unforeseen", captured.err), captured.err
        return Done(code, captured.out, captured.err)

    return Room(home, run)
