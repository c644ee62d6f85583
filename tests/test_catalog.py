"""The catalog: merged in a fixed order, one broken definition costs only itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hub.catalog import Catalog, Offer, Override, View
from hub.model import Entry, Kind

Definition = dict[str, Any]


def tool(name: str, **rest: Any) -> Definition:
    return {"name": name, "inputSchema": {"type": "object"}, **rest}


def resource(uri: str, **rest: Any) -> Definition:
    return {"uri": uri, "name": uri.rpartition("/")[2], **rest}


def tools(server: str, *definitions: Any, view: View | None = None) -> Offer:
    return Offer(server, view or View(), {"tool": definitions})


def build(*offers: Offer) -> Catalog:
    return Catalog.build(offers, 1)


def shown(catalog: Catalog, kind: Kind = "tool") -> list[str]:
    return [entry.name for entry in catalog.entries[kind]]


def found(catalog: Catalog, kind: Kind, name: str) -> Entry:
    entry = catalog.find(kind, name)
    assert entry is not None
    return entry


def test_entries_stand_by_server_and_then_as_each_server_lists_them() -> None:
    catalog = build(tools("time", tool("now"), tool("convert")), tools("git", tool("log"), tool("diff")))
    assert shown(catalog) == ["git__log", "git__diff", "time__now", "time__convert"]


def test_a_definition_goes_on_as_it_came_but_for_its_name() -> None:
    """Ours: raw in the middle. Unknown fields, their order and a null in them are the agent's to see."""
    raw = tool("log", vendor={"x": None}, annotations={"readOnlyHint": True}, _meta={"a/b": 2**70})
    entry = found(build(tools("git", raw)), "tool", "git__log")
    assert list(entry.definition.items()) == list({**raw, "name": "git__log"}.items())
    assert raw["name"] == "log"
    assert (entry.server, entry.own, entry.grant) == ("git", "log", "git__log")


@pytest.mark.parametrize(
    ("definition", "name", "why"),
    [
        ("text", "None", "not an object"),
        ({"inputSchema": {"type": "object"}}, "None", "no 'name'"),
        (tool(""), "", "no 'name'"),
        ({"name": 7, "inputSchema": {"type": "object"}}, "7", "'name'"),
        ({"name": "bad"}, "bad", "inputSchema is not an object"),
        ({"name": "bad", "inputSchema": True}, "bad", "inputSchema is not an object"),
        ({"name": "bad", "inputSchema": {}}, "bad", 'not of "type": "object"'),
        (tool("bad", outputSchema=[]), "bad", "outputSchema is not an object"),
        (tool("bad", description=["a"]), "bad", "description is not a string"),
        (tool("bad", title=None), "bad", "title is not a string"),
        (tool("bad", annotations="readOnly"), "bad", "annotations is not an object"),
        (tool("bad", icons={}), "bad", "icons is not an array"),
        (tool("bad", _meta=3), "bad", "_meta is not an object"),
        (tool("good"), "good", "twice"),
    ],
)
def test_an_unusable_tool_is_left_out_alone_by_name(definition: Any, name: str, why: str) -> None:
    catalog = build(tools("shop", tool("good"), definition, tool("fine")))
    assert shown(catalog) == ["shop__good", "shop__fine"]
    (left_out,) = catalog.left_out
    assert (left_out.server, left_out.kind, left_out.name) == ("shop", "tool", name)
    assert why in left_out.why


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("resource", {"uri": "a://1", "name": "one"}, {"uri": "a://2"}),
        ("resource", {"uri": "a://1", "name": "one"}, {"uri": "a://2", "name": "two", "mimeType": 1}),
        ("template", {"uriTemplate": "a://{x}", "name": "one"}, {"uri": "a://{y}", "name": "two"}),
        ("prompt", {"name": "ask"}, {"name": "tell", "arguments": {}}),
    ],
)
def test_an_unusable_entry_of_any_kind_is_left_out_alone(kind: Kind, good: Any, bad: Any) -> None:
    catalog = build(Offer("shop", View(), {kind: (bad, good)}))
    assert len(catalog.entries[kind]) == 1
    assert [each.kind for each in catalog.left_out] == [kind]


def test_only_tools_that_the_manifest_offers_are_there() -> None:
    view = View(allow=("git_*", "status"), deny=("git_reset",))
    catalog = build(tools("git", tool("git_log"), tool("git_reset"), tool("status"), tool("push"), view=view))
    assert shown(catalog) == ["git__git_log", "git__status"]
    assert catalog.left_out == ()


def test_an_override_is_what_agents_see_and_is_trusted() -> None:
    view = View(
        overrides=(
            Override("*", annotations={"readOnlyHint": True}),
            Override("push", title="Push", description="Sends.", annotations={"readOnlyHint": False}),
        )
    )
    catalog = build(tools("git", tool("log", annotations={"title": "L"}), tool("push", title="p"), view=view))
    log, push = catalog.entries["tool"]
    assert log.reads_only is True
    assert log.definition["annotations"] == {"title": "L", "readOnlyHint": True}
    assert push.reads_only is False
    assert (push.definition["title"], push.definition["description"]) == ("Push", "Sends.")
    assert push.definition["annotations"] == {"readOnlyHint": False}


@pytest.mark.parametrize(("trusted", "hint", "reads_only"), [
    (False, True, False), (True, True, True), (True, False, False), (True, "true", False),
])  # fmt: skip
def test_a_server_s_own_hint_decides_only_where_the_manifest_trusts_it(
    trusted: bool, hint: Any, reads_only: bool
) -> None:
    offer = tools("git", tool("log", annotations={"readOnlyHint": hint}), view=View(trusted=trusted))
    assert build(offer).entries["tool"][0].reads_only is reads_only


def test_reading_resources_and_prompts_changes_nothing() -> None:
    definitions: Mapping[Kind, tuple[Definition, ...]] = {
        "resource": (resource("a://1"),),
        "template": ({"uriTemplate": "a://{x}", "name": "x"},),
        "prompt": ({"name": "ask"},),
    }
    catalog = build(Offer("shop", View(), definitions))
    for kind in definitions:
        assert [entry.reads_only for entry in catalog.entries[kind]] == [True]


def bare(server: str, *names: str) -> Offer:
    return tools(server, *(tool(name) for name in names), view=View(bare=True))


def test_a_bare_server_s_tools_keep_their_own_names_and_its_rules_do_not_change() -> None:
    catalog = build(bare("git", "log"))
    assert shown(catalog) == ["log"]
    assert found(catalog, "tool", "log").grant == "git__log"


def test_of_two_bare_servers_the_later_one_s_clashing_tool_is_left_out() -> None:
    catalog = build(bare("zeta", "log", "push"), bare("alpha", "log"))
    assert [(entry.server, entry.own) for entry in catalog.entries["tool"]] == [
        ("alpha", "log"), ("zeta", "push"),
    ]  # fmt: skip
    (left_out,) = catalog.left_out
    assert (left_out.server, left_out.name) == ("zeta", "log")
    assert "alpha__log" in left_out.why


def test_a_bare_name_never_takes_over_a_prefixed_one() -> None:
    """Threat: tool shadowing. A bare server chooses its names; it must not answer for another server."""
    catalog = build(bare("alpha", "git__log", "own"), tools("git", tool("log")))
    assert found(catalog, "tool", "git__log").server == "git"
    assert shown(catalog) == ["own", "git__log"]
    assert [(each.server, each.name) for each in catalog.left_out] == [("alpha", "git__log")]


def test_where_names_of_one_server_meet_all_of_them_are_left_out_with_the_other_s_name() -> None:
    long = "x" * 70
    forged = found(build(tools("shop", tool(long))), "tool", shown(build(tools("shop", tool(long))))[0])
    other = forged.name.removeprefix("shop__")
    catalog = build(tools("shop", tool(long), tool(other), tool("fine")))
    assert shown(catalog) == ["shop__fine"]
    assert {each.name for each in catalog.left_out} == {long, other}
    assert all("is also that of shop__" in each.why for each in catalog.left_out)


def resources(server: str, *uris: str) -> Offer:
    return Offer(server, View(), {"resource": tuple(resource(uri) for uri in uris)})


def test_a_uri_stays_with_the_first_server_by_name_and_later_ones_are_moved() -> None:
    catalog = build(resources("c", "a://x"), resources("a", "a://x"), resources("b", "a://x", "a://y"))
    assert shown(catalog, "resource") == ["a://x", "hub+b:a://x", "a://y", "hub+c:a://x"]
    moved = found(catalog, "resource", "hub+b:a://x")
    assert (moved.server, moved.own, moved.grant) == ("b", "a://x", "b__a://x")
    assert moved.definition == {"uri": "hub+b:a://x", "name": "x"}
    assert found(catalog, "resource", "a://x").definition["uri"] == "a://x"


def test_no_server_can_pose_as_another_by_a_uri_that_looks_moved() -> None:
    """Ours: `hub+b:` is server b's, whoever lists it."""
    catalog = build(resources("a", "a://x", "hub+b:a://x"), resources("b", "a://x"))
    assert found(catalog, "resource", "hub+b:a://x").server == "b"
    assert found(catalog, "resource", "hub+a:hub+b:a://x").server == "a"
    assert len(catalog.entries["resource"]) == 3


def test_templates_move_as_resources_do() -> None:
    template = {"uriTemplate": "a://{x}", "name": "x"}
    catalog = build(*(Offer(server, View(), {"template": (template,)}) for server in ("b", "a")))
    assert shown(catalog, "template") == ["a://{x}", "hub+b:a://{x}"]
    assert found(catalog, "template", "hub+b:a://{x}").definition["uriTemplate"] == "hub+b:a://{x}"


def test_a_tool_and_a_prompt_may_have_one_name() -> None:
    offer = Offer("shop", View(), {"tool": (tool("buy"),), "prompt": ({"name": "buy"},)})
    catalog = build(offer)
    assert shown(catalog, "tool") == shown(catalog, "prompt") == ["shop__buy"]
    assert catalog.find("resource", "shop__buy") is None


def test_an_empty_catalog_finds_nothing() -> None:
    assert Catalog().find("tool", "git__log") is None
    assert build().entries == Catalog().entries
