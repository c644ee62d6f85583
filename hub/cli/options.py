"""The options that many commands share, spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub.cli.complete import agents, servers
from hub.home import Home

__all__ = [
    "AgentOption",
    "HomeOption",
    "JsonOption",
    "LimitOption",
    "OfAgentOption",
    "OfServerOption",
    "OfSessionOption",
    "OutOption",
    "QuietOption",
    "home_at",
]

HomeOption = Annotated[
    str | None,
    typer.Option("--home", metavar="DIR", help="The hub's folder; else HUB_HOME, else this folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print names only.")]
AgentOption = Annotated[
    str, typer.Option("--agent", metavar="NAME", help="As which agent.", autocompletion=agents)
]
OfAgentOption = Annotated[
    str | None, typer.Option("--agent", metavar="NAME", help="Of this agent only.", autocompletion=agents)
]
OfServerOption = Annotated[
    str | None, typer.Option("--server", metavar="NAME", help="Of this server only.", autocompletion=servers)
]
OfSessionOption = Annotated[
    str | None, typer.Option("--session", metavar="ID", help="Of this session only: its id or name.")
]
OutOption = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="Where to; replaced if it is there.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most this many.")]


def home_at(folder: str | None) -> Home:
    return Home.at(folder)
