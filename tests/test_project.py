"""The project around the code: what is tracked, what is pinned, what versions say."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from importlib import import_module
from importlib.metadata import entry_points, version
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import hub
from tests.sources import ROOT

NAME = "mcp-tool-hub"
# Written in two halves, so that this file does not hold what it looks for.
REGISTRIES = tuple(".".join(parts) for parts in (
    ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("yarnpkg", "com"),
))  # fmt: skip
UNFINISHED = re.compile(
    r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "Not" + "ImplementedError")) + r")\b"
)
MACHINE_PATH = re.compile(r"(?<![\w.~$}{)*-])/(?:root|work|home/\w+|Users/\w+)/\w")
UNNAMED_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)")
SILENT = re.compile(r"except (?:Base)?Exception:\s*pass")


def tracked() -> list[Path]:
    """What is in the repository, or would be: everything that git does not ignore."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30).stdout
    return [ROOT / name for name in os.fsdecode(listed).split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    found = {str(path.relative_to(ROOT)): path.read_bytes() for path in tracked()}
    return {name: data.decode("utf-8") for name, data in found.items() if b"\0" not in data}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def lines_with(texts: dict[str, str], what: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if what.search(line)
    ]


def test_nothing_tracked_says_where_packages_come_from(texts: dict[str, str]) -> None:
    """Ours: whoever installs decides on the registry, by the means of pip, uv and npm."""
    found = lines_with(texts, re.compile("|".join(map(re.escape, REGISTRIES))))
    assert found == []
    assert {"uv.lock", "poetry.lock", "package-lock.json"}.isdisjoint(texts)


def test_nothing_tracked_knows_the_machine_it_was_written_on(texts: dict[str, str]) -> None:
    assert lines_with(texts, MACHINE_PATH) == []
    assert MACHINE_PATH.search('cd "/home/' + 'ada/hub"')


def test_nothing_tracked_is_left_unfinished_or_silenced(texts: dict[str, str]) -> None:
    code = {name: text for name, text in texts.items() if name.endswith((".py", ".yaml", ".sh", "Makefile"))}
    assert lines_with(code, UNFINISHED) == []
    assert lines_with(code, UNNAMED_IGNORE) == []
    assert [name for name, text in code.items() if SILENT.search(text)] == []


def test_only_small_files_are_tracked() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > 300_000] == []


def test_the_licence_is_there_and_is_what_the_package_says(project: dict[str, Any]) -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text
    assert project["project"]["license"] == "Apache-2.0"
    assert project["project"]["license-files"] == ["LICENSE"]


def test_every_place_says_the_same_version(project: dict[str, Any], texts: dict[str, str]) -> None:
    assert version(NAME) == hub.__version__, "run `make venv`: the installed package is another version"
    assert "version" in project["project"]["dynamic"]
    if "CHANGELOG.md" in texts:
        assert re.search(rf"^##\s.*\b{re.escape(hub.__version__)}\b", texts["CHANGELOG.md"], re.MULTILINE)


def test_every_console_command_can_be_started(project: dict[str, Any]) -> None:
    ours = [
        point for point in entry_points(group="console_scripts") if point.dist and point.dist.name == NAME
    ]
    assert {point.name: point.value for point in ours} == project["project"]["scripts"]
    for point in ours:
        module, _, function = point.value.partition(":")
        assert callable(getattr(import_module(module), function))


def test_all_that_is_needed_is_pinned_by_name_and_version_alone(project: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert all(re.fullmatch(r"[a-z0-9-]+", name) and re.fullmatch(r"[\w.+!]+", v) for name, v in pins.items())
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    needed = [*project["project"]["dependencies"], *chain(*extras, *groups)]
    for text in needed:
        requirement = Requirement(text)
        name = requirement.name.replace(".", "-").lower()
        assert name in pins, f"{text}: run `make constraints`"
        assert requirement.specifier.contains(pins[name]), f"{text} against {name}=={pins[name]}"


def test_what_a_person_types_first_is_there_and_needs_no_variable(texts: dict[str, str]) -> None:
    makefile = texts["Makefile"]
    for target in ("venv", "run", "test", "check", "bench"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", "check"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert shown.returncode == 0, shown.stderr
    for step in ("ruff format --check", "ruff check", "mypy", "pytest"):
        assert step in shown.stdout


def test_ci_runs_what_people_run_and_hides_no_failure(texts: dict[str, str]) -> None:
    script = texts[".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "set -euo pipefail" in script
    for line in script.splitlines():
        assert not ("make " in line and "|| " in line)
    assert "make check" in script and "make bench" in script


def test_the_map_names_each_module_and_nothing_that_is_not_there() -> None:
    tree = (
        (ROOT / "ARCHITECTURE.md")
        .read_text()
        .partition("## Tree")[2]
        .partition("```text")[2]
        .partition("```")[0]
    )
    alike = tuple(re.findall(r"(\w+_)\*\.py", tree))
    words = set(re.findall(r"\w+", tree))
    whole = ("hub/admin", "hub/builtin", "hub/cli", "hub/middleware", "hub/server", "hub/store")
    folders = [
        "connectors",
        "hub",
        *(f"hub/{each.name}" for each in (ROOT / "hub").iterdir() if each.is_dir()),
    ]
    there = {file.stem for folder in folders if folder not in whole for file in (ROOT / folder).glob("*.py")}
    assert {f"{folder.partition('/')[2]}/" for folder in folders[2:] if "__" not in folder} <= {
        *re.findall(r"\w+/", tree)
    }
    named = {name.removesuffix(".py") for name in re.findall(r"\b\w+\.py\b", tree)}
    missing = {name for name in there - words if not name.startswith(("__", *alike))}
    assert (missing, named - there - {"__init__"}) == (set(), set()), "ARCHITECTURE.md, Tree"
