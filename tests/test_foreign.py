"""Other people's files about servers: clients' configurations and registry entries, read as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.package import Package
from connectors.stdio import Stdio
from hub.manifests import manifest


def client_file(folder: Path, value: dict[str, Any] | str) -> manifest.Manifests:
    text = value if isinstance(value, str) else json.dumps(value)
    (folder / "mcp.json").write_text(text)
    return manifest.load(folder)


def test_a_clients_file_is_read_as_it_is_with_comments_and_trailing_commas(tmp_path: Path) -> None:
    loaded = client_file(
        tmp_path,
        '{\n\t"mcpServers": { // mine\n'
        '\t\t"My Files": {"command": "npx", "args": ["-y", "files"], "env": {"A": "b"},},\n'
        '/* off for now */ "off": {"command": "x", "disabled": true},\n'
        '"web": {"type": "http", "url": "https://x/mcp?a=//b",\n'
        '"headers": {"Authorization": "Bearer ${env:TOKEN}"}},\n},}',
    )
    assert loaded.problems == ()
    assert sorted(loaded.servers) == ["my-files", "web"]
    files = loaded.servers["my-files"].connect
    assert isinstance(files, Stdio)
    assert (files.command, files.env) == (["npx", "-y", "files"], {"A": "b"})
    web = loaded.servers["web"].connect
    assert web.model_dump()["headers"] == {"Authorization": "Bearer ${TOKEN}"}  # type: ignore[attr-defined]


def test_a_projects_hidden_file_of_servers_is_read_and_other_hidden_files_are_not(tmp_path: Path) -> None:
    for name in (".mcp.json", ".other.json", ".mcp.json.swp", ".new.yaml"):
        server = name.strip(".").replace(".", "-")
        (tmp_path / name).write_text(json.dumps({"mcpServers": {server: {"command": "x"}}}))
    loaded = manifest.load(tmp_path)
    assert (sorted(loaded.servers), loaded.problems) == (["mcp-json"], ())


def test_a_clients_file_that_is_toml_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[mcp_servers.a]\ncommand = "x"\n')
    (problem,) = manifest.load(tmp_path).problems
    assert "config.toml" in str(problem)
    assert "hub add" in str(problem)


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
        ('{"type": "sse",\n"url": "https://x"}', "1: mcpServers.a.type: is the old transport"),
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
        ({"packages": [{"registryType": "pypi", "identifier": "x", "version": "latest"}]}, "not one exact"),
        ({"packages": [{"registryType": "npm", "identifier": "x", "version": "1.0.0",
                        "runtimeArguments": [{"value": "--registry=x"}]}]}, "is for a launcher"),
    ],
)  # fmt: skip
def test_a_registrys_entry_that_cannot_be_used_says_why(
    value: dict[str, Any], said: str, tmp_path: Path
) -> None:
    loaded = client_file(tmp_path, {"name": "a/b", "version": "1", **value})
    assert loaded.servers == {}
    assert said in str(loaded.problems[0])


KEYS = [
    "mcpServers", "servers", "mcp", "name", "packages", "remotes", "command", "args", "url", "type",
    "env", "headers", "server", "agent", "connect", "package", "may", "use", "tools", "identifier",
    "registryType", "version", "packageArguments", "variables", "value",
]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_no_file_of_any_shape_makes_the_loader_fail(value: Any) -> None:
    manifest.load_text(Path("x.json"), json.dumps(value))


@given(st.text(max_size=200))
def test_no_text_makes_the_loader_fail(text: str) -> None:
    manifest.load_text(Path("x.yaml"), text)
    manifest.load_text(Path("x.json"), text)
