"""The options that many commands share, spelled once."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.home import Home

__all__ = ["AgentOption", "HomeOption", "JsonOption", "QuietOption", "home_at"]

HomeOption = Annotated[
    str | None,
    typer.Option("--home", metavar="DIR", help="The hub's folder; else HUB_HOME, else this folder."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print names only.")]
AgentOption = Annotated[str, typer.Option("--agent", metavar="NAME", help="As which agent.")]


def home_at(folder: str | None) -> Home:
    return Home.at(folder)
