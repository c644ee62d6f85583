"""Approvals of a hub that runs by itself: the commands, who decided, stdio, and kill -9."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from mcp.client.stdio import stdio_client

from hub.commands.client import HubClient
from hub.failure import Failure
from hub.home import Home
from hub.server.peer import peer_of
from tests.approving import LEDGER, receipts
from tests.commands import hub
from tests.homes import Running, done, running, stdio, write
from tests.house import headers_of, modern

pytestmark = pytest.mark.anyio

STREAMS = {"accept": "application/json, text/event-stream"}
ME = f"{getpass.getuser()} (uid {os.getuid()})"


def furnish(folder: Path) -> Path:
    home = folder / "home"
    write(home, "ledger", server="ledger", trust="annotations", connect={"command": [*LEDGER, str(folder)]})
    write(home, "me", agent="me", may=["ledger__look", {"use": "ledger__append", "ask": "human"}])
    (home / "hub.yaml").write_text("approval_wait: 50ms\n")
    return home


def append(url: str, credential: str, key: str = "k") -> str:
    body = modern("tools/call", {"name": "ledger__append", "arguments": {"key": key}})
    headers = {
        **headers_of(body),
        "authorization": f"Bearer {credential}",
        "accept": "application/json, text/event-stream",
    }
    answer = httpx.post(url, json=body, headers=headers, timeout=20, trust_env=False)
    text: str = answer.json()["result"]["content"][0]["text"]
    return text


def admin(home: Path, operation: str, **arguments: Any) -> Any:
    """What a command would ask the hub that runs."""
    return HubClient(Home.at(home).admin_socket).ask(operation, arguments)


def test_a_person_lists_shows_approves_and_denies(tmp_path: Path) -> None:
    home = furnish(tmp_path)
    with running(home) as it:
        credential = admin(home, "token_issue", agent="me")["token"]
        it.until("ledger: ready")
        assert append(it.url, credential).startswith("Pending")
        (listed,) = done(home, "approvals", "list", "--json").json
        assert (listed["agent"], listed["tool"], listed["state"]) == ("me", "ledger__append", "pending")
        shown = done(home, "approvals", "show", listed["id"][:8]).out
        for expected in ("ledger__append", '"key": "k"', "me.yaml:1: may[1]", "age: ", "until: 20"):
            assert expected in shown
        approved = done(home, "approvals", "approve", listed["id"], "--json", "--reason", "Fine.").json
        assert (approved["state"], approved["by"], approved["reason"]) == ("approved", ME, "Fine.")
        assert append(it.url, credential) == "k" and receipts(tmp_path) == ["k"]
        append(it.url, credential, "other")
        (id,) = (row["id"] for row in admin(home, "approvals"))
        assert "is told so until" in done(home, "approvals", "deny", id, "--reason", "Never.").err
        assert "Never." in append(it.url, credential, "other")
        with pytest.raises(Failure, match="is denied, no longer pending"):
            admin(home, "approval_approve", id=id)
        with pytest.raises(Failure, match="There is no approval 'nothing'"):
            admin(home, "approval", id="nothing")
        assert {row["state"] for row in admin(home, "approvals", everything=True)} == {"used", "denied"}
        called = hub(home, "tools", "call", "ledger__append", "key=mine", "--agent", "me")
        assert called.code == 7 and "Pending" in called.err
    # Nothing of it needs a hub that runs.
    id = done(home, "approvals", "list", "-q").out.strip()
    assert done(home, "approvals", "approve", id, "--json").json["by"] == ME
    assert done(home, "tools", "call", "ledger__append", "key=mine", "--agent", "me").out.strip() == "mine"


def test_an_approval_survives_kill_9_and_is_still_for_one_call(tmp_path: Path) -> None:
    """Ours: between approval and retry, and again after the call."""
    home = furnish(tmp_path)
    credential = ""
    for killed_after in ("approved", "made"):
        it = Running(home, "--port", "0")
        try:
            url = it.url
            if killed_after == "approved":
                credential = admin(home, "token_issue", agent="me")["token"]
                it.until("ledger: ")
                assert append(url, credential).startswith("Pending")
                admin(home, "approval_approve", id=admin(home, "approvals")[0]["id"])
            else:
                assert append(url, credential) == "k"
        finally:
            it.end(signal.SIGKILL)
    with running(home) as it:
        assert append(it.url, credential).startswith("Pending")
        assert receipts(tmp_path) == ["k"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_on_stdio_is_told_and_goes_on(tmp_path: Path, mode: Any) -> None:
    home = furnish(tmp_path)
    with anyio.fail_after(30):
        async with Client(stdio_client(stdio(home)), mode=mode) as client:
            pending: Any = await client.call_tool("ledger__append", {"key": "k"})
            assert pending.is_error and "Pending" in pending.content[0].text
            (row,) = await anyio.to_thread.run_sync(admin, home, "approvals")
            await anyio.to_thread.run_sync(partial(admin, home, "approval_approve", id=row["id"]))
            made: Any = await client.call_tool("ledger__append", {"key": "k"})
            assert made.content[0].text == "k"
    assert receipts(tmp_path) == ["k"]


def test_who_decides_is_the_operating_systems_word(tmp_path: Path) -> None:
    """Ours: a request that names somebody is refused, whoever sends it."""
    home = furnish(tmp_path)
    with running(home), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.fspath(Home.at(home).admin_socket))
        body = json.dumps({"id": "a" * 32, "peer": "root"}).encode()
        lines = ["POST /v1/approval_approve HTTP/1.1", "Host: hub", "Connection: close"]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 400")
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_of(theirs) == ME
