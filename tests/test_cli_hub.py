"""The command line beside a running hub: the same answers, from the hub; and starting and ending one."""

from __future__ import annotations

import json
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.commands import COMMAND, DESK, SECONDS, environment, furnish, hub, serving, until


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("hub") / "home")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with serving(home) as url:
        # Known from here on, whatever a test asks first.
        assert hub(home, "servers", "check", "desk").code == 0
        yield url


def initialize(url: str, token: str) -> int:
    """The status of an agent's first request."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    answer = httpx.post(
        url,
        json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params},
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"},
        timeout=SECONDS,
    )
    return answer.status_code


def cpu_seconds(run: Callable[[], Any]) -> float:
    """What the processes that it starts and ends take; of three, the least."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(spent)


def test_lists_come_from_the_hub_and_cost_little(home: Path, url: str) -> None:
    """Four times what every command has to import; with the SDK it would be fifteen times that."""
    listed = hub(home, "tools", "list", "--json")
    assert [tool["name"] for tool in listed.json][:2] == ["desk__typed", "desk__fail"]
    assert listed.err == ""
    needed = cpu_seconds(partial(subprocess.run, [sys.executable, "-c", "import typer"], check=True))
    assert cpu_seconds(partial(hub, home, "tools", "list", "--json")) < 8 * needed


def test_servers_say_how_they_are(home: Path, url: str) -> None:
    server = hub(home, "servers", "show", "desk", "--json").json
    assert (server["state"], server["status"], server["server_info"]["name"]) == ("ready", "ready", "desk")
    assert {*server["last_words"]} == {"desk is up"}, "as often as it was started"
    assert "resources" in server and server["connects_to"].endswith("desk.py")


def test_a_restart_ends_the_process_and_starts_another(home: Path, url: str) -> None:
    before = hub(home, "tools", "call", "desk__pid").out
    assert hub(home, "servers", "restart", "desk", "--json").json["status"] == "ready"
    after = hub(home, "tools", "call", "desk__pid").out
    assert before.strip().isdigit() and after.strip().isdigit() and before != after


def test_calls_are_made_by_the_schema_recorded_and_shown(home: Path, url: str) -> None:
    done = hub(
        home, "tools", "call", "desk__typed", "text=012", "--args-json", "-", "--json",
        stdin='{"share": 0.1, "big": 123456789012345678901234567890}',
    )  # fmt: skip
    assert done.json["structuredContent"] == {
        "text": "012",
        "share": 0.1,
        "big": 123456789012345678901234567890,
    }
    assert hub(home, "call", "desk__work").out == "done\n"
    newest = hub(home, "calls", "list", "--limit", "2", "--json").json
    assert [call["tool"] for call in newest] == ["desk__work", "desk__typed"]
    assert newest[0]["session"] == newest[1]["session"]
    shown = hub(home, "calls", "show", newest[1]["id"], "--json").json
    assert shown["params"]["arguments"]["text"] == "012"
    assert hub(home, "sessions", "show", newest[0]["session"], "--json").json["agent"] == "me"


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["tools", "call", "desk__fail"], 5, "tool_error"),
        (["tools", "call", "desk__die"], 4, "upstream_failed"),
        (["tools", "call", "desk__nothing"], 5, "not_found"),
        (["tools", "call", "desk__pid", "--agent", "reader"], 6, "denied"),
        (["tools", "call", "desk__pid", "--agent", "nobody"], 5, "not_found"),
        (["tools", "call", "desk__typed", "sure=perhaps"], 2, "invalid_params"),
        (["tools", "show", "desk__pid", "--agent", "reader"], 6, "denied"),
        (["resources", "read", "else://where"], 5, "not_found"),
        (["servers", "check", "nothing"], 5, "not_found"),
        (["calls", "list", "--since", "soon"], 2, "invalid_params"),
    ],
)
def test_failures_are_those_of_a_command_without_a_hub(
    home: Path, url: str, arguments: list[str], code: int, word: str
) -> None:
    done = hub(home, *arguments, "--json")
    assert (done.code, done.error["code"]) == (code, word), done.err
    if word != "tool_error":
        assert done.out == ""


def test_a_call_that_is_interrupted_is_cancelled_and_exits_130(home: Path, url: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "tools", "call", "desk__hang", "--json", "--home", str(home)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        # As from a terminal: what a shell starts in the background is deaf to this signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        try:
            while newest(home).get("tool") != "desk__hang":
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, b"")
    assert json.loads(err.splitlines()[-1])["error"]["code"] == "interrupted"
    assert newest(home)["kind"] == "cancelled"


def newest(home: Path) -> dict[str, Any]:
    """The last call; nothing before there is one."""
    found: list[dict[str, Any]] = hub(home, "calls", "list", "--limit", "1", "--json").json
    return found[0] if found else {}


def test_resources_and_prompts_are_listed_and_used(home: Path, url: str) -> None:
    assert hub(home, "resources", "list", "-q").out.split() == ["desk://note", "desk://{id}"]
    assert hub(home, "resources", "read", "desk://note").out == "the text of desk://note\n"
    assert hub(home, "resources", "read", "desk://other").out == "the text of desk://other\n"
    assert hub(home, "prompts", "list", "-q").out.split() == ["desk__greet"]
    assert hub(home, "prompts", "get", "desk__greet", "who=007").out == "user: Hello 007\n"


def test_an_agent_added_may_connect_at_once_and_not_when_its_token_is_revoked(home: Path, url: str) -> None:
    added = hub(home, "agents", "add", "new", "--may", "desk__*", "--json")
    assert added.code == 0, added.err
    token = added.json["token"]
    assert initialize(url, token) == 200
    further = hub(home, "agents", "token", "new", "--json").json["token"]
    assert initialize(url, further) == 200
    first = hub(home, "agents", "token", "new", "--list", "--json").json[-1]["id"]
    assert hub(home, "agents", "token", "new", "--revoke", first).code == 0
    assert (initialize(url, token), initialize(url, further)) == (401, 200)
    rotated = hub(home, "agents", "token", "new", "--rotate", "--json").json["token"]
    assert (initialize(url, further), initialize(url, rotated)) == (401, 200)
    assert hub(home, "agents", "can", "new", "desk__pid").code == 0
    assert hub(home, "agents", "remove", "new").code == 0
    assert initialize(url, rotated) == 401


def test_a_server_added_is_there_at_once_and_gone_when_it_is_removed(home: Path, url: str) -> None:
    assert hub(home, "add", "second", "--", *DESK).code == 0
    assert hub(home, "tools", "call", "second__pid").out.strip().isdigit()
    assert hub(home, "servers", "remove", "second", "--json").json["server"] == "second"
    assert not (home / "manifests" / "second.yaml").exists()
    assert hub(home, "servers", "list", "-q").out.split() == ["desk"]
    assert hub(home, "servers", "remove", "second").code == 5


def test_me_has_a_token_file_of_its_own_and_a_configuration_that_works(home: Path, url: str) -> None:
    path = home / ".hub" / "tokens" / "me"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = hub(home, "agents", "show", "me", "--config").json["mcpServers"]["hub"]
    assert config["url"] == url
    assert initialize(config["url"], config["headers"]["Authorization"].removeprefix("Bearer ")) == 200
    hub(home, "agents", "token", "me", "--rotate")
    assert initialize(url, path.read_text().strip()) == 200


def test_doctor_asks_the_hub(home: Path, url: str) -> None:
    done = hub(home, "doctor", "--json")
    said = next(finding for finding in done.json if finding["check"] == "hub")
    assert said["state"] == "ok" and url in said["message"]


def test_status_says_how_the_hub_is_and_how_late_its_event_loop(home: Path, url: str) -> None:
    said = hub(home, "status", "--json").json
    assert said["url"] == url and said["trouble"] is None
    assert sum(said["servers"].values()) == 1
    assert 0 <= said["loop_lag_ms"]["p50"] <= said["loop_lag_ms"]["p99"] <= said["loop_lag_ms"]["max"]
    assert "loop_lag_ms" in hub(home, "status").out
    assert "event loop was late by" in hub(home, "doctor").out


def test_status_where_no_hub_runs_is_a_sentence(tmp_path: Path) -> None:
    done = hub(furnish(tmp_path / "home"), "status")
    assert (done.code, done.out) == (1, "") and "No hub runs" in done.err and "hub serve" in done.err


def test_a_second_hub_for_the_home_is_refused_and_says_why(home: Path, url: str) -> None:
    """Also where it would take the same port, as it does when nobody names one."""
    for port in ("0", url.split(":")[2].partition("/")[0]):
        done = hub(home, "serve", "--port", port)
        assert (done.code, done.out) == (1, "")
        assert "already serves" in done.err


def test_a_taken_port_is_a_sentence_and_changes_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = hub(furnish(tmp_path / "home"), "serve", "--port", str(taken.getsockname()[1]))
    assert done.code == 1
    assert "cannot be used" in done.err and "--port" in done.err
    assert not (tmp_path / "home" / ".hub").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_what_runs_without_a_token_and_ends_when_told(
    tmp_path: Path, number: signal.Signals
) -> None:
    home = furnish(tmp_path / "home")
    with subprocess.Popen(
        [*COMMAND, "serve", "--home", str(home), "--port", "0"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as process:  # fmt: skip
        try:
            path, how = until(process, r"token of agent 'me' is in (\S+)", r"desk: (.+)")
            assert how == "ready, 7 tools, 2026-07-28"
            process.send_signal(number)
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, b"")
    assert Path(path).read_text().strip() not in err.decode()
    assert hub(home, "servers", "list", "--json").json[0]["status"] == "not running"


def ask(process: subprocess.Popen[str], id: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """One request in the modern era over a pipe, and its answer."""
    assert process.stdin is not None and process.stdout is not None
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    request = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def piped(home: Path, agent: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "serve", "--stdio", "--agent", agent, "--home", str(home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment(),
    )  # fmt: skip


def test_stdio_beside_a_running_hub_is_a_bridge_to_its_servers(home: Path, url: str) -> None:
    with piped(home, "me") as mine, piped(home, "reader") as theirs:
        names = [
            [tool["name"] for tool in ask(each, 1, "tools/list", {})["result"]["tools"]]
            for each in (mine, theirs)
        ]
        assert len(names[0]) == 7 and names[1] == ["desk__typed"]
        called = ask(mine, 2, "tools/call", {"name": "desk__pid", "arguments": {}})
        assert called["result"]["content"][0]["text"] == hub(home, "tools", "call", "desk__pid").out.strip()
        for each in (mine, theirs):
            assert each.stdin is not None
            each.stdin.close()
        assert [each.wait(SECONDS) for each in (mine, theirs)] == [0, 0]


def test_a_bridge_for_an_agent_that_is_none_ends_with_a_sentence(home: Path, url: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "serve", "--stdio", "--agent", "nobody", "--home", str(home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        # Its stdin stays open: it ends because the hub refuses it.
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read() == ""
        assert "'nobody'" in process.stderr.read()
        assert process.wait(SECONDS) == 3


def test_several_stdio_hubs_at_once_are_one_hub_with_one_set_of_servers(tmp_path: Path) -> None:
    """A desktop client starts one for each of its windows, at the same moment."""
    home = furnish(tmp_path / "home")
    started = [piped(home, "me") for _ in range(3)]
    try:
        for each in started:
            assert "result" in ask(each, 0, "server/discover", {})
        assert hub(home, "servers", "check", "desk").code == 0
        pids = set()
        for number, each in enumerate(started, 1):
            called = ask(each, number, "tools/call", {"name": "desk__pid", "arguments": {}})
            pids.add(called["result"]["content"][0]["text"])
        assert len(pids) == 1
    finally:
        for each in started:
            assert each.stdin is not None and each.stdout is not None
            each.stdin.close()
        codes = [each.wait(SECONDS) for each in started]
        for each in started:
            assert each.stdout is not None
            each.stdout.close()
    assert 0 in codes


@pytest.mark.parametrize("way", ["http", "stdio"])
def test_a_hub_that_stands_in_its_own_manifests_does_not_reach_itself(home: Path, url: str, way: str) -> None:
    """A client's configuration that is dropped into the folder has the hub in it, often."""
    config = hub(home, "agents", "show", "me", "--config", *(["--stdio"] if way == "stdio" else [])).json
    config["mcpServers"]["myself"] = config["mcpServers"].pop("hub")
    file = home / "manifests" / ".mcp.json"
    file.write_text(json.dumps(config))
    try:
        done = hub(home, "servers", "check", "myself")
        assert done.code == 4 and "myself: leads back to this very hub" in done.err
        names = hub(home, "tools", "list", "-q").out.split()
        assert "desk__pid" in names and not [name for name in names if name.startswith("myself__")]
    finally:
        file.unlink()
