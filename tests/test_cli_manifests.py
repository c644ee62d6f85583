"""Manifests from the command line: a new home, servers added, files checked."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.commands import furnish
from tests.commands import hub as run_hub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return furnish(tmp_path / "home")


def test_init_makes_a_home_that_is_valid_and_leaves_what_is_there(hub_here: Any, tmp_path: Path) -> None:
    made = hub_here(tmp_path / "new", "init", "--json")
    assert made.code == 0
    names = {Path(file).relative_to(tmp_path / "new").as_posix() for file in made.json["files"]}
    assert names == {"manifests/me.yaml", "manifests/time.yaml", ".gitignore", ".hub/manifest.schema.json"}
    assert (tmp_path / "new" / ".gitignore").read_text() == ".hub/\n"
    assert stat.S_IMODE((tmp_path / "new" / ".hub").stat().st_mode) == 0o700
    assert hub_here(tmp_path / "new", "validate").code == 0
    (tmp_path / "new" / "manifests" / "me.yaml").write_text("agent: me\nmay: []\n")
    (tmp_path / "new" / "manifests" / "time.yaml").unlink()
    again = hub_here(tmp_path / "new", "init", "--json")
    assert [Path(file).name for file in again.json["files"]] == ["manifest.schema.json"]
    assert hub_here(tmp_path / "new", "agents", "show", "me", "--json").json["may"] == []


def test_init_adds_to_a_gitignore_without_a_last_line_break(hub_here: Any, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.pyc")
    assert hub_here(tmp_path, "init").code == 0
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n.hub/\n"


def test_validate_points_at_file_line_and_key_and_exits_2(hub_here: Any, home: Path) -> None:
    bad = home / "manifests" / "bad.yaml"
    bad.write_text("server: bad\nconnect:\n  command: [x]\n  env: {A: '${HUB_TEST_UNSET}'}\ncolour: red\n")
    unset = home / "manifests" / "unset.yaml"
    unset.write_text(
        "server: unset\nconnect:\n  command: [x]\n  env: {A: '${HUB_TEST_UNSET}', B: '${X_Y:-1}'}\n"
    )
    done = hub_here(home, "validate")
    assert done.code == 2
    lines = done.out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{bad}:5: colour: ")
    assert lines[1].startswith(f"{unset}:4: connect.env.A: ") and "HUB_TEST_UNSET" in lines[1]
    found = hub_here(home, "validate", "--json").json
    assert found["servers"] == ["desk", "unset"]
    assert [problem["line"] for problem in found["problems"]] == [5, 4]
    assert hub_here(home, "validate", str(home / "manifests" / "desk.yaml")).code == 0
    assert hub_here(home, "validate", str(home / "none.yaml")).code == 2
    (home / "hub.yaml").write_text("prot: 1\n")
    assert "hub.yaml:1: prot" in hub_here(home, "validate").out


def test_the_schema_is_one_json_document(hub_here: Any, home: Path) -> None:
    assert hub_here(home, "validate").code == 0
    document = json.loads(run_hub(home, "schema").out)
    assert document["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize(
    ("arguments", "connect"),
    [
        (["--", "npx", "-y", "some-server"], {"command": ["npx", "-y", "some-server"]}),
        (["--env", "A=b=c", "--", "./run"], {"command": ["./run"], "env": {"A": "b=c"}}),
        (
            ["https://h.example/mcp", "--header", "X-A: b:c"],
            {"url": "https://h.example/mcp", "headers": {"X-A": "b:c"}},
        ),
        (["pypi:some-server@1.10"], {"package": {"pypi": "some-server", "version": "1.10"}}),
        (
            ["npm:@scope/name@2.0.0", "--", "--flag"],
            {"package": {"npm": "@scope/name", "version": "2.0.0", "args": ["--flag"]}},
        ),
    ],
)
def test_add_writes_a_manifest_that_says_what_was_typed(
    hub_here: Any, home: Path, arguments: list[str], connect: Any
) -> None:
    from ruamel.yaml import YAML

    cut = arguments.index("--") if "--" in arguments else len(arguments)
    done = hub_here(home, "add", "new", *arguments[:cut], "--json", *arguments[cut:])
    assert done.code == 0, done.err
    file = Path(done.json["file"])
    assert file == home / "manifests" / "new.yaml"
    assert file.read_text().startswith("# yaml-language-server: $schema=")
    assert YAML(typ="safe").load(file) == {"server": "new", "connect": connect}
    assert hub_here(home, "validate").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Bad_Name", "--", "x"], "lower-case"),
        (["desk", "--", "x"], "already"),
        (["new", "pypi:-rsome-server"], "is not a package's name"),
        (["new", "https://h.example/mcp", "more"], "one word too many"),
        (["new", "--header", "A=b", "--", "x"], "--header is for a URL"),
        (["new", "--env", "A", "--", "x"], "K=V"),
        (["new", "npx", "-y", "x"], "hub add NAME -- npx -y SERVER"),
        (["new"], "Missing argument"),
    ],
)
def test_add_refuses_what_makes_no_manifest_and_writes_nothing(
    hub_here: Any, home: Path, arguments: list[str], says: str
) -> None:
    before = sorted((home / "manifests").iterdir())
    done = hub_here(home, "add", *arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert sorted((home / "manifests").iterdir()) == before


def test_add_warns_of_a_secret_in_plain_text_without_repeating_it(hub_here: Any, home: Path) -> None:
    done = hub_here(home, "add", "new", "http://h.example/", "--header", "Authorization=Bearer abcdef")
    assert "${secret:NAME}" in done.err and "abcdef" not in done.err + done.out
    assert stat.S_IMODE((home / "manifests" / "new.yaml").stat().st_mode) == 0o600


def test_a_package_without_a_version_is_pinned_at_its_newest(hub_here: Any, home: Path) -> None:
    """A real one, from where this machine installs from."""
    done = hub_here(home, "add", "new", "pypi:iniconfig")
    version = re.search(r"iniconfig ([0-9.]+) is the newest now", done.err)
    assert done.code == 0 and version, done.err
    assert f"version: {version[1]}\n" in (home / "manifests" / "new.yaml").read_text().replace("'", "")


@pytest.mark.parametrize(("target", "program"), [("pypi:tea-pot", "uv"), ("npm:tea-pot", "npm")])
def test_where_the_newest_version_cannot_be_found_out_nothing_is_written(
    hub_here: Any, home: Path, monkeypatch: pytest.MonkeyPatch, target: str, program: str
) -> None:
    """The installer is a program here that knows no such package."""
    file = home / program
    file.write_text("#!/bin/sh\necho 'npm notice New!' >&2; echo 'no \033[31mtea-pot' >&2; exit 1\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    done = hub_here(home, "add", "new", target)
    assert done.code == 2
    assert done.err.endswith(f"found out: no tea-pot. Correct the name, or write {target}@VERSION.\n")
    assert not (home / "manifests" / "new.yaml").exists()
