"""Extensions that servers speak: who is told of them, whose their methods are, and who may use those."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import anyio
import pytest

from hub.catalog import Catalog, Offer
from hub.errors import InvalidParams
from hub.extensions import advertised, onward, route, speakers
from hub.model import Entry, Json
from hub.policy import Grants, Rule
from tests.conformance import REPOSITORY
from tests.hub_room import Room, room

pytestmark = pytest.mark.anyio

MODULE_SECONDS_MAX = 300
SKILLS = "io.modelcontextprotocol/skills"
TASKS = "io.modelcontextprotocol/tasks"
MANIFEST = "skill://release-notes/SKILL.md"
EVERYTHING: Json = {
    "connect": {"command": [sys.executable, "-m", "tests.servers.everything", "--stdio"]},
    "cwd": str(REPOSITORY),
}
AGENTS = {
    "me": ["*"],
    "narrow": ["one__greet", "two__slow_compute"],
    "reader": ["one__*"],
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module: its hub lives as long."""
    return "asyncio"


@pytest.fixture(scope="module")
async def it(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    """A hub with two servers that speak the same extensions."""
    home = tmp_path_factory.mktemp("extensions")
    servers = {"one": EVERYTHING, "two": EVERYTHING}
    async with room(home, servers, agents=AGENTS, seconds=MODULE_SECONDS_MAX) as it:
        yield it


async def ask(it: Room, agent: str, method: str, params: Json | None = None) -> Json:
    with anyio.fail_after(30):
        async with it.http(agent) as http:
            return await it.ask(http, method, params or {}, {})


async def test_an_agent_is_told_of_the_extensions_that_it_may_use(it: Room) -> None:
    """Ours: tasks come with any of a server's tools; any other extension is granted by its own name."""

    async def told(agent: str) -> Json:
        found: Json = (await ask(it, agent, "server/discover"))["result"]["capabilities"].get(
            "extensions", {}
        )
        return found

    assert await told("me") == {TASKS: {}, SKILLS: {"directoryRead": True}}
    assert await told("reader") == {TASKS: {}, SKILLS: {"directoryRead": True}}
    assert await told("narrow") == {TASKS: {}}
    async with it.session({}) as older:
        # What its protocol has no word for, it is not told of.
        assert older.declared["extensions"] == {SKILLS: {"directoryRead": True}}


async def test_a_method_of_an_extension_goes_to_the_server_that_speaks_it(it: Room) -> None:
    """Source: SEP-2640. As the server gave it, but that no cache may hand it to another agent."""
    result = (await ask(it, "reader", "skills/list"))["result"]
    assert [skill["uri"] for skill in result["skills"]] == [MANIFEST]
    assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 60_000, "private")
    assert "nextCursor" not in result
    one = (await ask(it, "reader", "skills/get", {"uri": MANIFEST}))["result"]["skill"]
    assert one == result["skills"][0]
    below = await ask(it, "reader", "resources/directory/read", {"uri": "skill://release-notes"})
    assert [each["name"] for each in below["result"]["resources"]] == ["SKILL.md", "references"]
    wrong = (await ask(it, "reader", "skills/get", {"uri": "skill://none"}))["error"]
    assert (wrong["code"], wrong["data"]) == (-32602, {"uri": "skill://none"})


async def test_an_extension_that_is_not_granted_is_no_method(it: Room) -> None:
    """Ours: nothing is allowed that no rule allows, and what is not allowed is not there."""
    for agent, method in (("narrow", "skills/list"), ("me", "nothing/list"), ("me", "skills")):
        error = (await ask(it, agent, method))["error"]
        assert error == {"code": -32601, "message": f"Method not found: {method}"}


async def test_the_protocols_own_words_are_never_an_extensions(it: Room) -> None:
    for method in ("tools/other", "tasks/list", "logging/setLevel", "resources/subscribe", "notifications/x"):
        assert (await ask(it, "me", method))["error"]["code"] == -32601


async def test_lists_of_several_servers_are_given_one_after_another(it: Room) -> None:
    """Ours: each page is one server's, and its cursor says whose is next."""
    first = (await ask(it, "me", "skills/list"))["result"]
    second = (await ask(it, "me", "skills/list", {"cursor": first["nextCursor"]}))["result"]
    assert first["skills"] == second["skills"] and "nextCursor" not in second
    error = (await ask(it, "me", "skills/list", {"cursor": "other"}))["error"]
    assert error == {"code": -32602, "message": "Invalid params: unknown cursor"}


async def test_what_two_servers_have_alike_cannot_be_asked_for_by_it(it: Room) -> None:
    error = (await ask(it, "me", "skills/get", {"uri": MANIFEST}))["error"]
    assert error["code"] == -32602 and "'one', 'two'" in error["message"]


async def test_an_older_agent_uses_an_extension_too(it: Room) -> None:
    async with it.session({}, agent="reader") as older:
        result = (await older.request("skills/list"))["result"]
        assert set(result) == {"skills"}


def grants(*may: str, never: tuple[str, ...] = ()) -> Grants:
    return Grants("me.yaml", (Rule("may[0]", may, 1),), (Rule("never[0]", never, 2),) if never else ())


def spoken(**extensions: Json) -> Catalog:
    """Servers that speak extensions, and have one resource each."""
    return Catalog.build(
        [
            Offer(
                server,
                definitions={"resource": ({"uri": f"x://{server}/a/b", "name": "b"},)},
                extensions=each,
            )
            for server, each in extensions.items()
        ],
        1,
    )


def test_the_name_of_an_extension_is_a_grant() -> None:
    catalog = spoken(box={"vendor.example/notes": {"x": 1}})
    assert [entry.grant for entry in speakers(catalog, grants("box__*"), "notes/read")] == [
        "box__vendor.example/notes"
    ]
    assert speakers(catalog, grants("box__vendor.example/*"), "notes/read")
    assert not speakers(catalog, grants("*", never=("*/notes",)), "notes/read")
    assert not speakers(catalog, grants("*"), "other/read")
    assert advertised(catalog, grants("*"), set(), modern=True) == {"vendor.example/notes": {"x": 1}}
    assert advertised(catalog, grants("box__tool"), {"box"}, modern=True) == {}


def test_where_two_give_one_setting_the_first_server_counts() -> None:
    catalog = spoken(b={"v/x": {"one": 2, "two": 2}}, a={"v/x": {"one": 1}})
    assert advertised(catalog, grants("*"), set(), modern=True) == {"v/x": {"one": 1, "two": 2}}


def test_a_request_goes_to_the_server_that_has_what_it_names() -> None:
    catalog = spoken(a={"v/x": {}}, b={"v/x": {}})
    among, resources = speakers(catalog, grants("*"), "x/get"), catalog.entries["resource"]

    def owner(uri: str) -> str:
        return route(among, resources, "x/get", {"uri": uri})[0].server

    assert (owner("x://a/a/b"), owner("x://b/a"), owner("x://b/")) == ("a", "b", "b")
    for params in ({"uri": "x://c"}, {"uri": 1}, {}):
        with pytest.raises(InvalidParams):
            route(among, resources, "x/get", params)


def test_every_page_of_every_list_is_given_once() -> None:
    catalog = spoken(a={"v/x": {}}, b={"v/x": {}}, c={"v/x": {}})
    among = speakers(catalog, grants("*"), "x/list")
    pages: dict[tuple[str, str | None], Json] = {
        ("a", None): {"at": 1, "nextCursor": ""},
        ("a", ""): {"at": 2},
        ("b", None): {"at": 3, "nextCursor": "\n="},
        ("b", "\n="): {"at": 4},
        ("c", None): {"at": 5},
    }
    seen: list[int] = []
    params: Json = {"_meta": {}}
    while True:
        entry: Entry
        entry, inner = route(among, (), "x/list", params)
        assert inner["_meta"] == {}
        result = onward(among, entry, "x/list", pages[entry.server, inner.get("cursor")])
        seen.append(result["at"])
        if "nextCursor" not in result:
            break
        params = {"cursor": result["nextCursor"], "_meta": {}}
    assert seen == [1, 2, 3, 4, 5]
