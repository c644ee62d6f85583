"""What agents call tools and prompts by: stable, short, plain, and never two alike."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hub.catalog import NAME_LENGTH_MAX, Catalog, Offer, View, exposed_name, known_name

servers = st.from_regex(r"[a-z][a-z0-9-]{0,23}", fullmatch=True)
plain_names = st.from_regex(r"[A-Za-z0-9_-]{1,60}", fullmatch=True)
any_names = st.one_of(
    plain_names,
    st.text(min_size=1, max_size=80),
    st.text("ab_.é/", min_size=1, max_size=6),
    # Long names that differ only in their middle, where the hash has to tell them apart.
    st.builds(lambda middle: "a" * 40 + middle + "z" * 40, st.text("xy", max_size=4)),
)


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}}


def offer(server: str, names: list[str], *, bare: bool = False) -> Offer:
    return Offer(server, View(bare=bare), {"tool": tuple(tool(name) for name in names)})


def names_of(catalog: Catalog) -> dict[tuple[str, str], str]:
    return {(entry.server, entry.own): entry.name for entry in catalog.entries["tool"]}


@given(servers, any_names)
def test_a_name_fits_every_client(server: str, own: str) -> None:
    name = exposed_name(server, own)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,52}", name)
    assert NAME_LENGTH_MAX == 52
    assert exposed_name(server, own) == name


@given(servers, plain_names)
def test_a_name_that_fits_is_server_and_own_name_unchanged(server: str, own: str) -> None:
    full = f"{server}__{own}"
    name = exposed_name(server, own)
    if len(full) <= NAME_LENGTH_MAX:
        assert name == full
    else:
        assert len(name) == NAME_LENGTH_MAX
        assert full.startswith(name[:20]) and full.endswith(name[-20:])


def test_names_stay_what_they_were_in_earlier_versions() -> None:
    """Ours: agents and records keep names for years; these were computed once and are written down."""
    assert exposed_name("git", "git_log") == "git__git_log"
    assert exposed_name("time", "größe.jetzt") == "time__gr__e__36f0a484_jetzt"
    assert exposed_name("a" * 24, "b" * 60) == "a" * 21 + "_97ad068f_" + "b" * 21
    assert known_name("dots.in.it") == "dots_in_02b6fbe6__it"


@given(st.lists(st.tuples(servers, any_names), unique=True, min_size=2, max_size=12))
def test_two_entries_never_share_a_name(pairs: list[tuple[str, str]]) -> None:
    """Either every pair has a name of its own, or those that would share one are all left out."""
    by_server: dict[str, list[str]] = {}
    for server, own in pairs:
        by_server.setdefault(server, []).append(own)
    catalog = Catalog.build([offer(server, names) for server, names in by_server.items()], 1)
    shown = names_of(catalog)
    assert len(set(shown.values())) == len(shown)
    left_out = {(each.server, each.name) for each in catalog.left_out}
    holders: dict[str, list[tuple[str, str]]] = {}
    for server, own in pairs:
        holders.setdefault(exposed_name(server, own), []).append((server, own))
    for name, holding in holders.items():
        if len(holding) == 1:
            assert shown[holding[0]] == name
        else:
            assert not set(holding) & set(shown)
            assert {(server, own[:200]) for server, own in holding} <= left_out


@given(servers, servers, any_names, any_names)
def test_names_of_two_servers_do_not_meet_by_chance(a: str, b: str, own: str, other: str) -> None:
    if (a, own) != (b, other):
        assert exposed_name(a, own) != exposed_name(b, other)


@given(
    st.dictionaries(servers, st.lists(any_names, unique=True, max_size=4), min_size=1, max_size=5), st.data()
)
def test_a_name_does_not_depend_on_what_other_servers_offer(
    offers: dict[str, list[str]], data: st.DataObject
) -> None:
    alone = data.draw(st.sampled_from(sorted(offers)))
    together = names_of(Catalog.build([offer(server, names) for server, names in offers.items()], 1))
    by_itself = names_of(Catalog.build([offer(alone, offers[alone])], 2))
    assert {pair: name for pair, name in together.items() if pair[0] == alone} == by_itself


@given(
    st.dictionaries(
        servers,
        st.tuples(st.lists(st.text("ab", min_size=1, max_size=2), max_size=4), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    st.randoms(use_true_random=False),
)
def test_the_catalog_is_the_same_in_whatever_order_servers_come(
    offers: dict[str, tuple[list[str], bool]], random: Any
) -> None:
    listed = [offer(server, names, bare=bare) for server, (names, bare) in offers.items()]
    shuffled = list(listed)
    random.shuffle(shuffled)
    assert Catalog.build(listed, 7) == Catalog.build(shuffled, 7)
    shown = Catalog.build(listed, 7).entries["tool"]
    assert [entry.server for entry in shown] == sorted(entry.server for entry in shown)


def test_a_name_made_to_look_like_a_shortened_one_takes_over_nothing() -> None:
    """Ours: a server may guess what a long name of its own becomes; then it loses both, not one of them."""
    long = "a" * 80
    forged = exposed_name("files", long).removeprefix("files__")
    catalog = Catalog.build([offer("files", [long, forged, "read"])], 1)
    assert names_of(catalog) == {("files", "read"): "files__read"}
    assert {each.name for each in catalog.left_out} == {long, forged}
