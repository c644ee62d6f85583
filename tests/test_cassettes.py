"""A recorded session plays again with nothing behind it: the same lists, the same answers, byte for byte."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Json
from tests.commands import COMMAND, SECONDS, environment
from tests.homes import done, install, make_home, need_node, running, write
from tests.hub_room import asker

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "desk", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
}
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"elicitation": {}},
    "clientInfo": {"name": "desk", "version": "1"},
}
FILLED_IN = {"action": "accept", "content": {"name": "Tea"}}
SERVERS = ("everything", "git", "time")
ASKERS = ("newer", "older")
"""Servers that ask in the middle of a call, in either era."""


class Desk:
    """An agent on stdin and stdout of `hub serve --stdio`, in one of the eras."""

    def __init__(self, home: Path, legacy: bool, *before: str) -> None:
        agent = "other" if legacy else "me"
        self._legacy = legacy
        self._number = 0
        self._rest = b""
        self._process = subprocess.Popen(
            [*before, *COMMAND, "serve", "--stdio", "--agent", agent, "--home", str(home)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        if legacy:
            self.ask("initialize", HELLO)
            self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, method: str, params: Json) -> list[str]:
        """All lines that come up to the answer; questions are filled in."""
        self._number += 1
        id = self._number
        meta = {**({} if self._legacy else META), **params.get("_meta", {})}
        self._send({"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}})
        said: list[str] = []
        while True:
            line = self._line()
            message = json.loads(line)
            said.append(line)
            if "method" in message and "id" in message:
                self._send({"jsonrpc": "2.0", "id": message["id"], "result": FILLED_IN})
            elif message.get("id") == id:
                break
        result = message.get("result", {})
        if result.get("resultType") == "input_required":
            answers = dict.fromkeys(result["inputRequests"], FILLED_IN)
            again = {**params, "inputResponses": answers, "requestState": result.get("requestState")}
            said += self.ask(method, again)
        return said

    def end(self) -> None:
        try:
            _, err = self._process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        assert b"Traceback" not in err, err

    def _send(self, message: Json) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        end = time.monotonic() + SECONDS
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert chunk, self._rest
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


@contextmanager
def desk(home: Path, legacy: bool, *before: str) -> Iterator[Desk]:
    it = Desk(home, legacy, *before)
    try:
        yield it
    finally:
        it.end()


def asked(home: Path) -> list[tuple[str, Json]]:
    """What the agent does: with time, git and everything, some of it twice, some of it wrong."""
    call = "tools/call"
    zone = {"name": "time__get_current_time", "arguments": {"timezone": "UTC"}}
    repository = {"repo_path": str(home / "repository")}
    return [
        ("tools/list", {}),
        ("prompts/list", {}),
        ("resources/list", {}),
        (call, zone),
        (call, zone),
        (call, {"name": "time__convert_time", "arguments": {
            "source_timezone": "UTC", "time": "25:00", "target_timezone": "Asia/Tokyo"}}),
        (call, {"name": "git__git_status", "arguments": repository}),
        (call, {"name": "git__git_log", "arguments": {**repository, "max_count": 1}}),
        (call, {"name": "everything__echo", "arguments": {"message": "ü 1e400 \u2028"}}),
        (call, {"name": "everything__get-structured-content", "arguments": {"location": "New York"}}),
        (call, {"name": "everything__get-tiny-image", "arguments": {}}),
        (call, {"name": "everything__trigger-long-running-operation",
                "arguments": {"duration": 0.3, "steps": 3}, "_meta": {"progressToken": "p"}}),
        (call, {"name": "older__ask", "arguments": {}}),
        (call, {"name": "newer__ask", "arguments": {"times": 2}}),
        (call, {"name": "everything__nothing", "arguments": {}}),
        ("prompts/get", {"name": "everything__simple-prompt"}),
        ("resources/read", {"uri": "demo://resource/dynamic/text/1"}),
        ("resources/read", {"uri": "demo://resource/dynamic/text/none"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "everything__completable-prompt"},
                                 "argument": {"name": "department", "value": "E"}}),
    ]  # fmt: skip


def said(lines: list[str]) -> list[str]:
    """Without what is random: the id of a question, and the state that it carries, sealed."""
    return [re.sub(r'"(requestState":|id":)"[^"]*"', r'"\1"..."', line) for line in lines]


def session_with_calls(home: Path) -> str:
    session: str = done(home, "calls", "list", "--json").json[0]["session"]
    return session


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[Path, list[list[str]]]]:
    """By era (legacy or not): a cassette, and what was said while it was recorded."""
    need_node()
    install(*SERVERS)
    folder = tmp_path_factory.mktemp("recorded")
    home = make_home(folder / "home", *SERVERS)
    who = {f"GIT_{role}_{what}": "You" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (
        ["init", "-q", "-b", "main", "repository"],
        ["-C", "repository", "commit", "-q", "--no-gpg-sign", "--allow-empty", "-m", "First"],
    ):
        subprocess.run(["git", *command], cwd=home, check=True, env={**os.environ, **who}, timeout=10)
    write(home, "other", agent="other", may=["*"])
    for name in ASKERS:
        flags = ["--modern"] if name == "newer" else []
        write(home, name, server=name, connect=asker(folder / f"{name}.log", *flags))
    found: dict[bool, tuple[Path, list[list[str]]]] = {}
    with running(home) as hub:
        for name in (*SERVERS, *ASKERS):
            hub.until(rf"\n{name}: ready", 60)
        for legacy in (False, True):
            with desk(home, legacy) as it:
                heard = [said(it.ask(*each)) for each in asked(home)]
            tape = folder / f"{'legacy' if legacy else 'modern'}.jsonl"
            told = done(home, "record", session_with_calls(home), "-o", str(tape), "--json").json
            assert told["servers"] == sorted((*SERVERS, *ASKERS))
            found[legacy] = tape, heard
    return found


def played(home: Path, tape: Path, **more: Any) -> Path:
    """A folder whose servers are a cassette, and nothing else of them is there."""
    made = make_home(home, *SERVERS)
    write(made, "other", agent="other", may=["*"])
    (made / ".hub" / "data" / "packages").unlink()
    shutil.copy(tape, made / "tape.jsonl")
    connect = {"cassette": "tape.jsonl", **more}
    for name in ASKERS:
        write(made, name, server=name, connect=connect)
    for name in SERVERS:
        text = (made / "manifests" / f"{name}.yaml").read_text()
        as_yaml = f"connect: {json.dumps(connect)}\n"
        text = re.sub(r"^connect:.*\n(?:[ ]+.*\n)*", as_yaml, text, flags=re.MULTILINE)
        (made / "manifests" / f"{name}.yaml").write_text(text)
    return made


GUARD = """
import os, sys

def refuse(event, arguments):
    # To listen is not to use it, and a Unix socket's address is no tuple.
    used = event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple)
    asked = event == "socket.getaddrinfo" and arguments[0] not in (None, "127.0.0.1")
    if used or asked:
        os.write(2, f"Traceback: the network was used: {event} {arguments[1:]}\\n".encode())
        os._exit(97)

sys.addaudithook(refuse)
"""


def without_network(folder: Path) -> list[str]:
    """What a Python program is started behind to have no network: it ends where it uses any.

    Where this machine lets us, there is none in the kernel either.
    """
    (folder / "guard").mkdir(exist_ok=True)
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    path = os.pathsep.join(filter(None, [str(folder / "guard"), environment().get("PYTHONPATH")]))
    guarded = ["env", f"PYTHONPATH={path}"]
    before = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") is None or subprocess.run([*before, "true"], capture_output=True).returncode:
        return guarded
    return [*before, *guarded]


def test_there_is_no_network_where_a_cassette_is_played(tmp_path: Path) -> None:
    """Of the tests themselves: who connects there is ended, to loopback as well."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        script = f"import socket; socket.create_connection({address!r}, 5); print('connected')"
        free = [sys.executable, "-c", script]
        assert subprocess.run(free, capture_output=True, timeout=SECONDS).stdout == b"connected\n"
        for before in (without_network(tmp_path), without_network(tmp_path)[-2:]):
            done = subprocess.run([*before, *free], capture_output=True, timeout=SECONDS)
            assert (done.returncode, done.stdout) == (97, b"") and b"the network was used" in done.stderr


def programs_below(pid: int) -> list[str]:
    """The command lines of a process's descendants."""
    listed = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid=,args="], text=True)
    rows = [line.split(None, 2) for line in listed.splitlines()]
    family, found = {str(pid)}, []
    for _ in range(8):
        for row in rows:
            if row[1] in family and row[0] not in family:
                family.add(row[0])
                found.append(row[2] if len(row) > 2 else "")
    return found


@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_a_session_with_three_servers_plays_again_byte_for_byte_without_network_or_servers(
    recorded: dict[bool, tuple[Path, list[list[str]]]], legacy: bool, tmp_path: Path
) -> None:
    tape, heard = recorded[legacy]
    assert sum("elicitation/create" in line for lines in heard for line in lines) == 3
    origin = tape.parent / "home"
    home = played(tmp_path / "home", tape)
    with desk(home, legacy, *without_network(tmp_path)) as it:
        for (method, params), before in zip(asked(origin), heard, strict=True):
            assert said(it.ask(method, params)) == before, (method, params)
        assert [each for each in programs_below(it.pid) if "mcp" in each or "node" in each] == []
