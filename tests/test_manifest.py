"""What people write about servers and agents: what is taken, and what each mistake is answered with."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from connectors.package import Package
from connectors.stdio import Stdio
from hub import manifest
from hub.errors import ManifestError
from hub.home import Home
from hub.manifest_write import remove_agent, remove_server, write_agent, write_server
from hub.policy import decide
from hub.schema import manifest_schema, write_schema

ROOT = Path(__file__).parent.parent
TEA = "server: tea\nconnect: {command: [tea]}\n"


def problems(folder: Path, text: str | bytes, name: str = "tea.yaml") -> list[str]:
    """What is said of one file, without the folder's name."""
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(problem).replace(f"{folder}/", "") for problem in manifest.load(folder).problems]


BAD: list[tuple[str, str, list[str]]] = [
    # what, the file, and for each problem how it begins and (after ...) ends
    ("unknown key", "server: tea\nconect: {command: [x]}\nconnect: {command: [x]}\n",
     ["tea.yaml:2: conect: is not known here. Did you mean 'connect'?"]),
    ("unknown key in a mapping", TEA + "limits:\n  conect: 3s\n",
     ["tea.yaml:4: limits.conect: is not known here. Did you mean 'connect'?"]),
    ("unknown key in a connector", "server: tea\nconnect:\n  command: [x]\n  environment: {}\n",
     ["tea.yaml:4: connect.environment: is not known here. Known keys: command, env."]),
    ("unknown key in an override", TEA + "tools:\n  override:\n    a*:\n      annotations: {readonlyHint: true}\n",
     ["tea.yaml:6: tools.override.a*.annotations.readonlyHint: is not known here. Did you mean 'readOnlyHint'?"]),
    ("version that is a number", "server: tea\nconnect:\n  package: {pypi: tea, version: 2.10}\n",
     ['tea.yaml:3: connect.package.version: was read as the number 2.1. Write it in quotes: "2.10".']),
    ("version that is an integer", "server: tea\nconnect:\n  package:\n    pypi: tea\n    version: 3\n",
     ['tea.yaml:5: connect.package.version: was read as the number 3. Write it in quotes: "3".']),
    ("no version", "server: tea\nconnect:\n  package: {pypi: tea}\n",
     ["tea.yaml:3: connect.package.version: is missing. Add 'version: ...'."]),
    ("version left empty", "server: tea\nconnect:\n  package: {pypi: tea, version: }\n",
     ["tea.yaml:3: connect.package.version: is empty. Give it a value, or remove it."]),
    ("number for text", "server: tea\nconnect:\n  command: [x, --pin, 1234]\n",
     ["tea.yaml:3: connect.command[2]: must be text, and was read as a number. Write it in quotes."]),
    ("text for a list", "server: tea\nconnect:\n  command: tea --hot\n",
     ["tea.yaml:3: connect.command: must be a list. Write [first, second]."]),
    ("list for a mapping", "server: tea\nconnect: [tea]\n",
     ["tea.yaml:2: connect: must be a mapping. Write exactly one of: command, package, python, url."]),
    ("word that is none of a few", TEA + "era: modren\n",
     ["tea.yaml:3: era: must be auto or modern or legacy. Did you mean 'modern'?"]),
    ("two kinds", "server: tea\nconnect:\n  command: [x]\n  url: https://x/mcp\n",
     ["tea.yaml:4: connect.url: is a second way to reach the server: 'command' and 'url' stand side by side. Keep one."]),
    ("no kind", "server: tea\nconnect: {}\n",
     ["tea.yaml:2: connect: does not say how to reach the server. Write exactly one of: command, package, python, url."]),
    ("kind misspelt", "server: tea\nconnect:\n  comand: [x]\n",
     ["tea.yaml:3: connect.comand: is not known here. Did you mean 'command'?"]),
    ("no connect", "server: tea\n", ["tea.yaml:1: connect: is missing. Add 'connect: ...'."]),
    ("duplicate key", "server: tea\nconnect: {command: [x]}\nera: auto\nera: modern\n",
     ["tea.yaml:4: era: stands twice; the first is on line 3. Remove one."]),
    ("bad name", "server: Tea\nconnect: {command: [x]}\n",
     ["tea.yaml:1: server: 'Tea' is not a server's name. Write a lower-case letter, then ..."]),
    ("name too long", f"server: {'t' * 25}\nconnect: {{command: [x]}}\n",
     [f"tea.yaml:1: server: '{'t' * 25}' is not a server's name. ..."]),
    ("reserved name", "server: hub\nconnect: {command: [x]}\n",
     ["tea.yaml:1: server: 'hub' is the name of the hub's own tools. Choose another."]),
    ("no unit", TEA + "limits: {call: 30}\n",
     ["tea.yaml:3: limits.call: 30 has no unit. Write it as 30s, 10m or 500ms."]),
    ("wrong unit", TEA + "limits: {call: 30 seconds}\n",
     ["tea.yaml:3: limits.call: 'seconds' is not a unit. Write it as 30s, 10m or 500ms."]),
    ("zero", TEA + "limits: {idle: 0s}\n",
     ["tea.yaml:3: limits.idle: must be more than zero. Write a duration such as 30s."]),
    ("too long", TEA + "limits: {idle: 9999h}\n", ["tea.yaml:3: limits.idle: is longer than a week. Write at most 168h."]),
    ("infinity", TEA + "limits: {idle: .inf}\n", ["tea.yaml:3: limits.idle: must be a duration. ..."]),
    ("yes for a duration", TEA + "limits: {idle: true}\n", ["tea.yaml:3: limits.idle: must be a duration. ..."]),
    ("size without unit", TEA + "limits: {message: 64}\n",
     ["tea.yaml:3: limits.message: 64 has no unit. Write it as 64KiB or 4MiB."]),
    ("size in decimal units", TEA + "limits: {message: 64MB}\n",
     ["tea.yaml:3: limits.message: 'MB' is not a unit. Write it as 64KiB or 4MiB."]),
    ("text for a number", TEA + "limits: {concurrent: many}\n", ["tea.yaml:3: limits.concurrent: must be a whole number."]),
    ("yes for a number", TEA + "limits: {concurrent: true}\n", ["tea.yaml:3: limits.concurrent: must be a whole number."]),
    ("out of range", TEA + "limits: {concurrent: 0}\n",
     ["tea.yaml:3: limits.concurrent: be greater than or equal to 1."]),
    ("variable that loads other code", "server: tea\nconnect:\n  command: [x]\n  env: {LD_PRELOAD: x}\n",
     ["tea.yaml:4: connect.env: the variable LD_PRELOAD makes a program load other code ..."]),
    ("several at once", "server: Tea\nconnect:\n  command: x\nera: x\n",
     ["tea.yaml:1: server: ...", "tea.yaml:3: connect.command: ...", "tea.yaml:4: era: ..."]),
    ("tab", "server: tea\nconnect:\n\tcommand: [x]\n",
     ["tea.yaml:3: is not YAML: found character '\\t' that cannot start any token. Indent with spaces, not tabs."]),
    ("no YAML", "server: tea: pot\n", ["tea.yaml:1: is not YAML: mapping values are not allowed here. Look at ..."]),
    ("open bracket", "server: tea\nconnect: {command: [x\n", ["tea.yaml:3: is not YAML: expected ..."]),
    ("two documents", TEA + "---\n" + TEA, ["tea.yaml:3: is not YAML: expected a single document in the stream, but ..."]),
    ("pattern without quotes", "agent: me\nmay: [*]\n", ["tea.yaml:2: is not YAML: ..."]),
    ("control character", "server: tea\x07\n", ["tea.yaml:1: is not YAML: it holds a character that may not be there."]),
    ("tag", "server: !!python/name:os.system tea\n",
     ["tea.yaml:1: server: has the tag 'tag:yaml.org,2002:python/name:os.system'. Remove it: tags are not used here."]),
    ("own tag", "server: tea\nconnect: !env X\n", ["tea.yaml:2: connect: has the tag '!env'. Remove it: ..."]),
    ("key that is a list", "server: tea\n? [a, b]\n: c\n", ["tea.yaml:2: has a key that is not text. Write a word."]),
    ("empty", "", ["tea.yaml:1: is empty. A manifest begins with 'server: NAME' or 'agent: NAME'."]),
    ("only a comment", "# later\n", ["tea.yaml:1: is empty. ..."]),
    ("a list", "- tea\n", ["tea.yaml:1: is not a mapping. A manifest begins with 'server: NAME' or 'agent: NAME'."]),
    ("another first key", "sever: tea\nconnect: {command: [x]}\n",
     ["tea.yaml:1: sever: does not say what this file is about. Did you mean 'server'?"]),
    ("first key unlike any", "apiVersion: v1\n",
     ["tea.yaml:1: apiVersion: does not say what this file is about. A manifest begins with ..."]),
    ("server not first", "title: Tea\nserver: tea\nconnect: {command: [x]}\n",
     ["tea.yaml:2: server: must be the first key, before 'title'. Move it to the top."]),
    ("too deep", "server: tea\nconnect: " + "{a: " * 40 + "1" + "}" * 40,
     ["tea.yaml:1: holds more than 20000 values or 32 levels. Make it smaller."]),
    ("deep beyond reading", "[" * 20_000, ["tea.yaml:1: is nested more than 32 levels deep. Make it flatter."]),
    ("alias of itself", "server: &a [*a]\n", ["tea.yaml:1: holds more than 20000 values or 32 levels. ..."]),
    ("aliases of aliases", "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)),
     ["tea.yaml:1: holds more than 20000 values or 32 levels. ..."]),
    ("too large", "# " + "x" * 300_000, ["tea.yaml:1: is larger than 256 KiB. Split it into several files."]),
    ("agent's name", "agent: Me\nmay: []\n", ["tea.yaml:1: agent: 'Me' is not an agent's name. ..."]),
    ("use missing", "agent: me\nmay:\n  - {}\n", ["tea.yaml:3: may[0].use: is missing. Add 'use: ...'."]),
    ("use empty", "agent: me\nmay:\n  - use: []\n", ["tea.yaml:3: may[0].use: ..."]),
    ("empty pattern", "agent: me\nmay:\n  - use: ['']\n",
     ["tea.yaml:3: may[0].use[0]: must have 1 to 1024 characters. '*' stands for everything."]),
    ("one pattern for a list", "agent: me\nmay: '*'\n", ["tea.yaml:2: may: must be a list. Write [first, second]."]),
    ("allow for may", "agent: me\nallow: ['*']\n", ["tea.yaml:2: allow: is not known here. ..."]),
    *[(f"`{key}` in a rule", f"agent: me\nmay:\n  - use: '*'\n    {key}: {{}}\n",
       [f"tea.yaml:4: may[0].{key}: is not supported yet by this version, and without it more would be allowed ..."])
      for key in ("with", "ask", "when", "limits", "only")],
    ("an agent's limits", "agent: me\nmay: ['*']\nlimits: {calls: 1000/day}\n",
     ["tea.yaml:3: limits: is not supported yet by this version, and without it more would be allowed ..."]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_mistake_is_answered_with_file_line_key_and_the_fix(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    found = problems(tmp_path, text)
    assert len(found) == len(expected), found
    for said, pattern in zip(found, expected, strict=True):
        if pattern.endswith("..."):
            assert said.startswith(pattern.removesuffix("..."))
        else:
            assert said == pattern
    loaded = manifest.load(tmp_path)
    assert (loaded.servers, loaded.agents) == ({}, {})


def test_bytes_that_are_no_text_are_said_with_their_line(tmp_path: Path) -> None:
    assert problems(tmp_path, TEA.encode() + b"title: \xff\n") == [
        "tea.yaml:3: is not UTF-8 text. Save it as UTF-8."
    ]


def test_no_value_that_may_be_secret_is_repeated(tmp_path: Path) -> None:
    text = (
        "server: tea\nconnect:\n  url: 8472\n  headers: {Authorization: 84727, X: [84728]}\n  token: 84729\n"
    )
    found = problems(tmp_path, text)
    assert len(found) == 4
    assert "8472" not in "".join(found)


def test_one_bad_manifest_never_stops_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("server: [")
    (tmp_path / "b.yaml").write_text(TEA)
    (tmp_path / "c.yml").write_text("agent: me\nmay: ['*']\n")
    (tmp_path / "d.yaml").write_bytes(b"\xff")
    (tmp_path / "README.md").write_text("no manifest")
    (tmp_path / ".b.yaml.swp.yaml").write_text("half written")
    loaded = manifest.load(tmp_path)
    assert (list(loaded.servers), list(loaded.agents)) == (["tea"], ["me"])
    assert [problem.file and problem.file.name for problem in loaded.problems] == ["a.yaml", "d.yaml"]


@pytest.mark.parametrize(("what", "text"), [("server", TEA), ("agent", "agent: tea\nmay: []\n")])
def test_of_two_files_with_one_name_the_first_stays_and_both_are_named(
    what: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / "b.yaml").write_text("# later\n" + text)
    (tmp_path / "a.yaml").write_text(text + "title: First\n")
    loaded = manifest.load(tmp_path)
    kept = loaded.servers if what == "server" else loaded.agents
    assert kept["tea"].title == "First"
    assert str(loaded.problems[0]) == (
        f"{tmp_path}/b.yaml:2: {what}: the name 'tea' is taken: {tmp_path}/a.yaml:1 has it, and stays. "
        "Rename one of the two, or remove it."
    )


def test_an_agent_may_have_the_name_of_a_server(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEA)
    (tmp_path / "b.yaml").write_text("agent: tea\nmay: []\n")
    assert manifest.load(tmp_path).problems == ()


def test_what_cannot_be_opened_is_said_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").mkdir()
    (tmp_path / "c.yaml").symlink_to(tmp_path / "nowhere")
    said = [str(problem) for problem in manifest.load(tmp_path).problems]
    assert said == [
        f"{tmp_path}/a.yaml:1: is not a regular file. Move it out of this folder.",
        f"{tmp_path}/b.yaml:1: is not a regular file. Move it out of this folder.",
        f"{tmp_path}/c.yaml:1: cannot be read: No such file or directory. Make it readable for the hub.",
    ]


def test_a_folder_that_is_not_there_is_empty_and_a_single_file_can_be_read(tmp_path: Path) -> None:
    assert manifest.load(tmp_path / "nowhere") == manifest.Manifests()
    (tmp_path / "tea.yaml").write_text(TEA)
    assert list(manifest.load(tmp_path / "tea.yaml").servers) == ["tea"]


WHOLE = """
server: git
title: Git repositories
connect:
  package: {pypi: mcp-server-git, version: 2026.10.19, args: [--repository, "${REPO:-.}"], with: ["mcp>=2"]}
  env: {TEA: "${POT}"}
era: legacy
start: eager
share: session
cwd: sub
trust: annotations
results: whole
names: bare
check: arguments
limits: {connect: 1.5s, call: 500ms, idle: 2h, concurrent: 3, message: 64KiB}
tools:
  allow: ["git_*"]
  deny: [git_reset]
  override: {git_status: {description: "Look", title: T}, "git_log*": {annotations: {readOnlyHint: true}}}
"""


def test_everything_that_a_server_can_say_is_read(tmp_path: Path) -> None:
    assert problems(tmp_path, WHOLE) == []
    git = manifest.load(tmp_path).servers["git"]
    assert isinstance(git.connect, Package)
    assert git.connect.package.args == ("--repository", "${REPO:-.}"), (
        "variables are filled in at the start only"
    )
    assert git.connect.package.version == "2026.10.19"
    assert (git.connect_kind, git.era, git.start, git.share) == ("package", "legacy", "eager", "session")
    assert (git.cwd, git.trust, git.results, git.names, git.check) == (
        "sub",
        "annotations",
        "whole",
        "bare",
        "arguments",
    )
    limits = git.limits
    assert (limits.connect, limits.call, limits.idle, limits.concurrent) == (1.5, 0.5, 7200.0, 3)
    assert limits.message == 65536
    view = git.view()
    assert (view.bare, view.trusted, view.allow, view.deny) == (True, True, ("git_*",), ("git_reset",))
    assert [(o.pattern, o.title, o.description, o.annotations) for o in view.overrides] == [
        ("git_status", "T", "Look", {}),
        ("git_log*", None, None, {"readOnlyHint": True}),
    ]


def test_what_is_left_out_has_the_defaults_of_the_design(tmp_path: Path) -> None:
    problems(tmp_path, TEA)
    tea = manifest.load(tmp_path).servers["tea"]
    assert (tea.title, tea.era, tea.start, tea.share, tea.names) == (
        "tea",
        "auto",
        "on-demand",
        "auto",
        "prefixed",
    )
    assert (tea.cwd, tea.trust, tea.results, tea.check) == (None, None, None, None)
    assert (tea.limits.connect, tea.limits.call, tea.limits.idle) == (30.0, 60.0, 600.0)
    assert (tea.limits.concurrent, tea.limits.message) == (None, 64 * 1024**2)
    assert tea.view().allow == ("*",)


def test_a_reload_can_tell_what_changed(tmp_path: Path) -> None:
    problems(tmp_path, WHOLE)
    before = manifest.load(tmp_path).servers["git"]
    problems(tmp_path, "# a comment changes nothing\n" + WHOLE)
    assert manifest.load(tmp_path).servers["git"] == before
    problems(tmp_path, WHOLE.replace("2h", "3h"))
    assert manifest.load(tmp_path).servers["git"] != before


def test_an_agents_rules_know_their_lines(tmp_path: Path) -> None:
    text = (
        "agent: reviewer\nmay:\n  - use: ['git__*', time__now]\n  - files__read\n"
        "  - use: '*://*'\nnever:\n  - git__git_reset\n"
    )
    assert problems(tmp_path, text) == []
    agent = manifest.load(tmp_path).agents["reviewer"]
    grants = agent.grants()
    assert agent.grants() is grants
    assert grants.file == f"{tmp_path.name}/tea.yaml"
    assert [(rule.id, rule.use, rule.line) for rule in grants.may] == [
        ("may[0]", ("git__*", "time__now"), 3),
        ("may[1]", ("files__read",), 4),
        ("may[2]", ("*://*",), 5),
    ]
    assert [(rule.id, rule.use, rule.line) for rule in grants.never] == [("never[0]", ("git__git_reset",), 7)]
    assert decide(grants, "git__git_log").allowed
    assert not decide(grants, "git__git_reset").allowed


@pytest.mark.parametrize(
    "text", ["agent: me\n", "agent: me\nmay: []\n", "agent: me\nmay: ['matches_nothing*']\n"]
)
def test_an_agent_that_may_do_nothing_is_valid(text: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == []
    assert not decide(manifest.load(tmp_path).agents["me"].grants(), "a__b").allowed


# Other people's files


def client_file(folder: Path, value: dict[str, Any] | str) -> manifest.Manifests:
    text = value if isinstance(value, str) else json.dumps(value)
    (folder / "mcp.json").write_text(text)
    return manifest.load(folder)


def test_a_clients_file_is_read_as_it_is_with_comments_and_trailing_commas(tmp_path: Path) -> None:
    loaded = client_file(
        tmp_path,
        '{\n\t"mcpServers": { // mine\n\t\t"My Files": {"command": "npx", "args": ["-y", "files"], "env": {"A": "b"},},\n'
        '/* off for now */ "off": {"command": "x", "disabled": true},\n'
        '"web": {"type": "http", "url": "https://x/mcp?a=//b", "headers": {"Authorization": "Bearer ${env:TOKEN}"}},\n},}',
    )
    assert loaded.problems == ()
    assert sorted(loaded.servers) == ["my-files", "web"]
    files = loaded.servers["my-files"].connect
    assert isinstance(files, Stdio)
    assert (files.command, files.env) == (["npx", "-y", "files"], {"A": "b"})
    web = loaded.servers["web"].connect
    assert web.model_dump()["headers"] == {"Authorization": "Bearer ${TOKEN}"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "kind", "described"),
    [
        ({"servers": {"a": {"type": "stdio", "command": "x"}}}, "command", "x"),
        ({"context_servers": {"a": {"command": "x", "args": ["y"]}}}, "command", "x y"),
        ({"mcp": {"a": {"type": "local", "command": ["x", "y"], "enabled": True}}}, "command", "x y"),
        ({"mcpServers": {"a": {"cmd": "x", "envs": {"A": "b"}}}}, "command", "x"),
        ({"mcpServers": {"a": {"httpUrl": "https://x/mcp"}}}, "url", "https://x/mcp"),
        ({"mcpServers": {"a": {"serverUrl": "https://x/mcp"}}}, "url", "https://x/mcp"),
        ({"mcp": {"a": {"type": "remote", "url": "https://x/mcp"}}}, "url", "https://x/mcp"),
        ({"mcpServers": {"a": {"type": "streamableHttp", "url": "https://x/mcp"}}}, "url", "https://x/mcp"),
    ],
)
def test_each_clients_way_to_write_a_server_is_understood(
    value: dict[str, Any], kind: str, described: str, tmp_path: Path
) -> None:
    loaded = client_file(tmp_path, value)
    assert loaded.problems == ()
    assert loaded.servers["a"].connect_kind == kind
    assert loaded.servers["a"].connect.describe() == described


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("${env:A}", "${A}"),
        ("{env:A}", "${A}"),
        ("${input:key}", "${secret:key}"),
        ("${A:-b}", "${A:-b}"),
        ("${workspaceFolder}/x", "${HUB_HOME}/x"),
        ("${userHome}", "${HOME}"),
        ("$A {b}", "$A {b}"),
    ],
)
def test_clients_variables_become_ours(theirs: str, ours: str, tmp_path: Path) -> None:
    connect = (
        client_file(tmp_path, {"mcpServers": {"a": {"command": "x", "args": [theirs]}}}).servers["a"].connect
    )
    assert isinstance(connect, Stdio)
    assert connect.command[1] == ours


def test_a_clients_choice_of_tools_is_kept(tmp_path: Path) -> None:
    """Ours: a file that narrows must not be read as one that does not."""
    server = {"command": "x", "includeTools": ["a*"], "excludeTools": ["ab"]}
    view = client_file(tmp_path, {"mcpServers": {"a": server}}).servers["a"].view()
    assert (view.allow, view.deny) == (("a*",), ("ab",))


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ('{"command": "x",\n"envFile": ".env"}', "2: mcpServers.a.envFile: is not understood. Remove it."),
        ('{"type": "sse",\n"url": "https://x"}', "1: mcpServers.a.type: is the old transport, which is not supported."),
        ('{"type": "ws", "url": "wss://x"}', "1: mcpServers.a.type: is no transport that is known here."),
        ('{"command": "x", "url": "https://x"}', "1: mcpServers.a: must have either 'command' or 'url'."),
        ('{}', "1: mcpServers.a: must have either 'command' or 'url'."),
        ('[]', "1: mcpServers.a: must be a mapping with 'command' or 'url'."),
        ('{"command": "x",\n"args": [1]}', "1: mcpServers.a.connect.command[1]: must be text"),
        ('{"command": "x",\n\n"env": {"A": 1}}', "3: mcpServers.a.connect.env.A: must be text"),
    ],
)  # fmt: skip
def test_a_server_of_a_clients_file_that_is_not_understood_is_left_out_alone(
    server: str, said: str, tmp_path: Path
) -> None:
    loaded = client_file(tmp_path, f'{{"mcpServers": {{"a": {server}, "b": {{"command": "y"}}}}}}')
    assert list(loaded.servers) == ["b"]
    assert str(loaded.problems[0]).startswith(f"{tmp_path}/mcp.json:{said}")


def test_names_of_a_clients_file_that_become_alike_are_told(tmp_path: Path) -> None:
    loaded = client_file(tmp_path, {"mcpServers": {"Tea Pot": {"command": "x"}, "tea_pot": {"command": "y"}}})
    assert list(loaded.servers) == ["tea-pot"]
    assert "the name 'tea-pot' is taken" in loaded.problems[0].message


REGISTRY = {
    "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
    "name": "io.github.someone/Tea_Weather",
    "title": "Weather",
    "description": "What to drink",
    "version": "1.2.0",
    "packages": [
        {"registryType": "oci", "identifier": "x/y:1", "transport": {"type": "stdio"}},
        {
            "registryType": "npm",
            "identifier": "@someone/weather",
            "version": "1.2.0",
            "transport": {"type": "stdio"},
            "runtimeArguments": [{"type": "positional", "value": "-y"}],
            "packageArguments": [
                {"type": "positional", "value": "serve"},
                {"type": "named", "name": "--units", "default": "metric"},
                {"type": "named", "name": "--city", "isRequired": True},
                {"type": "named", "name": "--verbose"},
            ],
            "environmentVariables": [
                {"name": "API_KEY", "isRequired": True, "isSecret": True},
                {"name": "REGION", "default": "eu"},
                {"name": "UNUSED"},
            ],
        },
    ],
}


def test_a_registrys_server_json_is_read_as_it_is(tmp_path: Path) -> None:
    loaded = client_file(tmp_path, REGISTRY)
    assert loaded.problems == ()
    server = loaded.servers["tea-weather"]
    assert server.title == "Weather"
    assert isinstance(server.connect, Package)
    spec = server.connect.package
    assert (spec.npm, spec.version) == ("@someone/weather", "1.2.0")
    assert spec.args == ("serve", "--units", "${units:-metric}", "--city", "${city}")
    assert server.connect.env == {"API_KEY": "${secret:API_KEY}", "REGION": "${REGION:-eu}"}


def test_a_registrys_remote_is_taken_where_there_is_no_package(tmp_path: Path) -> None:
    remote = {
        "type": "streamable-http",
        "url": "https://{tenant}.example.com/mcp",
        "variables": {"tenant": {"isRequired": True}},
        "headers": [
            {"name": "Authorization", "value": "Bearer {key}", "variables": {"key": {"isSecret": True}}}
        ],
    }
    loaded = client_file(
        tmp_path, {"name": "a/b", "version": "1", "remotes": [{"type": "sse", "url": "x"}, remote]}
    )
    assert loaded.problems == ()
    connect = loaded.servers["b"].connect.model_dump()  # type: ignore[attr-defined]
    assert connect["url"] == "https://${tenant}.example.com/mcp"
    assert connect["headers"] == {"Authorization": "Bearer ${secret:key}"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"packages": [{"registryType": "oci", "identifier": "x"}]}, "names neither a PyPI or npm package"),
        ({"packages": [{"registryType": "pypi", "identifier": "x"}]}, "connect.package.version: "),
        ({"packages": [{"registryType": "pypi", "identifier": "x", "version": "latest"}]}, "not one exact version"),
        ({"packages": [{"registryType": "npm", "identifier": "x", "version": "1.0.0",
                        "runtimeArguments": [{"value": "--registry=x"}]}]}, "is for a launcher that is not used here"),
    ],
)  # fmt: skip
def test_a_registrys_entry_that_cannot_be_used_says_why(
    value: dict[str, Any], said: str, tmp_path: Path
) -> None:
    loaded = client_file(tmp_path, {"name": "a/b", "version": "1", **value})
    assert loaded.servers == {}
    assert said in str(loaded.problems[0])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "mcpServers",
                        "servers",
                        "mcp",
                        "name",
                        "packages",
                        "remotes",
                        "command",
                        "args",
                        "url",
                        "type",
                    ]
                    + [
                        "env",
                        "headers",
                        "server",
                        "agent",
                        "connect",
                        "package",
                        "may",
                        "use",
                        "tools",
                        "identifier",
                    ]
                    + ["registryType", "version", "packageArguments", "variables", "value"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_no_file_of_any_shape_makes_the_loader_fail(value: Any) -> None:
    manifest.load_text(Path("x.json"), json.dumps(value))


@given(st.text(max_size=200))
def test_no_text_makes_the_loader_fail(text: str) -> None:
    manifest.load_text(Path("x.yaml"), text)
    manifest.load_text(Path("x.json"), text)


# The schema, and writing


def test_the_schema_agrees_with_the_loader(tmp_path: Path) -> None:
    validator = jsonschema_rs.Draft202012Validator(manifest_schema())
    files = [*(ROOT / "manifests").glob("*.yaml")]
    assert len(files) >= 6
    for text in [
        *(file.read_text() for file in files),
        WHOLE,
        "agent: a\nmay: ['*', {use: x}]\nnever: [b]\n",
    ]:
        value = YAML(typ="safe", pure=True).load(text)
        validator.validate(value)
    said = [
        "unknown key",
        "two kinds",
        "no kind",
        "no connect",
        "bad name",
        "wrong unit",
        "tag",
        "allow for may",
    ]
    for what, text, _ in BAD:
        if what in said and what != "tag":
            assert not validator.is_valid(YAML(typ="safe", pure=True).load(text)), what


def test_the_schema_is_where_our_manifests_say_it_is(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    file = write_schema(home)
    named = manifest.SCHEMA_COMMENT.partition("$schema=")[2]
    assert (home.manifests / named).resolve() == file
    assert json.loads(file.read_text()) == manifest_schema()


def test_a_written_server_is_read_back_and_reads_well(tmp_path: Path) -> None:
    file = write_server(
        tmp_path, "tea", {"command": ["npx", "-y", "tea@2.10"], "env": {"A": "1"}}, title="Tea: hot"
    )
    assert file.read_text() == (
        f"{manifest.SCHEMA_COMMENT}\nserver: tea\ntitle: 'Tea: hot'\nconnect:\n  command: [npx, -y, tea@2.10]\n"
        "  env:\n    A: '1'\n"
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600, "variables may be secrets"
    loaded = manifest.load(tmp_path)
    assert loaded.problems == ()
    assert loaded.servers["tea"].title == "Tea: hot"
    other = write_server(tmp_path, "pot", {"package": {"pypi": "pot", "version": "2.10"}})
    assert stat.S_IMODE(other.stat().st_mode) == 0o644
    pot = manifest.load(tmp_path).servers["pot"].connect
    assert isinstance(pot, Package)
    assert pot.package.version == "2.10"


def test_a_written_agent_is_read_back(tmp_path: Path) -> None:
    file = write_agent(tmp_path / "new", "reviewer", ["git__*", "*"], ["git__git_reset"])
    assert file.read_text() == (
        f"{manifest.SCHEMA_COMMENT}\nagent: reviewer\nmay:\n  - use: git__*\n  - use: '*'\nnever: [git__git_reset]\n"
    )
    assert [rule.use for rule in manifest.load(tmp_path / "new").agents["reviewer"].grants().may] == [
        ("git__*",),
        ("*",),
    ]


def test_what_would_not_be_valid_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"server: '\.\./tea' is not a server's name"):
        write_server(tmp_path, "../tea", {"command": ["x"]})
    with pytest.raises(ManifestError, match=r"connect\.comand: is not known here\. Did you mean 'command'\?"):
        write_server(tmp_path, "tea", {"comand": ["x"]})
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(TEA)
    (tmp_path / "pot.yaml").write_text("# mine")
    for name, holder in (("tea", "other.yaml"), ("pot", "pot.yaml")):
        with pytest.raises(FileExistsError) as taken:
            write_server(tmp_path, name, {"command": ["x"]})
        assert taken.value.filename == str(tmp_path / holder)
    assert (tmp_path / "pot.yaml").read_text() == "# mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_removing_takes_away_the_file_that_holds_it_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(TEA)
    write_agent(tmp_path, "me", ["*"])
    client_file(tmp_path, {"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}})
    assert remove_server(tmp_path, "tea").name == "other.yaml"
    assert remove_agent(tmp_path, "me").name == "me.yaml"
    with pytest.raises(ManifestError, match=r"holds more than 'a': a, b\. Take it out of there by hand"):
        remove_server(tmp_path, "a")
    with pytest.raises(ManifestError, match="no manifest names the server 'tea'"):
        remove_server(tmp_path, "tea")
    assert [file.name for file in tmp_path.iterdir()] == ["mcp.json"]


def test_naming_the_types_loads_neither_the_parser_nor_a_connector() -> None:
    """The command line imports this for its messages: it must stay light."""
    code = (
        "import sys, hub.manifest; heavy = {'mcp', 'ruamel.yaml', 'connectors.http', 'connectors.stdio', 'httpx2'}; "
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
