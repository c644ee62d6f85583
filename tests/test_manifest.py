"""What people write about servers and agents: what is taken, and what it means."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.package import Package
from hub.manifests import manifest
from hub.policy import bare, decide
from tests.manifests import TEA, WHOLE, problems


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
    assert decide(grants, bare("git__git_log")).allowed
    assert not decide(grants, bare("git__git_reset")).allowed


@pytest.mark.parametrize(
    "text", ["agent: me\n", "agent: me\nmay: []\n", "agent: me\nmay: ['matches_nothing*']\n"]
)
def test_an_agent_that_may_do_nothing_is_valid(text: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == []
    assert not decide(manifest.load(tmp_path).agents["me"].grants(), bare("a__b")).allowed


def test_naming_the_types_loads_neither_the_parser_nor_a_connector() -> None:
    """The command line imports this for its messages: it must stay light."""
    code = (
        "import sys, hub.manifests.manifest\n"
        "heavy = {'mcp', 'ruamel.yaml', 'connectors.http', 'connectors.stdio', 'httpx2'}\n"
        "sys.exit(sorted(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
