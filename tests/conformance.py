"""Runs the official conformance suite against a server, and reads what it found.

The suite is a Node program (npm `@modelcontextprotocol/conformance`, version pinned here). It is
installed once into `.cache/conformance`, with a Node of its own where the machine's is too old.
`python -m tests.conformance` runs every selection against our own server and prints the table;
`python -m tests.conformance URL` does so against any other.
"""

from __future__ import annotations

import fcntl
import json
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.header_proxy import adding_headers

VERSION = "0.2.0-alpha.12"
NODE_MAJOR = 22
REPOSITORY = Path(__file__).parent.parent
CACHE = REPOSITORY / ".cache" / "conformance"

INSTALL_SECONDS = 300
RUN_SECONDS = 240
START_SECONDS = 30

RESULT_FOLDER = re.compile(r"(?:server-)?(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


class SuiteMissing(Exception):
    """The suite is not installed and cannot be."""


@dataclass(frozen=True)
class Selection:
    """Which scenarios run, and in which revision of the protocol."""

    name: str
    arguments: tuple[str, ...]


def suite_of(revision: str) -> Selection:
    """All scenarios that apply to a revision, as the suite stands today."""
    return Selection(f"all {revision}", ("--suite", "all", "--spec-version", revision))


def requirements_of(revision: str) -> Selection:
    """What a revision required when it was released, and the extensions of its time."""
    return Selection(f"required {revision}", ("--requirements", revision))


SELECTIONS = (
    suite_of("2025-03-26"),
    suite_of("2025-06-18"),
    suite_of("2025-11-25"),
    suite_of("2026-07-28"),
    requirements_of("2025-11-25"),
    requirements_of("2026-07-28"),
    # Each scenario at the newest revision that it knows: the only way to the skills extension.
    Selection("all", ("--suite", "all")),
)


@dataclass(frozen=True)
class Check:
    """One thing that the suite looked at. An id may come up several times in one scenario."""

    scenario: str
    id: str
    status: str
    """SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""
    message: str

    def __str__(self) -> str:
        return f"{self.scenario}: {self.id}: {self.status} {self.message}".rstrip()


@dataclass(frozen=True)
class Outcome:
    """What one selection found at one server."""

    selection: Selection
    checks: tuple[Check, ...]
    exit_code: int
    said: str = ""
    """What the client that was examined wrote, if one was."""

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, in the order in which they ran."""
        return tuple(check for check in self.checks if check.status == "FAILURE")

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The checks that found a SHOULD not heeded."""
        return tuple(check for check in self.checks if check.status == "WARNING")

    @property
    def passed(self) -> Counter[tuple[str, str]]:
        """How often each (scenario, check id) passed."""
        return Counter((check.scenario, check.id) for check in self.checks if check.status == "SUCCESS")

    def lost(self, other: Outcome) -> Counter[tuple[str, str]]:
        """What passed here and did not, or not as often, in `other`."""
        return self.passed - other.passed

    def count(self, status: str) -> int:
        """How many checks ended with this status."""
        return sum(check.status == status for check in self.checks)


@dataclass(frozen=True)
class Suite:
    """The installed suite: how to start it."""

    command: tuple[str, ...]


def find_suite(cache: Path = CACHE) -> Suite:
    """The suite in `cache`, installed there first where it is missing or of another version.

    Raises:
        SuiteMissing: there is no npm, or it failed; the message has its words.
    """
    modules = cache / "node_modules"
    package = modules / "@modelcontextprotocol" / "conformance"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("ab") as one:
        # Modules of tests run in processes beside each other; npm in one folder is for one of them.
        fcntl.flock(one, fcntl.LOCK_EX)
        node = _node(modules)
        if node is None or _installed_version(package) != VERSION:
            _install(cache, with_node=_system_node() is None)
            node = _node(modules)
    if node is None:
        raise SuiteMissing(f"There is no Node {NODE_MAJOR} for {_portable_node()}: install it and run again.")
    return Suite((node, str(package / "dist" / "index.js")))


def _installed_version(package: Path) -> str | None:
    try:
        return str(json.loads((package / "package.json").read_text())["version"])
    except FileNotFoundError:
        return None


def _node(modules: Path) -> str | None:
    own = modules / _portable_node() / "bin" / "node"
    return _system_node() or (str(own) if own.exists() else None)


def _system_node() -> str | None:
    node = shutil.which("node")
    if node is None:
        return None
    version = subprocess.run(
        [node, "--version"], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    return node if int(version.lstrip("v").split(".")[0]) >= NODE_MAJOR else None


def _portable_node() -> str:
    """The npm package that carries a Node for this machine."""
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}
    architecture = platform.machine().lower()
    return f"node-{platform.system().lower()}-{machine.get(architecture, architecture)}"


def _install(cache: Path, *, with_node: bool) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SuiteMissing("npm was not found on PATH. Install Node to run the conformance suite.")
    packages = [f"@modelcontextprotocol/conformance@{VERSION}"]
    if with_node:
        packages.append(f"{_portable_node()}@{NODE_MAJOR}")
    command = [npm, "install", "--prefix", str(cache), "--no-audit", "--no-fund", *packages]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if done.returncode != 0:
        raise SuiteMissing(f"npm could not install the conformance suite:\n{done.stderr[-2000:]}")


async def run_suite(
    suite: Suite, selection: Selection, url: str, *, headers: Mapping[str, str] | None = None
) -> Outcome:
    """Run one selection against the server at `url` (`http://localhost:PORT/PATH`).

    Args:
        suite: from `find_suite`.
        selection: one of `SELECTIONS`, or one made alike.
        url: must name localhost: the suite checks more of a local server than of another.
        headers: what every request is to carry besides. The suite has no option for that, so
            they are added on the way, by a proxy that changes nothing else.

    Raises:
        TimeoutError: it took longer than `RUN_SECONDS`.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        if headers:
            url = await stack.enter_async_context(adding_headers(url, headers))
        command = [*suite.command, "server", "--url", url, *selection.arguments, "-o", str(folder)]
        with anyio.fail_after(RUN_SECONDS):
            done = await anyio.run_process(command, check=False, stderr=subprocess.STDOUT)
        checks = _read_checks(folder)
        if not checks:
            checks = (_crashed("suite", done.stdout.decode(errors="replace")[-2000:]),)
        return Outcome(selection, checks, done.returncode)


async def run_client_scenario(suite: Suite, scenario: str, revision: str, command: str) -> Outcome:
    """Run one scenario of the suite for clients: `COMMAND URL` is started, and what it does is judged.

    Raises:
        TimeoutError: it took longer than `RUN_SECONDS`.
    """
    arguments = ("--scenario", scenario, "--spec-version", revision)
    with TemporaryDirectory() as folder:
        whole = [*suite.command, "client", "--command", command, *arguments, "-o", folder]
        with anyio.fail_after(RUN_SECONDS):
            done = await anyio.run_process(whole, cwd=REPOSITORY, check=False, stderr=subprocess.STDOUT)
        said = "".join(file.read_text() for file in sorted(Path(folder).rglob("std*.txt")))
        checks = _read_checks(Path(folder))
        if not checks:
            checks = (_crashed(scenario, done.stdout.decode(errors="replace")[-2000:]),)
        return Outcome(Selection(f"{scenario} {revision}", arguments), checks, done.returncode, said)


def _read_checks(folder: Path) -> tuple[Check, ...]:
    checks: list[Check] = []
    for result in sorted(folder.rglob("*"), key=lambda result: result.name):
        if (match := RESULT_FOLDER.fullmatch(result.name)) is None:
            continue
        scenario = match["scenario"]
        try:
            found: list[dict[str, Any]] = json.loads((result / "checks.json").read_text())
        except FileNotFoundError:
            # The folder is made before the scenario runs, its file after.
            checks.append(_crashed(scenario, "the scenario did not come to its end"))
            continue
        checks += [
            Check(scenario, check["id"], check["status"], check.get("errorMessage") or "") for check in found
        ]
    return tuple(checks)


def _crashed(scenario: str, message: str) -> Check:
    return Check(scenario, "did-not-run", "FAILURE", message)


def table(outcomes: Sequence[Outcome]) -> str:
    """One line a selection, and below it each failure and warning."""
    lines = [f"{'selection':<22}{'passed':>8}{'failed':>8}{'warned':>8}{'skipped':>9}"]
    for outcome in outcomes:
        counts = [outcome.count(status) for status in ("SUCCESS", "FAILURE", "WARNING", "SKIPPED")]
        lines.append("{:<22}{:>8}{:>8}{:>8}{:>9}".format(outcome.selection.name, *counts))
        lines += [f"    {check}" for check in (*outcome.failures, *outcome.warnings)]
    return "\n".join(lines) + "\n"


@asynccontextmanager
async def running_everything() -> AsyncIterator[str]:
    """Our own server of all that the suite asks for, over HTTP: yields its URL, ends it afterwards.

    Raises:
        TimeoutError: it did not say its URL within `START_SECONDS`.
    """
    command = [sys.executable, "-m", "tests.servers.everything", "--port", "0"]
    async with await anyio.open_process(command, cwd=REPOSITORY, stderr=None) as process:
        try:
            assert process.stdout is not None
            with anyio.fail_after(START_SECONDS):
                line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1024)
            yield line.decode().strip()
        finally:
            process.terminate()


async def main(url: str | None) -> int:
    """Run every selection and print the table. Returns 0 if nothing failed."""
    suite = find_suite()
    async with AsyncExitStack() as stack:
        if url is None:
            url = await stack.enter_async_context(running_everything())
        outcomes = [await run_suite(suite, selection, url) for selection in SELECTIONS]
    sys.stdout.write(table(outcomes))
    return int(any(outcome.failures for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else None))
