"""Envoy's MCP filter and router: no identity, policy or record, and the older era only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.homes import program
from benchmarks.processes import Gateway, free_port, process, ready

__all__ = ["envoy"]


@asynccontextmanager
async def envoy(echo_port: int, folder: Path, paths: Sequence[str] = ("/mcp",)) -> AsyncIterator[Gateway]:
    """One worker thread, no access log.

    Args:
        paths: Of the servers, all of them in the process that listens at `echo_port`.
    """
    port = free_port()
    config, log = folder / f"envoy-{port}.json", folder / f"envoy-{port}.log"
    config.write_text(json.dumps(_config(port, echo_port, paths)))
    command = [program("envoy"), "--config-path", str(config), "--concurrency", "1",
               "--disable-hot-restart", "--log-level", "error"]  # fmt: skip
    with process(command, log) as running:
        await ready(running, port, log)
        yield Gateway(port, running.pid)


def _config(port: int, echo_port: int, paths: Sequence[str]) -> dict[str, Any]:
    def typed(name: str, kind: str, **settings: Any) -> dict[str, Any]:
        return {
            "name": name,
            "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **settings},
        }

    def address(at: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": at}}

    def cluster(name: str) -> dict[str, Any]:
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(echo_port)}}]}]
        return {
            "name": name,
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        }

    servers = {f"s{number:03}": path for number, path in enumerate(paths)}
    router = typed(
        "envoy.filters.http.mcp_router",
        "filters.http.mcp_router.v3.McpRouter",
        servers=[
            {"name": name, "mcp_cluster": {"cluster": name, "path": path}} for name, path in servers.items()
        ],
    )
    filters = [typed("envoy.filters.http.mcp", "filters.http.mcp.v3.Mcp"), router]
    route = {"match": {"prefix": "/"}, "route": {"cluster": "s000"}}
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="mcp",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        http_filters=filters,
    )
    listener = {"name": "mcp", "address": address(port), "filter_chains": [{"filters": [manager]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster(name) for name in servers]}}
