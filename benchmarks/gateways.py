"""What stands between the load and the server: nothing, the trivial forwarder, the hub, or Envoy.

Each is an async context that starts it in front of the echo server and yields where it listens.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import Failed, free_port, process, ready

__all__ = ["Gateway", "Start", "echo", "envoy", "forwarder", "hub"]


@dataclass(frozen=True, slots=True)
class Gateway:
    port: int
    pid: int
    headers: dict[str, str] = field(default_factory=dict)


Start = Callable[[int, Path], AbstractAsyncContextManager[Gateway]]
"""`(port of the echo server, folder to work in)`."""

SERVER_MANIFEST = """\
server: echo
connect: {{url: "http://127.0.0.1:{port}/mcp"}}
tools: {{override: {{"*": {{annotations: {{readOnlyHint: true}}}}}}}}
"""
AGENT_MANIFEST = """\
agent: bench
may: [{use: ["echo__*"]}]
"""


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@asynccontextmanager
async def _python(module: str, folder: Path, *arguments: str) -> AsyncIterator[Gateway]:
    port, log = free_port(), folder / f"{module}.log"
    command = [sys.executable, "-m", f"benchmarks.{module}", "--port", str(port), *arguments]
    with process(command, log) as running:
        await ready(running, port, log)
        yield Gateway(port, running.pid)


def echo(folder: Path) -> AbstractAsyncContextManager[Gateway]:
    """The server itself."""
    return _python("echo", folder)


def forwarder(echo_port: int, folder: Path) -> AbstractAsyncContextManager[Gateway]:
    return _python("forwarder", folder, "--upstream-port", str(echo_port))


@asynccontextmanager
async def hub(echo_port: int, folder: Path) -> AsyncIterator[Gateway]:
    """The real command, with identity, policy and recording on, as a person would run it."""
    home, log, port = folder / "home", folder / "hub.log", free_port()
    manifests = home / "manifests"
    manifests.mkdir(parents=True)
    (manifests / "echo.yaml").write_text(SERVER_MANIFEST.format(port=echo_port))
    (manifests / "bench.yaml").write_text(AGENT_MANIFEST)
    token = await asyncio.to_thread(_token, home)
    command = [program("hub"), "serve", "--home", str(home), "--host", "127.0.0.1", "--port", str(port)]
    with process(command, log) as running:
        await ready(running, port, log, "/ready")
        yield Gateway(port, running.pid, {"Authorization": f"Bearer {token}"})


def _token(home: Path) -> str:
    made = subprocess.run(
        [program("hub"), "agents", "token", "bench", "--json", "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    if made.returncode:
        raise Failed(f"hub agents token: exit {made.returncode}: {made.stderr.strip()[-1000:]}")
    token: str = json.loads(made.stdout)["token"]
    return token


@asynccontextmanager
async def envoy(echo_port: int, folder: Path) -> AsyncIterator[Gateway]:
    """Envoy's MCP filter and router, one worker thread, no access log; it speaks the older era only."""
    config, log, port = folder / "envoy.json", folder / "envoy.log", free_port()
    config.write_text(json.dumps(envoy_config(port, echo_port)))
    command = [program("envoy"), "--config-path", str(config), "--concurrency", "1",
               "--disable-hot-restart", "--log-level", "error"]  # fmt: skip
    with process(command, log) as running:
        await ready(running, port, log)
        yield Gateway(port, running.pid)


def envoy_config(port: int, echo_port: int) -> dict[str, Any]:
    def typed(name: str, kind: str, **settings: Any) -> dict[str, Any]:
        return {
            "name": name,
            "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **settings},
        }

    def address(at: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": at}}

    cluster = {
        "name": "echo",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "echo",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(echo_port)}}]}],
        },
    }
    router = typed(
        "envoy.filters.http.mcp_router",
        "filters.http.mcp_router.v3.McpRouter",
        servers=[{"name": "echo", "mcp_cluster": {"cluster": "echo", "path": "/mcp"}}],
    )
    filters = [typed("envoy.filters.http.mcp", "filters.http.mcp.v3.Mcp"), router]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "echo"}}
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="mcp",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=filters,
    )
    listener = {"name": "mcp", "address": address(port), "filter_chains": [{"filters": [manager]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
