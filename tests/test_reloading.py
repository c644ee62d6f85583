"""Manifests are read again when one is saved: what is right counts at once, what is broken is as it was."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import anyio
import pytest

from hub.manifests import manifest
from hub.manifests.reloading import kept, told
from tests.faults.places import WORKER
from tests.homes import Running, done, over_http, running, token, write

pytestmark = pytest.mark.anyio


def reads(hub: Running, pattern: str) -> str:
    return hub.until(rf"(?m)^INFO hub\.manifests: ({pattern})$")


async def test_servers_come_go_and_change_while_their_calls_are_finished(tmp_path: Path) -> None:
    write(tmp_path, "me", agent="me", may=["*"])
    for name in ("changes", "goes"):
        write(tmp_path, name, server=name, connect={"command": WORKER}, start="eager")
    with running(tmp_path) as hub:
        hub.until("changes: ready")
        hub.until("goes: ready")
        said: dict[str, str] = {}
        async with over_http(hub.url, token(tmp_path), "auto") as client, anyio.create_task_group() as tasks:

            async def slow(name: str) -> None:
                about = {"ms": 0, "until": str(tmp_path / "go on"), "text": f"of {name}"}
                result = await client.call_tool(f"{name}__slow", about)
                said[name] = result.content[0].text  # type: ignore[union-attr]

            for name in ("changes", "goes"):
                tasks.start_soon(slow, name)
            await client.call_tool("changes__echo", {"text": "x"})
            await client.call_tool("goes__echo", {"text": "x"})
            write(
                tmp_path,
                "changes",
                server="changes",
                connect={"command": [*WORKER, "."]},
                limits={"call": "9s"},
            )
            (tmp_path / "manifests" / "goes.yaml").unlink()
            write(tmp_path, "comes", server="comes", connect={"command": WORKER})
            for words in ("server goes is removed", "server comes is new"):
                await anyio.to_thread.run_sync(reads, hub, words)
            assert await anyio.to_thread.run_sync(reads, hub, "server changes has changed: .*") == (
                "server changes has changed: connect.command, start, limits.call"
            )
            assert said == {}
            await anyio.to_thread.run_sync(done, tmp_path, "servers", "check", "comes")
            result = await client.call_tool("comes__echo", {"text": "new"})
            assert result.content[0].text == "new"  # type: ignore[union-attr]
            (tmp_path / "go on").touch()
        assert said == {"changes": "of changes", "goes": "of goes"}


async def test_a_file_that_is_broken_by_an_edit_counts_as_it_did_before(tmp_path: Path) -> None:
    write(tmp_path, "me", agent="me", may=["*"])
    write(tmp_path, "tea", server="tea", connect={"command": WORKER})
    with running(tmp_path) as hub:
        hub.until("tea: ")
        async with over_http(hub.url, token(tmp_path), "auto") as client:
            for name, text in (("tea", "server: tea\nconnect: {command: [\n"), ("me", "agent: me\nmay: 3\n")):
                file = tmp_path / "manifests" / f"{name}.yaml"
                was = file.read_text()
                file.write_text(text)
                await anyio.to_thread.run_sync(
                    reads, hub, rf"{name} goes on as before, until {name}\.yaml is mended"
                )
                assert re.search(rf"WARNING hub\.manifests: .*{name}\.yaml:\d", hub.said)
                assert not (await client.call_tool("tea__echo", {"text": "still"})).is_error
                file.write_text(was)
            hub.process.send_signal(signal.SIGHUP)
            (tmp_path / "manifests" / "tea.yaml").unlink()
            await anyio.to_thread.run_sync(reads, hub, "server tea is removed")


def test_the_difference_names_keys_and_no_values(tmp_path: Path) -> None:
    write(tmp_path, "me", agent="me", may=["a__b", {"use": "c__*", "readOnly": True}])
    write(tmp_path, "tea", server="tea", connect={"command": ["x"], "env": {"KEY": "hunter2"}})
    folder = tmp_path / "manifests"
    before = manifest.load(folder)
    write(tmp_path, "me", agent="me", may=["a__b", {"use": "c__d", "readOnly": True}], title="Me")
    write(tmp_path, "tea", server="tea", connect={"command": ["x"], "env": {"KEY": "hunter3"}}, retry=2)
    (folder / "me.yaml").write_text("# A line more moves all others.\n" + (folder / "me.yaml").read_text())
    assert list(told(before, manifest.load(folder))) == [
        "server tea has changed: connect.env, retry",
        "agent me has changed: title, may[1].use[0]",
    ]
    (folder / "me.yaml").write_text("# A line more moves all others.\n\n" + (folder / "me.yaml").read_text())
    assert list(told(manifest.load(folder), manifest.load(folder))) == []


def test_what_is_in_another_file_by_now_is_not_kept_from_the_broken_one(tmp_path: Path) -> None:
    write(tmp_path, "old", server="tea", connect={"command": ["x"]})
    folder = tmp_path / "manifests"
    before = manifest.load(folder)
    (folder / "old.yaml").write_text("server: [")
    assert kept(before, manifest.load(folder)).servers == before.servers
    write(tmp_path, "young", server="tea", connect={"command": ["y"]})
    after = kept(before, manifest.load(folder))
    assert [each.file.name for each in after.servers.values()] == ["young.yaml"]
    assert len(after.problems) == 1
