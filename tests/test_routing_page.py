"""Each example of docs/routing.md, with servers where it says that they are: it does what the page says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from hub.errors import UpstreamDown, UpstreamFailed
from hub.model import Json
from tests.documents import blocks
from tests.homes import eventually
from tests.shop import LOOK, House, Shop, breaks, house, said, save, says, shop, text, tool
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

SHOWN: list[Json] = [
    YAML(typ="safe").load(block.text)
    for block in blocks(ROOT / "docs" / "routing.md", "yaml")
    if not block.words
]


@asynccontextmanager
async def shown(home: Path, name: str, **tools: tuple[Json, ...]) -> AsyncIterator[dict[str, Shop]]:
    """The page's manifest of a server, with shops at its addresses, and at others that it names."""
    found = next(each for each in SHOWN if each["server"] == name)
    async with AsyncExitStack() as stack:
        shops = {host: await stack.enter_async_context(shop(*offer)) for host, offer in tools.items()}
        save(home, name, standing(found, shops))
        for host, each in shops.items():
            if not host.startswith(name):
                connect = {"url": each.url, "allow_private": True}
                save(home, host, {"server": host, "connect": connect, "trust": "annotations"})
        yield shops


def standing(value: Any, shops: dict[str, Shop]) -> Any:
    if isinstance(value, list):
        return [standing(each, shops) for each in value]
    if not isinstance(value, dict):
        return value
    if "url" in value:
        host = value["url"].removeprefix("https://").removesuffix(".example.com/mcp").replace("-", "_")
        return {"url": shops[host].url, "allow_private": True}
    return {key: standing(each, shops) for key, each in value.items()}


def reads(*names: str) -> tuple[Json, ...]:
    return tuple(tool(name, readOnlyHint=True) for name in names)


def test_the_page_has_no_example_that_is_not_run_here() -> None:
    assert [each["server"] for each in SHOWN] == ["reports", "search", "prices", "rates", "weather", "maps"]


async def test_times(tmp_path: Path) -> None:
    async with shown(tmp_path, "reports", reports=(tool("render"), tool("list"))), house(tmp_path) as hub:
        assert route(hub, "reports__render") == (600, 60)
        assert route(hub, "reports__list") == (None, 20)
        limits = hub.app.fleet.upstreams["reports"].manifest.limits
        assert (limits.connect, limits.call) == (10, 60)
        assert hub.app.fleet.patience_seconds("reports", 600) in (600, 610)


def route(hub: House, name: str) -> tuple[float | None, float | None]:
    entry = hub.app.hub.find("tool", name)
    assert entry is not None
    assert entry.route is not None
    return entry.route.call_seconds, entry.route.silence_seconds


async def test_again(tmp_path: Path) -> None:
    tools = (*reads("find"), tool("put_page"), tool("delete_page"), tool("new_page", idempotentHint=True))
    async with shown(tmp_path, "search", search=tools) as shops, house(tmp_path) as hub:
        search = shops["search"]
        for name, times in {"find": 3, "put_page": 3, "delete_page": 1, "new_page": 1}.items():
            search.does(name, breaks)
            with pytest.raises(UpstreamFailed):
                await hub.use(f"search__{name}")
            assert search.count(name) == times
            search.does(name, says("ok"))
            await hub.use(f"search__{name}")


async def test_leaving_a_server_alone(tmp_path: Path) -> None:
    async with shown(tmp_path, "prices", prices=(LOOK,)) as shops, house(tmp_path) as hub:
        shops["prices"].does("look", breaks)
        for _ in range(3):
            with pytest.raises(UpstreamFailed):
                await hub.use("prices__look")
        with pytest.raises(UpstreamDown):
            await hub.use("prices__look")
        hub.clock.ahead += 10
        shops["prices"].does("look", says("well"))
        assert said(await hub.use("prices__look")) == "well"


async def test_what_stands_in(tmp_path: Path) -> None:
    offers = {"rates": reads("rate"), "bank": reads("exchange_rate"), "almanac": reads("look_up")}
    async with shown(tmp_path, "rates", **offers) as shops, house(tmp_path) as hub:
        asked = {"base": "EUR", "quote": "CZK"}
        assert said(await hub.use("rates__rate", asked)) == "ok"
        shops["rates"].does("rate", breaks)
        answer = await hub.use("rates__rate", asked)
        assert answer["_meta"]["hub/route"]["tool"] == "bank__exchange_rate"
        assert shops["bank"].calls[0]["arguments"] == asked
        shops["bank"].does("exchange_rate", breaks)
        answer = await hub.use("rates__rate", asked)
        assert answer["_meta"]["hub/route"] == {
            "tool": "almanac__look_up",
            "degraded": True,
            "why": "upstream_failed",
        }
        sent = shops["almanac"].calls[0]["arguments"]
        assert sent == {"from": "EUR", "to": "CZK", "table": "rates"}
        shops["almanac"].does("look_up", breaks)
        answer = await hub.use("rates__rate", asked)
        assert (said(answer), answer["_meta"]["hub/route"]["tool"]) == ("ok", "cached")
        answer = await hub.use("rates__rate", {"base": "EUR", "quote": "USD"})
        assert answer["structuredContent"] == {"rate": None, "note": "no source answers"}


async def test_what_a_result_must_be(tmp_path: Path) -> None:
    async with (
        shown(tmp_path, "weather", weather=reads("today"), almanac=reads("today")) as shops,
        house(tmp_path) as hub,
    ):
        warm: Json = {"resultType": "complete", "content": [], "structuredContent": {"celsius": 20}}
        shops["weather"].does("today", says(warm), says('{"celsius": 21}'), says('{"celsius": 200}'))
        shops["almanac"].does("today", says("rain, as ever"))
        assert await hub.use("weather__today") == warm
        assert (await hub.use("weather__today"))["structuredContent"] == {"celsius": 21}
        answer = await hub.use("weather__today")
        assert said(answer) == "rain, as ever"
        assert answer["_meta"]["hub/route"]["why"] == "contract"


async def test_several_of_one(tmp_path: Path) -> None:
    offers = {"maps_1": (LOOK,), "maps_2": (LOOK,), "maps_3": (LOOK, tool("burn"))}
    async with shown(tmp_path, "maps", **offers) as shops, house(tmp_path) as hub:
        maps = hub.app.fleet.upstreams["maps"]

        def notes() -> list[Any]:
            return [each["note"] for each in hub.app.fleet.replicas(maps)]

        await eventually(lambda: notes() == [None, "offers other tools, so it gets no calls: adds burn"])
        for _ in range(4):
            assert await hub.use("maps__look") == text("ok")
        assert [len(shops[name].calls) for name in offers] == [2, 2, 0]
