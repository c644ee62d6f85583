"""`hub doctor`: look at all that a hub needs here, change nothing, and say what to do."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from hub import __version__, lock
from hub.commands import client
from hub.counted import counted
from hub.errors import HubError
from hub.failure import Failure
from hub.home import Home
from hub.model import Json

__all__ = ["examine"]

_FREE_BYTES_MIN = 200 * 1024 * 1024
_LATE_MILLISECONDS = 100


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    state: Literal["ok", "warning", "wrong"]
    message: str
    hint: str = ""


def examine(home: Home) -> list[Json]:
    """Every check's finding: `check`, `state` (ok, warning, wrong), `message`, `hint`."""
    checks: list[Callable[[Home], Iterator[Finding]]] = [
        _program, _folder, _manifests, _servers, _running, _record, _tokens, _tools,
    ]  # fmt: skip
    found: list[Json] = []
    for check in checks:
        try:
            found += [asdict(finding) for finding in check(home)]
        except (OSError, HubError, Failure) as error:
            found.append(asdict(Finding(check.__name__.strip("_"), "wrong", str(error))))
    return found


def _program(home: Home) -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("program", "ok", f"hub {__version__}, Python {python}, {sys.platform}")


def _folder(home: Home) -> Iterator[Finding]:
    if not home.manifests.is_dir():
        yield Finding("folder", "warning", f"{home.path} is no hub's folder yet.", f"hub init {home.path}")
    elif not os.access(home.path, os.W_OK):
        yield Finding(
            "folder", "wrong", f"{home.path} cannot be written.", "Let the user who runs the hub write it."
        )
    else:
        yield Finding("folder", "ok", str(home.path))
    if home.state.is_dir() and stat.S_IMODE(home.state.stat().st_mode) & 0o077:
        yield Finding("folder", "warning", f"Others may look into {home.state}.", f"chmod 700 {home.state}")
    free = shutil.disk_usage(home.path if home.path.is_dir() else "/").free
    if free < _FREE_BYTES_MIN:
        yield Finding(
            "folder", "warning", f"Only {free // 2**20} MiB are free on its disk.", "Free some space."
        )


def _manifests(home: Home) -> Iterator[Finding]:
    from hub.commands.validate import validate

    found = validate(home, [])
    for problem in found["problems"]:
        yield Finding("manifests", "wrong", problem["text"])
    if not found["problems"]:
        counts = (
            f"{counted(len(found['servers']), 'server')}, {counted(len(found['agents']), 'agent')}, all valid"
        )
        yield Finding("manifests", "ok", counts)


def _servers(home: Home) -> Iterator[Finding]:
    from hub.manifests import manifest

    for server in manifest.load(home.manifests).servers.values():
        missing = server.connect.missing()
        if missing is not None:
            yield Finding("servers", "warning", f"{server.name}: {missing}")


def _running(home: Home) -> Iterator[Finding]:
    hub = client.wait_for(home)
    if hub is None and lock.is_held(home):
        yield Finding(
            "hub", "wrong", "A process holds this home but does not answer: it starts, ends, or hangs.",
            f"Its id is in {home.lock}.",
        )  # fmt: skip
    elif hub is None:
        yield Finding("hub", "warning", "No hub runs for this folder.", "hub serve")
    else:
        status = hub.ask("status")
        yield Finding(
            "hub", "ok", f"runs, version {status['version']}, {status['status']}, {status['url'] or 'stdio'}"
        )
        if status["version"] != __version__:
            yield Finding("hub", "warning", f"This command is version {__version__}.", "Start the hub again.")
        late = status["loop_lag_ms"]["p99"]
        said = f"its event loop was late by {late:g} ms (99 of 100) in the last minute"
        if late > _LATE_MILLISECONDS:
            yield Finding("hub", "warning", said, "The machine or the hub has more to do than it can.")
        else:
            yield Finding("hub", "ok", said)
        if status["trouble"]:
            yield Finding("hub", "wrong", status["trouble"])
        for server in hub.ask("servers"):
            if server["quarantined"]:
                tools = counted(server["quarantined"], "tool")
                yield Finding(
                    "servers", "warning", f"{server['name']}: {tools} quarantined.",
                    f"hub tools changed {server['name']}",
                )  # fmt: skip
            if server["state"] == "failed":
                yield Finding(
                    "servers",
                    "wrong",
                    f"{server['name']}: {server['note']}",
                    f"hub servers logs {server['name']}",
                )


def _record(home: Home) -> Iterator[Finding]:
    from hub.audit import leftover

    if not home.database.exists():
        yield Finding("record", "ok", "none yet")
        return
    leftover.opened(home).close()
    yield Finding("record", "ok", f"{home.database}, {home.database.stat().st_size // 1024} KiB")


def _tokens(home: Home) -> Iterator[Finding]:
    folder = home.token_file("me").parent
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding("tokens", "wrong", f"Others may read {path}.", f"chmod 600 {path}")


def _tools(home: Home) -> Iterator[Finding]:
    for program, what in (("node", "servers from npm"), ("uv", "faster installs")):
        path = shutil.which(program)
        said = path or f"not found; needed only for {what}"
        yield Finding("programs", "ok", f"{program}: {said}")
