"""Packages: really installed, once, and started directly. And this repository's manifests, each tried."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pydantic import ValidationError

from connectors.base import ConfigError, Connector, Context, Link, LinkError
from connectors.children import Children
from connectors.install import Pinned, find_program, install_with_pip
from connectors.package import Package
from hub.manifests import manifest
from hub.policy import matches
from hub.variables import expander

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent
SHIPPED = manifest.load(ROOT / "manifests")
INSTALL_SECONDS = 300
NAMES = {
    "time": {"get_current_time", "convert_time"},
    "git": {"git_status", "git_log", "git_reset"},
    "everything": {"echo"},
    "filesystem": {"read_text_file", "list_directory"},
    "notes": {"list_notes", "read_note", "write_note"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed once for all tests here."""
    return tmp_path_factory.mktemp("data")


@asynccontextmanager
async def room(data: Path, **changes: Any) -> AsyncIterator[Context]:
    async with Children() as children:
        given: dict[str, Any] = {
            "name": "tried",
            "home": ROOT,
            "data": data,
            "children": children,
            "expand": expander({}, home=ROOT, data=data),
            "client": {"name": "tests", "version": "0"},
        }
        yield Context(**{**given, **changes})


async def tools_of(connector: Connector, context: Context) -> list[str]:
    with anyio.fail_after(INSTALL_SECONDS):
        await connector.prepare(context)
        with anyio.fail_after(30):
            async with connector.open(context) as link:
                return await names_of(link)


async def names_of(link: Link) -> list[str]:
    return [tool["name"] for tool in (await link.request("tools/list", {}))["tools"]]


@pytest.mark.parametrize("name", sorted(NAMES))
async def test_each_shipped_server_starts_and_lists_its_tools(name: str, data: Path) -> None:
    connector = SHIPPED.servers[name].connect
    if (missing := connector.missing()) is not None:
        pytest.skip(missing)
    async with room(data) as context:
        tools = await tools_of(connector, context)
    assert set(tools) >= NAMES[name]


def test_the_shipped_manifests_are_valid_and_all_tried() -> None:
    assert [str(problem) for problem in SHIPPED.problems] == []
    assert set(SHIPPED.servers) == set(NAMES)
    assert [rule.use for rule in SHIPPED.agents["me"].grants().may] == [("*",)]
    assert {server.start for server in SHIPPED.servers.values()} == {"on-demand"}
    for file in (ROOT / "manifests").glob("*.yaml"):
        assert file.read_text().splitlines()[0] == manifest.SCHEMA_COMMENT


async def test_what_git_calls_read_only_is_what_the_server_itself_calls_so(data: Path) -> None:
    """Ours: an override is trusted, so it must not say more than the server does."""
    server = SHIPPED.servers["git"]
    view = server.view()
    async with room(data) as context:
        await server.connect.prepare(context)
        with anyio.fail_after(30):
            async with server.connect.open(context) as link:
                tools = (await link.request("tools/list", {}))["tools"]
    for tool in tools:
        trusted = any(matches(override.pattern, tool["name"]) for override in view.overrides)
        assert not trusted or tool["annotations"]["readOnlyHint"] is True, tool["name"]


async def test_a_second_start_installs_nothing(data: Path) -> None:
    said: list[str] = []
    connector = SHIPPED.servers["time"].connect
    async with room(data) as context:
        await connector.prepare(context)
    async with room(data, on_progress=said.append) as context:
        with anyio.fail_after(30):
            await connector.prepare(context)
    assert said == []


def tiny(**changes: Any) -> Package:
    """A package without dependencies that installs in a moment, and has no program."""
    return Package.model_validate({"package": {"pypi": "iniconfig", "version": "2.1.0", **changes}})


async def test_two_that_want_the_same_install_do_it_once(tmp_path: Path) -> None:
    said: list[str] = []
    async with room(tmp_path, on_progress=said.append) as context, anyio.create_task_group() as tasks:
        tasks.cancel_scope.deadline = anyio.current_time() + 60
        for _ in range(2):
            tasks.start_soon(tiny().prepare, context)
    assert said == [
        "installing iniconfig 2.1.0 (first time only)",
        "waiting for iniconfig 2.1.0, which is being installed already",
    ]
    assert Pinned("pypi", "iniconfig", "2.1.0").folder(tmp_path).is_dir()


async def test_an_interrupted_install_is_not_used_and_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installer here makes the folder, says so through a pipe, and hangs."""
    folder = Pinned("pypi", "iniconfig", "2.1.0").folder(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with monkeypatch.context() as patched:
        hanging = program(tmp_path, "uv", f"mkdir {folder}; echo > {pipe}; sleep 60")
        patched.setenv("PATH", f"{hanging}:{os.environ['PATH']}")
        async with room(tmp_path) as context:
            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(tiny().prepare, context)
                    await anyio.to_thread.run_sync(pipe.read_text)
                    tasks.cancel_scope.cancel()
            assert len(context.children) == 0
    assert folder.is_dir()
    said: list[str] = []
    async with room(tmp_path, on_progress=said.append) as context:
        with anyio.fail_after(60):
            await tiny().prepare(context)
    assert said == ["installing iniconfig 2.1.0 (first time only)"]
    assert list(folder.glob("lib/*/site-packages/iniconfig"))


def program(folder: Path, name: str, script: str) -> Path:
    """A folder with one program in it."""
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file.parent


async def test_a_package_that_does_not_install_says_the_installers_last_words(tmp_path: Path) -> None:
    async with room(tmp_path) as context:
        with anyio.fail_after(60), pytest.raises(LinkError) as failed:
            await tiny(version="99.99.99").prepare(context)
    assert failed.value.reason.startswith("iniconfig 99.99.99 did not install (exit status 1). ")
    assert "99.99.99" in failed.value.reason.partition(").")[2]
    assert failed.value.sent is False


async def test_pip_does_where_there_is_no_uv(tmp_path: Path) -> None:
    async with room(tmp_path) as context:
        with anyio.fail_after(120):
            await install_with_pip(Pinned("pypi", "iniconfig", "2.1.0"), tmp_path / "made", context)
    assert list((tmp_path / "made").glob("lib/*/site-packages/iniconfig"))


async def test_a_package_without_a_program_says_so_with_the_fix(tmp_path: Path) -> None:
    async with room(tmp_path) as context:
        with anyio.fail_after(60), pytest.raises(ConfigError, match=r"it has: none\. Name one with `run`\."):
            async with tiny().open(context):
                pass


async def test_requirements_beside_the_package_are_installed_with_it(tmp_path: Path) -> None:
    async with room(tmp_path) as context:
        with anyio.fail_after(60):
            await tiny(**{"with": ["packaging>=24"]}).prepare(context)
    (folder,) = (tmp_path / "packages").glob("pypi-iniconfig-*/")
    assert list(folder.glob("lib/*/site-packages/packaging"))
    assert folder != Pinned("pypi", "iniconfig", "2.1.0").folder(tmp_path)


async def test_an_installer_gets_nothing_of_the_hubs_environment_that_is_not_its_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build runs other people's code. Here the installer itself is a program that tells what it got."""
    shown = tmp_path / "environment"
    monkeypatch.setenv("PATH", f"{program(tmp_path, 'uv', f'env > {shown}; exit 3')}:{os.environ['PATH']}")
    monkeypatch.setenv("HUB_SECRET_GITHUB", "s3cret")
    async with room(tmp_path) as context:
        with anyio.fail_after(30), pytest.raises(LinkError, match="exit status 3"):
            await tiny().prepare(context)
    assert "PATH=" in shown.read_text()
    assert "s3cret" not in shown.read_text()


@pytest.mark.parametrize("said", [None, "0"])
async def test_an_installer_trusts_whom_the_machine_trusts_unless_it_is_told_otherwise(
    said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the hub was started: a client that starts it on stdio gives it next to no environment."""
    shown = tmp_path / "environment"
    monkeypatch.setenv("PATH", f"{program(tmp_path, 'uv', f'env > {shown}; exit 3')}:{os.environ['PATH']}")
    for name in ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS"):
        monkeypatch.delenv(name, raising=False) if said is None else monkeypatch.setenv(name, said)
    async with room(tmp_path) as context:
        with anyio.fail_after(30), pytest.raises(LinkError, match="exit status 3"):
            await tiny().prepare(context)
    assert f"UV_SYSTEM_CERTS={said or 1}\n" in shown.read_text()


async def test_npms_chatter_does_not_hide_why_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["npm error code E404", "npm error 404 Not Found - GET tea", "npm error 404"]
    lines += ["npm error 404 Note that you can also install from a", "npm error 404 tarball, folder"]
    lines += ["npm notice New version!"] * 9 + ["npm error A complete log of this run can be found in: x"]
    script = "".join(f'echo "{line}" >&2; ' for line in lines) + "exit 1"
    for name in ("npm", "node"):
        folder = program(tmp_path, name, script if name == "npm" else "echo v20.0.0")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    npm = Package.model_validate({"package": {"npm": "tea", "version": "1.0.0"}})
    async with room(tmp_path) as context:
        with anyio.fail_after(30), pytest.raises(LinkError) as failed:
            await npm.prepare(context)
    assert str(failed.value).endswith("(exit status 1). code E404 | 404 Not Found - GET tea")


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[tuple[Pinned, Path]]:
    """An npm package as it lies on disk, with two programs."""
    folder = tmp_path / "node_modules" / "@tea" / "pot"
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"bin": {"pot": "main.js", "kettle": "kettle.js"}}')
    yield Pinned("npm", "@tea/pot", "1.0.0"), tmp_path


def test_the_program_named_like_the_package_is_started_unless_another_is_named(
    installed: tuple[Pinned, Path],
) -> None:
    pinned, folder = installed
    assert find_program(pinned, folder, None)[1].endswith("/@tea/pot/main.js")
    assert find_program(pinned, folder, "kettle")[1].endswith("/@tea/pot/kettle.js")
    with pytest.raises(ConfigError, match="has no program 'cup'; it has: kettle, pot"):
        find_program(pinned, folder, "cup")


def test_node_that_is_not_there_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    npm = Package.model_validate({"package": {"npm": "tea", "version": "1.0.0"}})
    assert "needs node 18 or newer" in str(npm.missing())
    assert tiny().missing() is None


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"pypi": "--pre", "version": "1"}, "package's name"),
        ({"pypi": "tea==1", "version": "1"}, "package's name"),
        ({"npm": "../evil", "version": "1.0.0"}, "package's name"),
        ({"npm": "-g", "version": "1.0.0"}, "package's name"),
        ({"npm": "git+ssh://x/y", "version": "1.0.0"}, "package's name"),
        ({"pypi": "tea", "version": "latest"}, "exact version"),
        ({"pypi": "tea", "version": ">=1"}, "exact version"),
        ({"pypi": "tea", "version": "1 --pre"}, "exact version"),
        ({"npm": "tea", "version": "^1.0.0"}, "exact version"),
        ({"npm": "tea", "version": "1.0"}, "exact version"),
        ({"pypi": "tea", "version": "1", "with": ["-r file"]}, "not a requirement"),
        ({"pypi": "tea", "version": "1", "with": ["mcp @ file:///x"]}, "not a requirement"),
        ({"npm": "tea", "version": "1.0.0", "with": ["mcp<2"]}, "PyPI packages only"),
        ({"pypi": "tea", "version": "1", "run": "../sh"}, "name of a program"),
        ({"pypi": "tea", "npm": "tea", "version": "1.0.0"}, "only one of them"),
        ({"version": "1"}, "only one of them"),
    ],
)
def test_what_could_be_an_option_or_another_source_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Package.model_validate({"package": spec})


def test_common_ways_to_write_requirements_and_versions_are_taken() -> None:
    Package.model_validate(
        {
            "package": {
                "pypi": "Tea.Pot_2",
                "version": "1!2.0.post1",
                "with": ["mcp<2", "mcp[cli]>=1,<2", "a == 1.*"],
            }
        }
    )
    Package.model_validate({"package": {"npm": "@tea/pot", "version": "2026.8.31-beta.1"}})


def test_the_environment_differs_by_version_constraints_and_source() -> None:
    folders = {
        Pinned("pypi", "tea", "1.0").folder(Path()),
        Pinned("pypi", "tea", "1.1").folder(Path()),
        Pinned("npm", "tea", "1.0").folder(Path()),
        Pinned("pypi", "tea", "1.0", ("mcp<2",)).folder(Path()),
        Pinned("npm", "@a/b-c", "1.0").folder(Path()),
        Pinned("npm", "@a-b/c", "1.0").folder(Path()),
    }
    assert len(folders) == 6
    assert all(folder.parent == Path("packages") for folder in folders)
