"""`hub status`, `hub doctor` and `hub version`: how is it, and is everything in place here?"""

from __future__ import annotations

import typer

from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, home_at
from hub.cli.output import note, print_fields, print_json, print_table, print_text

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Show how the running hub is.")(status)
    app.command()(doctor)
    app.command()(version)


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show how the running hub is: its servers by state, how late its event loop was, what troubles it."""
    found = ask(home_at(home), "status")
    (print_json if as_json else print_fields)(found)


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Look for what is wrong here, and say how to mend it. Exit code 1 if something is."""
    from hub.commands.doctor import examine

    findings = examine(home_at(home))
    if as_json:
        print_json(findings)
    else:
        print_table(findings, ["state", "check", "message", "hint"], "Nothing was looked at.")
    wrong = sum(finding["state"] == "wrong" for finding in findings)
    if not as_json:
        note("Nothing is wrong." if not wrong else f"{wrong} to mend.")
    if wrong:
        raise typer.Exit(1)


def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    from hub import __version__

    if as_json:
        print_json({"version": __version__})
    else:
        print_text(__version__)
