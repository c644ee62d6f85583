"""Requests go only where they were meant: threats T14 and T15, with a canary that must stay untouched."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from connectors.base import LinkError
from connectors.fetch import fetch
from connectors.http_connect import Address, Route
from connectors.http_connection import Connection
from connectors.http_reach import Reach, is_public
from tests.http_room import Room
from tests.servers.fault_http import Request, modern, serve

pytestmark = pytest.mark.anyio

INSIDE = (
    "127.0.0.1", "127.8.9.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "168.63.129.16", "192.88.99.1", "198.18.0.1",
    "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "::127.0.0.1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:a00:1::f5ff:fffe", "fe80::1", "fec0::1", "fd00:ec2::254",
    "fc00::1", "ff02::1", "2001:db8::1", "100::1",
)  # fmt: skip
OUTSIDE = (
    "8.8.8.8", "1.1.1.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1", "::ffff:8.8.8.8",
)  # fmt: skip
SPELLINGS = (
    "0x7f.1", "0177.0.0.1", "2130706433", "127.1", "0x7f000001", "017700000001", "127.0.0.1.", "localhost.",
)  # fmt: skip


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    with anyio.fail_after(30):
        yield Room(tmp_path)


async def silent(request: Request, writer: Any) -> None:
    raise AssertionError("nobody may ask the canary")


def make() -> Connection:
    return Connection(lambda it: None, lambda it: None, 1000)


@pytest.mark.parametrize("address", INSIDE)
def test_t15_what_is_no_address_of_the_public_internet_is_told(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_public_addresses_are_told_through_what_embeds_them(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", SPELLINGS)
async def test_t15_another_spelling_of_this_machine_reaches_nothing(host: str) -> None:
    async with serve(silent) as canary:
        with pytest.raises(LinkError), anyio.fail_after(20):
            await Route(Address.parse(f"http://{host}:{canary.port}/"), None, None).connect(make)
        assert canary.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_t15_a_url_that_a_server_gave_reaches_nothing_inside(host: str) -> None:
    async with serve(silent) as canary:
        route = Route(Address.parse(f"http://{host}:{canary.port}/"), None, None, "public")
        with pytest.raises(LinkError, match="A server named it"), anyio.fail_after(20):
            await route.connect(make)
        assert canary.connections == 0


async def test_t15_nothing_inside_is_fetched_for_a_url_that_a_server_or_a_token_named() -> None:
    async with serve(silent) as canary:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            with pytest.raises(LinkError, match="A server named it"):
                await fetch(f"http://{host}:{canary.port}/keys", reach="public")
        assert canary.connections == 0


def answering(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """The system's resolver says these for `tea.test`, one after the other; the names it was asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host != "tea.test":
            return real(host, port, *args, **more)
        asked.append(host)
        at = addresses[min(len(asked), len(addresses)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (at, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


async def test_t14_a_name_that_leads_inside_is_refused_with_the_fix(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, "127.0.0.1")
    async with serve(silent) as canary:
        with pytest.raises(LinkError, match=r"tea\.test is at 127\.0\.0\.1.*allow_private: true") as failed:
            async with room.open(f"http://tea.test:{canary.port}/mcp"):
                pass
        assert not failed.value.sent
        assert canary.connections == 0


@pytest.mark.parametrize("reach", ["named", "any"])
async def test_t14_the_address_that_was_checked_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch, reach: Reach
) -> None:
    """A resolver that answers otherwise the second time is never asked a second time."""
    asked = answering(monkeypatch, *(("192.0.2.1", "127.0.0.1") if reach == "named" else ("127.0.0.1", "::")))
    async with serve(silent) as canary:
        route = Route(Address.parse(f"http://tea.test:{canary.port}/"), None, None, reach)
        with anyio.fail_after(20):
            if reach == "named":
                with pytest.raises(LinkError):
                    await route.connect(make)
            else:
                (await route.connect(make)).abort()
        assert asked == ["tea.test"]
        assert canary.connections == (reach == "any")


async def test_a_manifest_may_allow_private_addresses(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "127.0.0.1")
    config = {"allow_private": True}
    async with (
        serve(modern(silent)) as server,
        room.open(f"http://tea.test:{server.port}/mcp", config) as link,
    ):
        assert link.peer.modern
