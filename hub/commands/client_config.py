"""A ready configuration for an agent's client: the `mcpServers` entry that most of them read."""

from __future__ import annotations

import sys
from pathlib import Path

from hub.home import Home
from hub.model import Json

__all__ = ["client_config"]

_URL = "http://127.0.0.1:8420/mcp"


def client_config(home: Home, agent: str, url: str | None) -> Json:
    """`http` and `stdio`: for each the whole `config`, and `notes` for whoever copies it.

    Args:
        url: Where the hub listens; `None`: where it will by default.
    """
    token, notes = _token(home, agent)
    if url is None:
        notes.append("No hub runs now; this is where it listens by default.")
    notes.append("--stdio prints the form for a client that starts its servers itself.")
    http = {"type": "http", "url": url or _URL, "headers": {"Authorization": f"Bearer {token}"}}
    program = Path(sys.argv[0]).absolute()
    command = [str(program)] if program.name == "hub" else [sys.executable, "-m", "hub"]
    arguments = [*command[1:], "serve", "--stdio", "--agent", agent, "--home", str(home.path)]
    return {
        "http": {"config": {"mcpServers": {"hub": http}}, "notes": notes},
        "stdio": {"config": {"mcpServers": {"hub": {"command": command[0], "args": arguments}}}, "notes": []},
    }


def _token(home: Home, agent: str) -> tuple[str, list[str]]:
    try:
        token = home.token_file(agent).read_text(encoding="utf-8").strip()
    except OSError:
        fix = f"`hub agents token {agent}` prints one"
        return f"<a token of {agent}: {fix}>", [f"Put a token in its place: {fix}; tokens are not kept."]
    return token, ["This holds a token: keep it as you keep a password."]
