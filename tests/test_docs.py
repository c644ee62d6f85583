"""The documents say what is: their commands run, their files load, their tables are complete."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import httpx
import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from connectors.cassette import Cassette
from connectors.http import Http
from connectors.oauth_settings import OAuth
from connectors.package import Package, Spec
from connectors.python import Python
from connectors.stdio import Stdio
from hub import settings
from hub.failure import EXIT_CODES
from hub.manifests import manifest
from hub.manifests.quota_shape import QuotaShape
from hub.manifests.route_shape import BreakerShape, CandidateShape, RetryShape, TimesShape
from hub.manifests.shapes import (
    AgentShape,
    Annotations,
    IdentifyShape,
    Limits,
    OverrideShape,
    RuleShape,
    ServerShape,
    Tools,
    WhenShape,
)
from tests import documents, homes
from tests.commands import environment
from tests.documents import DOCUMENTS, Block, Console, blocks, plain, steps, tables
from tests.homes import Running, done, install, make_home, need_node, running
from tests.sources import ROOT

SERVERS = ("everything", "filesystem", "git", "notes", "time")
FILES = [pytest.param(file, id=file.stem) for file in DOCUMENTS]
SHAPES: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    # With the least that each needs.
    "ServerShape": (ServerShape, {"server": "tea", "connect": {}}),
    "AgentShape": (AgentShape, {"agent": "tea"}),
    "IdentifyShape": (IdentifyShape, {"issuer": "x", "claims": {"sub": "x"}}),
    "RuleShape": (RuleShape, {"use": "*"}),
    "QuotaShape": (QuotaShape, {}),
    "WhenShape": (WhenShape, {"hours": "09:00-17:00"}),
    "Limits": (Limits, {}),
    "Tools": (Tools, {}),
    "OverrideShape": (OverrideShape, {}),
    "Annotations": (Annotations, {}),
    "RetryShape": (RetryShape, {}),
    "BreakerShape": (BreakerShape, {}),
    "TimesShape": (TimesShape, {}),
    "CandidateShape": (CandidateShape, {"tool": "x__y"}),
    "Package": (Package, {"package": {"pypi": "tea", "version": "1"}}),
    "Spec": (Spec, {"pypi": "tea", "version": "1"}),
    "Stdio": (Stdio, {"command": ["tea"]}),
    "Http": (Http, {"url": "http://tea/mcp"}),
    "OAuth": (OAuth, {}),
    "Python": (Python, {"python": "tea:pot"}),
    "Cassette": (Cassette, {"cassette": "tea.jsonl"}),
}


def text_of(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def in_documents(*languages: str, words: str = "") -> list[Any]:
    found = [block for file in DOCUMENTS for block in blocks(file, *languages) if block.words == words]
    return [pytest.param(block, id=str(block)) for block in found]


# Commands


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The hub that `make run` starts, in a folder of its own, with every server ready."""
    need_node()
    install("everything", "filesystem", "git", "time")
    home = make_home(tmp_path_factory.mktemp("docs") / "home", *SERVERS)
    identity = {f"GIT_{who}_{what}": "You" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["init", "-q"], ["commit", "-q", "--no-gpg-sign", "--allow-empty", "-m", "A first look"]):
        subprocess.run(["git", *command], cwd=home, check=True, env={**os.environ, **identity}, timeout=10)
    with pytest.MonkeyPatch.context() as patch:
        # As people start it, so that what it says of itself is what they read.
        patch.setattr(homes, "COMMAND", [str(Path(sys.executable).with_name("hub"))])
        with running(home) as it:
            for name in SERVERS:
                it.until(rf"\n{name}: ready", 60)
            yield it


@pytest.fixture
def console(hub: Running) -> Iterator[Console]:
    """A terminal in that folder, whose manifests are afterwards what they were before."""
    before = {file: file.read_bytes() for file in (hub.home / "manifests").iterdir()}
    yield Console(hub.home)
    for file in (hub.home / "manifests").iterdir():
        if file not in before:
            file.unlink()
    for file, data in before.items():
        if not file.exists() or file.read_bytes() != data:
            file.write_bytes(data)


@pytest.mark.parametrize("file", FILES)
def test_every_command_prints_what_the_document_shows(file: Path, request: pytest.FixtureRequest) -> None:
    consoles = blocks(file, "console")
    if not consoles:
        return
    hub: Running = request.getfixturevalue("hub")
    console: Console = request.getfixturevalue("console")
    if file.name in ("permissions.md", "policy.md"):
        place(file, hub)
    for block in consoles:
        for step in steps(block):
            if step.command == "make run":
                check_make_run(step.output, hub)
            elif step.command == "source .venv/bin/activate":
                assert (Path(sys.executable).parent / "activate").is_file()
            else:
                console.run(step)


def place(file: Path, hub: Running) -> None:
    """Make the manifests that a document shows those of the hub, which takes them up."""
    shown = {re.match(r"(server|agent): (\S+)", block.text): block.text for block in blocks(file, "yaml")}
    for found, text in shown.items():
        assert found is not None
        (hub.home / "manifests" / f"{found[2]}.yaml").write_text(text)
    wanted = {found[2] for found in shown if found is not None and found[1] == "agent"}
    end = time.monotonic() + 30
    while not wanted <= {agent["name"] for agent in done(hub.home, "agents", "list", "--json").json}:
        assert time.monotonic() < end
    for found in shown:
        if found is not None and found[1] == "server":
            done(hub.home, "servers", "check", found[2])


def check_make_run(shown: str, hub: Running) -> None:
    """Its recipe is `hub serve`, which has said this; in which order servers are ready is chance."""
    assert re.search(r"^run: venv\n\t@?\.venv/bin/hub serve --home \. ", text_of("Makefile"), re.MULTILINE)
    installing, *lines = plain(shown, hub.home).splitlines()
    assert installing in text_of("Makefile")
    said = plain(hub.said, hub.home).splitlines()
    assert lines[:4] == said[:4]
    assert sorted(lines[4:]) == sorted(said[4 : len(lines)])


@pytest.mark.parametrize("block", in_documents("python"))
def test_every_program_runs(block: Block, hub: Running) -> None:
    token = (hub.home / ".hub" / "tokens" / "me").read_text().strip()
    done = subprocess.run(
        [sys.executable, "-c", block.text],
        env=environment(HUB_TOKEN=token, HUB_URL=hub.url), capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['time__get_current_time', 'time__convert_time']", "False"]


def named(file: Path) -> Iterator[str]:
    """Each `hub ...` in a sentence or a script; consoles run, and need not be looked at."""
    text = file.read_text("utf-8")
    yield from re.findall(
        r"`(hub [a-z][^`\n]*)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    )
    for block in blocks(file, "sh"):
        yield from re.findall(r"^(hub [^#|\n]*)", block.text, re.MULTILINE)


@pytest.mark.parametrize("file", FILES)
def test_every_command_that_is_named_is_there_with_its_options(file: Path) -> None:
    for text in named(file):
        if text == "hub audit checkpoint":  # what is signed begins so
            continue
        command: Any = documents.root()
        _, *words = text.partition(" -- ")[0].split()
        while words and hasattr(command, "commands") and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert not words or not hasattr(command, "commands"), text
        known = {
            "--home",
            "--json",
            "--quiet",
            "-q",
            *(name for each in command.params for name in each.opts),
        }
        assert [
            word for word in words if word.startswith("-") and word.partition("=")[0] not in known
        ] == [], text


# Files


@pytest.mark.parametrize("block", in_documents("yaml"))
def test_every_yaml_block_is_valid(block: Block, tmp_path: Path) -> None:
    if block.text.startswith(("server:", "agent:", "#")):
        found = manifest.load_text(Path("shown.yaml"), block.text)
        assert [str(problem) for problem in found.problems] == []
        assert found.servers or found.agents
    else:
        (tmp_path / "hub.yaml").write_text(block.text)
        assert settings.load(tmp_path / "hub.yaml") != settings.Settings()


@pytest.mark.parametrize("block", in_documents("yaml", words="wrong"))
def test_every_wrong_manifest_gets_the_sentence_that_is_shown(block: Block) -> None:
    every = blocks(block.file)
    shown = every[every.index(block) + 1]
    assert shown.language == "text"
    problems = manifest.load_text(Path("tea.yaml"), block.text).problems
    assert [str(problem) for problem in problems] == shown.text.splitlines()


@pytest.mark.parametrize("block", in_documents("json"))
def test_every_json_block_is_json_and_a_dropped_file_is_understood(block: Block) -> None:
    value = json.loads(block.text)
    if block.file.name == "manifests.md":
        found = manifest.load_text(Path("shown.json"), block.text)
        assert [str(problem) for problem in found.problems] == []
        assert sorted(found.servers) == sorted(value.get("mcpServers", ["clock"]))


@pytest.mark.parametrize("block", in_documents("toml"))
def test_every_toml_block_is_toml(block: Block) -> None:
    assert tomllib.loads(block.text)


def test_no_block_is_of_a_language_that_nothing_checks() -> None:
    known = {"console", "python", "yaml", "json", "toml", "text", "sh"}
    found = {block.language for file in DOCUMENTS for block in blocks(file)}
    assert found <= known
    assert {block.words for file in DOCUMENTS for block in blocks(file)} == {"", "wrong"}


# Tables


@pytest.mark.parametrize("file", FILES)
def test_what_is_made_from_the_code_is_as_the_code_is(file: Path) -> None:
    text = file.read_text("utf-8")
    assert text == documents.remake(text), "write it anew: python -m tests.documents"


def test_every_command_and_every_setting_is_documented() -> None:
    cli, table = text_of("docs/cli.md"), text_of("docs/settings.md")
    for path in documents.commands():
        assert re.search(rf"^### `hub {path}\b", cli, re.MULTILINE)
    for row in settings.TABLE:
        assert f"\n| `{row.key}` | `{row.default}` |" in table


def test_the_exit_codes_are_all_there() -> None:
    part = text_of("docs/cli.md").partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(row[0]) for row in tables(part)} == {0, *EXIT_CODES.values()}


def test_every_key_of_a_manifest_is_documented_with_what_it_is_when_left_out() -> None:
    parts = re.findall(r"<!-- keys: (\w+) -->(.*?)<!-- end -->", text_of("docs/manifests.md"), re.DOTALL)
    assert sorted(name for name, _ in parts) == sorted(SHAPES)
    for name, part in parts:
        shape, least = SHAPES[name]
        rows = {row[0].strip("`"): row[1] for row in tables(part)}
        assert list(rows) == keys_of(shape), name
        for key, left_out in rows.items():
            required = next(field.is_required() for each, field in fields_of(shape) if each == key)
            assert (left_out == "needed") == required, f"{name}: {key}"
            if not required:
                value = None if left_out == "none" else YAML(typ="safe").load(left_out.strip("`"))
                written = {**least, key: value} if value is not None else least
                assert shape.model_validate(written) == shape.model_validate(least), f"{name}: {key}"


def fields_of(shape: type[BaseModel]) -> list[tuple[str, Any]]:
    """The keys that people may write, and their fields."""
    return [(field.alias or name, field) for name, field in shape.model_fields.items()]


def keys_of(shape: type[BaseModel]) -> list[str]:
    return [key for key, _ in fields_of(shape)]


def test_every_value_that_a_key_may_have_is_named() -> None:
    text = text_of("docs/manifests.md")
    for key, field in fields_of(ServerShape):
        row = next(line for line in text.splitlines() if line.startswith(f"| `{key}` |"))
        for part in (field.annotation, *get_args(field.annotation)):
            if get_origin(part) is Literal:
                assert [word for word in get_args(part) if f"`{word}`" not in row] == [], key


# What agents are told


def test_agents_are_refused_in_the_words_of_the_document(hub: Running) -> None:
    part = text_of("docs/errors.md").partition("## What agents are told")[2]
    rows = {row[1].strip("`"): int(row[0]) for row in tables(part)}
    told = dict(refusals(hub))
    assert told == rows


def refusals(hub: Running) -> Iterator[tuple[str, int]]:
    """What `/mcp` answers to each thing that it refuses."""
    token = (hub.home / ".hub" / "tokens" / "me").read_text().strip()
    ours = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    modern = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "nope__tool"}
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    call = {**ping, "method": "tools/call", "params": {"name": "nope__tool", "arguments": {}, "_meta": meta}}
    asked: list[tuple[dict[str, str], Any, str]] = [
        ({"Authorization": ""}, ping, "/mcp"),
        ({"Host": "hub.example.com"}, ping, "/mcp"),
        ({"Origin": "https://example.com"}, ping, "/mcp"),
        ({}, ping, "/"),
        ({}, ping, "/mcp"),
        ({"Mcp-Session-Id": "gone"}, ping, "/mcp"),
        ({"MCP-Protocol-Version": "2000-01-01"}, ping, "/mcp"),
        ({}, [ping], "/mcp"),
        ({"Content-Type": "text/plain"}, ping, "/mcp"),
        ({"Accept": "text/html"}, ping, "/mcp"),
        ({"Mcp-Session-Id": "any"}, {**ping, "method": "x" * 5 * 2**20}, "/mcp"),
        (modern, call, "/mcp"),
    ]
    with httpx.Client(timeout=30) as client:
        for headers, body, path in asked:
            answer = client.post(
                hub.url.replace("/mcp", path),
                content=json.dumps(body),
                headers={"Content-Type": "application/json", **ours, **headers},
            )
            yield answer.json()["error"]["message"], answer.status_code


# Links


@pytest.mark.parametrize("file", [*FILES, *(pytest.param(ROOT / f"{name}.md", id=name) for name in (
    "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG"))])  # fmt: skip
def test_every_link_and_every_named_file_is_there(file: Path) -> None:
    text = file.read_text("utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith(("http://", "https://")):
            path, _, heading = target.partition("#")
            aim = (file.parent / path) if path else file
            assert aim.is_file(), target
            assert not heading or heading in anchors(aim), target
    for name in re.findall(r"`((?:hub|connectors|tests|docs|examples|manifests|benchmarks)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name


def anchors(file: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
