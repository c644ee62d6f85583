"""`hub record`, `hub trace`: a session as a cassette, a call as a tree."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, OutOption, home_at
from hub.cli.output import note, print_json, print_text
from hub.counted import counted

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Write a session to a file that plays it.")(record)
    app.command(short_help="Show one call as a tree.")(trace)


def record(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Its id or name.")],
    out: OutOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
    skip_cut: Annotated[
        bool, typer.Option("--skip-cut", help="Leave out calls of which the record does not hold all.")
    ] = False,
) -> None:
    """Write what its servers offered and answered to a file: `connect: {cassette: FILE}` plays it."""
    from hub.commands.recording import recorded

    at = home_at(home)
    id = ask(at, "session", id=session)["id"]  # after which the database has all of it
    found = recorded(at, id, out, skip_cut=skip_cut)
    if as_json:
        print_json(found)
        return
    changes = f", and {counted(found['changes'], 'change')} outside of them" if found["changes"] else ""
    note(f"{out} has {counted(found['calls'], 'call')} of {', '.join(found['servers'])}{changes}.")
    for why, count in found["left_out"].items():
        note(f"Left out: {count} ({why}).")
    if found["redacted"]:
        note(
            f"Secrets are taken out of {counted(found['redacted'], 'line')} of it: of a call, those match "
            "anything; of an answer, they stay taken out."
        )


def trace(
    call: Annotated[str, typer.Argument(metavar="CALL")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one call as a tree: its rounds, attempts, questions, what was told meanwhile, and times."""
    found = ask(home_at(home), "call_trace", id=call)
    if as_json:
        print_json(found)
        return
    from hub.commands.trace import lines

    for line in lines(found):
        print_text(line)
