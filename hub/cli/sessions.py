"""`hub sessions`: the lasting contexts that calls belong to."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, QuietOption, home_at
from hub.cli.output import print_fields, print_json, print_names, print_table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="What agents' calls belong to.")


@app.command("list")
def list_sessions(
    home: HomeOption = None,
    as_json: JsonOption = False,
    ids: QuietOption = False,
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME", help="Of this agent only.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most this many.")] = 50,
) -> None:
    """List sessions, the newest first."""
    sessions = ask(home_at(home), "sessions", agent=agent, limit=limit)
    if as_json:
        print_json(sessions)
    elif ids:
        print_names([session["id"] for session in sessions])
    else:
        print_table(
            [{**session, "client": session["client"].get("name")} for session in sessions],
            ["id", "agent", "kind", "client", "protocol", "started", "last_used", "closed"],
            "There are no sessions yet.",
        )


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one session."""
    session = ask(home_at(home), "session", id=id)
    (print_json if as_json else print_fields)(session)
