"""The command line as its users have it: real processes, real folders, a real hub."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.sources import ROOT

DESK = [sys.executable, str(ROOT / "tests" / "servers" / "desk.py")]
COMMAND = [sys.executable, "-W", "error", "-m", "hub"]
SECONDS = 30.0


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """The last line of stderr, of a command with `--json`."""
        error: dict[str, str] = json.loads(self.err.strip().splitlines()[-1])["error"]
        return error


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def hub(home: Path, *arguments: str, stdin: str = "", **more: str) -> Done:
    """Run `hub ARGUMENTS --home HOME` to its end."""
    done = subprocess.run(
        [*COMMAND, "--home", str(home), *arguments],
        input=stdin, capture_output=True, text=True, timeout=SECONDS, env=environment(**more),
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def furnish(home: Path) -> Path:
    """A home with the server `desk`, the agent `me` that may use all of it, and `reader` that may little."""
    folder = home / "manifests"
    folder.mkdir(parents=True)
    (folder / "desk.yaml").write_text(json.dumps({"server": "desk", "connect": {"command": DESK}}))
    (folder / "me.yaml").write_text('agent: me\nmay: ["*"]\nnever: ["hub__*"]\n')
    (folder / "reader.yaml").write_text(
        "agent: reader\nmay:\n  - desk__typed\n  - desk__pid\nnever: [desk__pid, 'hub__*']\n"
    )
    return home


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[str]:
    """A hub that serves `home` on a free port; gives the URL for agents. Ends it in the end."""
    with subprocess.Popen(
        [*COMMAND, "serve", "--home", str(home), "--port", "0", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(),
    ) as process:  # fmt: skip
        try:
            yield until(process, r"Agents connect to (\S+)")[0]
        finally:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def until(process: subprocess.Popen[bytes], *patterns: str) -> list[str]:
    """The first group of each pattern, once the process's stderr has them all."""
    assert process.stderr is not None
    end, seen = time.monotonic() + SECONDS, ""
    while time.monotonic() < end:
        found = [re.search(f"{pattern}(?=\\s)", seen) for pattern in patterns]
        if all(found):
            return [each[1] for each in found if each is not None]
        ready, _, _ = select.select([process.stderr], [], [], 0.5)
        chunk = os.read(process.stderr.fileno(), 65536) if ready else None
        if chunk == b"":
            break
        seen += (chunk or b"").decode()
    raise AssertionError(f"{patterns} were never said; but: {seen}")
