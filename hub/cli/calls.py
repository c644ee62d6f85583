"""`hub calls`: what was used, by whom, and what came of it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from hub.cli.ask import ask, session_id
from hub.cli.options import (
    HomeOption,
    JsonOption,
    LimitOption,
    OfAgentOption,
    OfSessionOption,
    QuietOption,
    home_at,
)
from hub.cli.output import print_fields, print_json, print_names, print_table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="What agents used, and what came of it.")


@app.command("list")
def list_calls(
    home: HomeOption = None,
    as_json: JsonOption = False,
    ids: QuietOption = False,
    agent: OfAgentOption = None,
    server: Annotated[
        str | None, typer.Option("--server", metavar="NAME", help="To this server only.")
    ] = None,
    session: OfSessionOption = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only those that did not go well.")] = False,
    since: Annotated[str | None, typer.Option("--since", metavar="1h", help="Not older than this.")] = None,
    limit: LimitOption = 50,
) -> None:
    """List calls, the newest first."""
    at = home_at(home)
    calls = ask(
        at,
        "calls",
        agent=agent,
        server=server,
        session=session_id(at, session),
        errors=errors,
        since=since,
        limit=limit,
    )
    if as_json:
        print_json(calls)
    elif ids:
        print_names([call["id"] for call in calls])
    else:
        print_table(
            [{**call, "why": _why(call)} for call in calls],
            ["id", "started", "agent", "tool", "state", "why", "duration_ms"],
            "There are no such calls.",
            spare=["duration_ms", "why", "started"],
        )


@app.command()
def show(
    id: Annotated[str, typer.Argument(metavar="ID")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one call: exactly what was sent and what came back."""
    call = ask(home_at(home), "call", id=id)
    (print_json if as_json else print_fields)(call)


@app.command()
def tail(
    home: HomeOption = None,
    as_json: JsonOption = False,
    agent: OfAgentOption = None,
    session: OfSessionOption = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only those that did not go well.")] = False,
    after: Annotated[
        int | None, typer.Option("--after", metavar="ID", min=0, help="From behind this event on.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", metavar="N", min=1, help="End after so many.")
    ] = None,
) -> None:
    """Print calls as they happen, until interrupted. Goes on when the hub is started again."""
    from hub.commands.tail import told

    at = home_at(home)
    session = session_id(at, session)
    for event in told(at, agent=agent, session=session, errors=errors, after=after, count=count):
        if as_json:
            print_json(event)
        else:
            print_names([event["line"]])
        sys.stdout.flush()  # into a pipe as well, as it happens


def _why(call: dict[str, Any]) -> str | None:
    """Why it did not go well, in a word. Agents are told no difference between the first two; people are."""
    if call["reason"] == "not_found":
        return "not_allowed" if call["server"] else "no_such_name"
    why: str | None = call["reason"] or call["kind"]
    return why
