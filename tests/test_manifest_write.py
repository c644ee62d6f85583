"""The schema of manifests, and manifests that the hub writes itself."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from connectors.package import Package
from hub.commands.schema import manifest_schema, write_schema
from hub.errors import ManifestError
from hub.home import Home
from hub.manifests import manifest
from hub.manifests.write import remove_agent, remove_server, write_agent, write_server
from tests.manifests import ROOT, TEA, WHOLE
from tests.mistakes import BAD


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
        f"{manifest.SCHEMA_COMMENT}\nserver: tea\ntitle: 'Tea: hot'\nconnect:\n"
        "  command: [npx, -y, tea@2.10]\n"
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
        f"{manifest.SCHEMA_COMMENT}\nagent: reviewer\nmay:\n"
        "  - use: git__*\n  - use: '*'\nnever: [git__git_reset]\n"
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
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}}')
    assert remove_server(tmp_path, "tea").name == "other.yaml"
    assert remove_agent(tmp_path, "me").name == "me.yaml"
    with pytest.raises(ManifestError, match=r"holds more than 'a': a, b\. Take it out of there by hand"):
        remove_server(tmp_path, "a")
    with pytest.raises(ManifestError, match="no manifest names the server 'tea'"):
        remove_server(tmp_path, "tea")
    assert [file.name for file in tmp_path.iterdir()] == ["mcp.json"]
