"""What a shell completes: the names that there are. Where they cannot be told, nothing, and not a word."""

from __future__ import annotations

from typing import Any

import typer

from hub.cli.ask import ask
from hub.errors import HubError
from hub.failure import Failure
from hub.home import Home

__all__ = ["agents", "servers", "tools"]


def servers(context: typer.Context, incomplete: str) -> list[str]:
    return _names(context, incomplete, "servers")


def agents(context: typer.Context, incomplete: str) -> list[str]:
    return _names(context, incomplete, "agents")


def tools(context: typer.Context, incomplete: str) -> list[str]:
    agent = context.params.get("agent") or "me"
    return _names(context, incomplete, "entries", kind="tool", agent=agent)


def _names(context: typer.Context, incomplete: str, operation: str, **arguments: Any) -> list[str]:
    home = context.params.get("home") or context.find_root().params.get("home")
    try:
        rows = ask(Home.at(home), operation, **arguments)
    except (Failure, HubError, OSError):
        return []
    return [row["name"] for row in rows if row["name"].startswith(incomplete)]
