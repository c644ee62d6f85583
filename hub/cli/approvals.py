"""`hub approvals`: calls that wait until a person has looked at them."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, LimitOption, OfAgentOption, QuietOption, home_at
from hub.cli.output import print_done, print_fields, print_json, print_list

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Calls that wait for your approval.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Or its first characters, at least 6.")]
ReasonOption = Annotated[
    str | None,
    typer.Option("--reason", metavar="TEXT", help="For the record; of a denial, for the agent too."),
]


@app.command("list")
def list_approvals(
    home: HomeOption = None,
    as_json: JsonOption = False,
    ids: QuietOption = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were decided or have ended.")
    ] = False,
    agent: OfAgentOption = None,
    limit: LimitOption = 50,
) -> None:
    """List calls that wait for you, the newest first."""
    found = ask(home_at(home), "approvals", everything=everything, agent=agent, limit=limit)
    columns = ["id", "agent", "tool", "age", "until", *(("state", "by") if everything else ())]
    print_list(found, columns, "No call waits for you.", as_json=as_json, names=ids)


@app.command()
def show(id: IdArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what a call would do, which rule wants it approved, and how long it waits."""
    found = ask(home_at(home), "approval", id=id)
    (print_json if as_json else print_fields)(found)


@app.command()
def approve(
    id: IdArgument, home: HomeOption = None, as_json: JsonOption = False, reason: ReasonOption = None
) -> None:
    """Let this call be made, once, by its agent and with just these arguments."""
    decided = ask(home_at(home), "approval_approve", id=id, reason=reason)
    sentence = f"{decided['tool']} may be called once by {decided['agent']}, until {decided['until']}."
    print_done(decided, sentence, as_json)


@app.command()
def deny(
    id: IdArgument, home: HomeOption = None, as_json: JsonOption = False, reason: ReasonOption = None
) -> None:
    """Refuse this call. Its agent is told, with your reason."""
    decided = ask(home_at(home), "approval_deny", id=id, reason=reason)
    sentence = f"{decided['tool']} is not called. {decided['agent']} is told so until {decided['until']}."
    print_done(decided, sentence, as_json)
