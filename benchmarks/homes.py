"""The hub as a person runs it: a folder with manifests, tokens, and the command `hub serve`."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Failed, Gateway, free_port, process, ready

__all__ = ["AGENT", "SERVER", "Home", "program"]

SERVER = """\
server: {name}
connect: {{url: "http://127.0.0.1:{port}{path}"}}
tools: {{override: {{"*": {{annotations: {{readOnlyHint: true}}}}, "change": {{annotations: {{readOnlyHint: false}}}}}}}}
"""  # noqa: E501
"""All that it has is trusted to change nothing, but for the one that may."""

AGENT = """\
agent: {name}
may: [{{use: {use}}}]
"""


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@dataclass(frozen=True, slots=True)
class Home:
    """A hub's folder."""

    path: Path

    @classmethod
    def make(cls, path: Path, servers: Mapping[str, str], agents: Mapping[str, Sequence[str]]) -> Home:
        """Args:
        servers: Their manifests by name.
        agents: What each may use, by name.
        """
        manifests = path / "manifests"
        manifests.mkdir(parents=True)
        for name, text in servers.items():
            (manifests / f"{name}.yaml").write_text(text)
        for name, use in agents.items():
            (manifests / f"{name}.yaml").write_text(AGENT.format(name=name, use=json.dumps(list(use))))
        return cls(path)

    async def headers(self, agent: str = "bench") -> dict[str, str]:
        """What proves the agent: a new token."""
        return await asyncio.to_thread(self._headers, agent)

    def _headers(self, agent: str) -> dict[str, str]:
        made = subprocess.run(
            [program("hub"), "agents", "token", agent, "--json", "--home", str(self.path)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        if made.returncode:
            raise Failed(f"hub agents token: exit {made.returncode}: {made.stderr.strip()[-1000:]}")
        return {"Authorization": f"Bearer {json.loads(made.stdout)['token']}"}

    @asynccontextmanager
    async def started(
        self, headers: Mapping[str, str], *, under: Sequence[str] = (), until: str = "/ready"
    ) -> AsyncIterator[Gateway]:
        """Serve until the block ends.

        Args:
            under: A program that runs it, with its arguments (valgrind).
            until: The path that has to answer 200 first.
        """
        port, log = free_port(), self.path / f"hub-{time.monotonic_ns()}.log"
        command = [
            program("hub"),
            "serve",
            "--home",
            str(self.path),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        with process([*under, *([sys.executable] if under else []), *command], log) as running:
            await ready(running, port, log, until)
            yield Gateway(port, running.pid, dict(headers))
