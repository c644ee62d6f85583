"""Threats T26, T27: what is started, with which surroundings, and where a secret is never found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hub.commands.validate import validate
from hub.home import Home
from tests.commands import COMMAND, SECONDS, environment, hub
from tests.homes import done, write
from tests.outside import VERSIONS, WIRES, WITNESS, Outside, outside

REFUSED = (
    "LD_PRELOAD",
    "LD_AUDIT",
    "DYLD_INSERT_LIBRARIES",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "NODE_OPTIONS",
    "BASH_ENV",
)
# Each makes a file where a shell, or a second look at what was filled in, gets to see it.
PAYLOADS = (
    "; touch {file}", "&& touch {file}", "| touch {file}", "$(touch {file})", "`touch {file}`",
    "\ntouch {file}\n", "$IFS;touch${{none:-}} {file}", "--eval=touch {file}", "' ; touch {file} ; '",
    '" ; touch {file} ; "', "> {file}", "${{EVIL}}",
)  # fmt: skip
PATHS = (
    "/v1/server_add", "/v1/agent_add", "/v1/status",
    "/api/servers", "/admin", "/mcp/", "/MCP", "/mcp/w", "/sse",
    "/messages", "/servers", "/mcp/../v1/status", "//mcp", "/.hub/key",
)  # fmt: skip
AGENTS = {"me": {"may": ["*"]}}
SECRETS = {
    "file-secret": "planted-one-6f1d0c4e88",
    "other-secret": "planted-two-4b7a9e2251",
    "url-secret": "planted-three-90c3f7ab1e",
    "env-secret": "planted-four-2e8d5b6c70",
    "unused-secret": "planted-five-c1a7d94f33",
}


def test_t26_a_command_is_a_list_of_words_that_no_shell_and_no_second_look_expands(tmp_path: Path) -> None:
    file = tmp_path / "touched"
    payloads = [payload.format(file=file) for payload in PAYLOADS]
    folder, home = tmp_path / "witness", tmp_path / "home"
    folder.mkdir()
    command = [sys.executable, WITNESS, str(folder), *payloads]
    write(home, "w", server="w", connect={"command": command, "env": {"SAID": "${EVIL}"}}, start="eager")
    write(home, "me", agent="me", may=["*"])
    evil = f"${{secret:x}} $(touch {file}) ${{HOME}}"
    said = hub(home, "tools", "call", "w__tell_environment", "--agent", "me", "--json", EVIL=evil).json
    seen = json.loads(said["content"][0]["text"])
    assert seen["own"]["SAID"] == evil
    assert seen["argv"][2:] == [
        payload.replace("${EVIL}", evil).replace("${none:-}", "") for payload in payloads
    ]
    assert not file.exists()


@pytest.mark.parametrize("name", REFUSED)
def test_t26_a_variable_that_makes_programs_load_other_code_is_refused_with_its_line(
    tmp_path: Path, name: str
) -> None:
    write(tmp_path, "w", server="w", connect={"command": ["true"], "env": {name: "/tmp/x"}})
    (problem,) = validate(Home.at(tmp_path), [])["problems"]
    assert "w.yaml:1" in problem["text"] and name in problem["text"]


@pytest.mark.parametrize(
    "connect",
    [
        {"command": "sh -c 'touch x'"},
        {"command": []},
        {"command": ["sh", 1]},
        {"command": {"sh": "-c"}},
        {"shell": "touch x"},
        {"command": ["true"], "shell": True},
        {"url": "file:///bin/sh"},
        {"url": "javascript:alert(1)"},
    ],
)
def test_t26_what_is_no_list_of_words_is_no_command(tmp_path: Path, connect: object) -> None:
    write(tmp_path, "w", server="w", connect=connect)
    said = validate(Home.at(tmp_path), [])
    assert said["servers"] == []
    assert all("w.yaml:1" in problem["text"] for problem in said["problems"])


def test_t26_what_anybody_may_write_counts_for_nothing(tmp_path: Path) -> None:
    write(tmp_path, "w", server="w", connect={"command": ["true"]})
    (tmp_path / "hub.yaml").write_text("{}")
    assert validate(Home.at(tmp_path), [])["problems"] == []
    for what in ("manifests/w.yaml", "manifests", "hub.yaml"):
        mode = (tmp_path / what).stat().st_mode
        (tmp_path / what).chmod(mode | 0o002)
        said = validate(Home.at(tmp_path), [])
        assert "chmod o-w" in said["problems"][0]["text"], what
        assert (said["servers"] == []) is (what != "hub.yaml")
        (tmp_path / what).chmod(mode)


def test_t26_nothing_that_an_agent_can_reach_starts_a_process_or_changes_a_manifest(tmp_path: Path) -> None:
    with outside(tmp_path, AGENTS) as out:
        before = sorted((path.name, path.read_text()) for path in (out.home / "manifests").iterdir())
        origin, headers = out.hub.url.removesuffix("/mcp"), {"authorization": f"Bearer {out.token('me')}"}
        with httpx.Client(base_url=origin, headers=headers, trust_env=False, timeout=SECONDS) as http:
            for path in PATHS:
                for method in ("GET", "POST", "PUT", "DELETE"):
                    answer = http.request(method, path, json={"name": "x", "command": ["touch", "/tmp/x"]})
                    assert answer.status_code in (400, 404), (method, path, answer.status_code)
        for version in VERSIONS[-2:]:
            with out.agent("me", version=version) as agent:
                for method in ("servers/add", "tools/register", "admin/status", "agent_add", "server_add"):
                    assert "error" in agent.ask(method, {"name": "x", "command": ["touch", "/tmp/x"]})
        assert before == sorted((path.name, path.read_text()) for path in (out.home / "manifests").iterdir())


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Outside]:
    """A hub with five secrets, of which its server is given one in its environment."""
    home = tmp_path / "home"
    home.mkdir()
    for name, value in SECRETS.items():
        assert hub(home, "secrets", "set", name, stdin=value + "\n").code == 0
    failing = {"url": "http://127.0.0.1:1/mcp", "headers": {"authorization": "Bearer ${secret:url-secret}"}}
    write(home, "far", server="far", connect=failing, start="eager")
    dies = [sys.executable, "-c", "import os,sys; sys.exit('died with ' + os.environ['KEY'])"]
    write(
        home,
        "dies",
        server="dies",
        connect={"command": dies, "env": {"KEY": "${secret:other-secret}"}},
        start="eager",
    )
    mine = {"env": {"MINE": "${secret:file-secret}"}}
    with outside(tmp_path, AGENTS, connect=mine, home=home) as it:
        yield it


def test_t27_a_secret_is_in_its_servers_environment_and_nowhere_else(planted: Outside) -> None:
    out, heard = planted, []
    out.hub.until("dies: failed")
    for wire in WIRES:
        for version in (VERSIONS[0], VERSIONS[-1]):
            with out.agent("me", wire, version) as agent:
                said = agent.raw_call("w__tell_environment")
                own = json.loads(json.loads(said)["result"]["content"][0]["text"])["own"]
                assert own.pop("MINE") == SECRETS["file-secret"], "it is given what its manifest names"
                assert not any(value in json.dumps(own) for value in SECRETS.values())
                heard += [agent.raw_call(name).decode() for name in ("far__x", "dies__x", "w__nothing")]
                heard += [json.dumps(agent.ask(method)) for method in ("tools/list", "resources/list")]
    origin = out.hub.url.removesuffix("/mcp")
    heard += [httpx.get(f"{origin}/{path}", trust_env=False).text for path in ("health", "ready", "metrics")]
    for arguments in (
        ("servers", "show", "w"), ("servers", "show", "dies"), ("servers", "logs", "dies"),
        ("secrets", "list", "--json"), ("doctor",), ("calls", "list", "--json"),
    ):  # fmt: skip
        ran = hub(out.home, *arguments)
        heard += [ran.out, ran.err]
    done(out.home, "audit", "export", "--out", str(out.home / "export.jsonl"))
    heard += [out.hub.said, *_command_lines(out.hub.pid)]
    own_words = [value for value in SECRETS.values() if any(value in each for each in heard)]
    assert own_words == []
    # What the server itself says of its environment when it works passes, and is recorded: nothing else is.
    files = [path for path in out.home.rglob("*") if path.is_file()]
    found = {value for path in files for value in SECRETS.values() if value.encode() in path.read_bytes()}
    assert found <= {SECRETS["file-secret"]}
    token = out.token("me").encode()
    assert [path.name for path in files if token in path.read_bytes()] == []


def _command_lines(pid: int) -> list[str]:
    """Of all processes: a secret never stands on one."""
    return [
        subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True, timeout=SECONDS
        ).stdout
    ]


def test_t27_a_server_sees_nothing_of_the_hubs_own_environment(tmp_path: Path) -> None:
    folder = tmp_path / "witness"
    folder.mkdir()
    write(tmp_path, "w", server="w", connect={"command": [sys.executable, WITNESS, str(folder)]})
    write(tmp_path, "me", agent="me", may=["*"])
    planted = {f"HUB_SECRET_{name.replace('-', '_').upper()}": value for name, value in SECRETS.items()}
    planted |= {"AWS_SECRET_ACCESS_KEY": "planted-six-33ab", "GITHUB_TOKEN": "planted-seven-11cd"}
    use = ("tools", "call", "w__tell_environment", "--agent", "me", "--json")
    ran = subprocess.run(
        [*COMMAND, "--home", str(tmp_path), *use],
        capture_output=True, text=True, timeout=SECONDS, env=environment(**planted),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "PATH" in ran.stdout
    assert not any(value in ran.stdout for value in planted.values())
