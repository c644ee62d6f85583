"""ContextForge before some servers: in an environment of its own, with what calls out switched off.

It reaches servers by URL only, so that each command stands behind a bridge of its own, which comes with it
(`mcpgateway.translate`), and it wants each server to be made known to it over its REST API.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2

from benchmarks.environments import Environment
from benchmarks.processes import Failed, free_port, process, ready
from tests.faults.places import Place

__all__ = ["ENVIRONMENT", "ContextForge"]

ENVIRONMENT = Environment("ContextForge", "mcp-contextforge-gateway", ">=1.0.7,<2", seconds=300)
REGISTER_SECONDS = 120.0
ADMIN = "admin@example.com"

OFF = (
    "MCPGATEWAY_UI_ENABLED", "MCPGATEWAY_ADMIN_API_ENABLED", "MCPGATEWAY_CATALOG_ENABLED", "LLMCHAT_ENABLED",
    "MCPGATEWAY_A2A_ENABLED", "PLUGINS_ENABLED", "OBSERVABILITY_ENABLED", "OTEL_ENABLE_OBSERVABILITY",
    "RATE_LIMITING_ENABLED", "PASSWORD_CHANGE_ENFORCEMENT_ENABLED",
    "ADMIN_REQUIRE_PASSWORD_CHANGE_ON_BOOTSTRAP", "REQUIRE_PASSWORD_CHANGE_FOR_DEFAULT_PASSWORD",
    "SSRF_DNS_FAIL_CLOSED",
)  # fmt: skip
"""What is not needed, what calls out, and what would refuse the number of calls that the scripts make."""


class ContextForge:
    word = "ContextForge"

    @asynccontextmanager
    async def __call__(
        self,
        folder: Path,
        servers: Mapping[str, Sequence[str] | str],
        *,
        agents: Sequence[str] = ("me",),
        settings: Mapping[str, Any] | None = None,
        more: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> AsyncIterator[Place]:
        python = await anyio.to_thread.run_sync(ENVIRONMENT.python)
        secret = secrets.token_hex(32)
        env = _environment(folder, secret, _call_seconds(more or {}))
        with ExitStack() as stack:
            port, log = free_port(), folder / "contextforge.log"
            command = [str(python.with_name("mcpgateway")), "--host", "127.0.0.1", "--port", str(port)]
            gateway = stack.enter_context(process(command, log, cwd=folder, env=env))
            await ready(gateway, port, log, "/health")
            urls = dict(_bridged(stack, python, folder, servers, env))
            token = await _token(python, secret, env)
            await _make_known(port, token, urls)
            tokens = dict.fromkeys(agents, token)
            yield Place(port, gateway.pid, "legacy", "{}-{}".format, tokens)


def _environment(folder: Path, secret: str, call_seconds: int) -> dict[str, str]:
    password = f"Aa1!{secret}"
    return {
        **os.environ,
        **dict.fromkeys(OFF, "false"),
        "DATABASE_URL": f"sqlite:///{folder}/contextforge.db",
        "CACHE_TYPE": "memory",
        "JWT_SECRET_KEY": secret,
        "AUTH_ENCRYPTION_SECRET": secret[::-1],
        "BASIC_AUTH_PASSWORD": password,
        "DEFAULT_USER_PASSWORD": password,
        "PLATFORM_ADMIN_EMAIL": ADMIN,
        "PLATFORM_ADMIN_PASSWORD": password,
        "SSRF_ALLOW_LOCALHOST": "true",
        "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
        "TOOL_TIMEOUT": str(call_seconds),
        "LOG_LEVEL": "ERROR",
    }


def _call_seconds(more: Mapping[str, Mapping[str, Any]]) -> int:
    """Its time limit of calls, which is one for all servers: as the script has it, else its default."""
    said = [keys["limits"]["call"] for keys in more.values() if "call" in keys.get("limits", {})]
    return min((int(each.removesuffix("s")) for each in said), default=60)


def _bridged(
    stack: ExitStack,
    python: Path,
    folder: Path,
    servers: Mapping[str, Sequence[str] | str],
    env: dict[str, str],
) -> list[tuple[str, str]]:
    """The URL of each server; those that are commands are started behind a bridge."""
    urls = []
    for name, server in servers.items():
        if isinstance(server, str):
            urls.append((name, server))
            continue
        port = free_port()
        command = [
            str(python), "-m", "mcpgateway.translate", "--stdio", shlex.join(server),
            "--expose-streamable-http", "--port", str(port), "--logLevel", "error",
        ]  # fmt: skip
        stack.enter_context(process(command, folder / f"bridge-{name}.log", cwd=folder, env=env))
        urls.append((name, f"http://127.0.0.1:{port}/mcp"))
    return urls


async def _token(python: Path, secret: str, env: dict[str, str]) -> str:
    command = [
        str(python), "-m", "mcpgateway.utils.create_jwt_token", "--username", ADMIN, "--exp", "600",
        "--secret", secret,
    ]  # fmt: skip
    made = await anyio.run_process(command, env=env, check=False)
    if made.returncode:
        raise Failed(f"ContextForge made no token: {made.stderr.decode()[-300:]}")
    return made.stdout.decode().split()[-1]


async def _make_known(port: int, token: str, urls: Mapping[str, str]) -> None:
    """Register each server, once its bridge listens."""
    headers = {"Authorization": f"Bearer {token}"}
    base = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=REGISTER_SECONDS) as http:
        for name, url in urls.items():
            with anyio.fail_after(REGISTER_SECONDS):
                while True:
                    said = {"name": name, "url": url, "transport": "STREAMABLEHTTP"}
                    answer = await http.post("/gateways", json=said)
                    if answer.is_success:
                        break
                    if answer.status_code != 502:
                        raise Failed(f"ContextForge does not take {name}: {answer.text[:300]}")
                    await anyio.sleep(0.5)
