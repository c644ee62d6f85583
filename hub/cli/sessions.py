"""`hub sessions`: the lasting contexts that calls belong to."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli.ask import ask, session_id
from hub.cli.options import (
    HomeOption,
    JsonOption,
    LimitOption,
    OfAgentOption,
    OutOption,
    QuietOption,
    home_at,
)
from hub.cli.output import note, print_fields, print_json, print_names, print_table
from hub.counted import counted

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="What agents' calls belong to.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the session, or its name.")]


@app.command("list")
def list_sessions(
    home: HomeOption = None,
    as_json: JsonOption = False,
    ids: QuietOption = False,
    agent: OfAgentOption = None,
    limit: LimitOption = 50,
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
            ["id", "agent", "name", "kind", "client", "protocol", "started", "last_used", "closed"],
            "There are no such sessions." if agent else "There are no sessions yet.",
            spare=["protocol", "kind", "started", "closed", "client"],
        )


@app.command()
def show(
    id: Id,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one session: what it holds, and its last calls."""
    session = ask(home_at(home), "session", id=id)
    (print_json if as_json else print_fields)(session)


@app.command()
def label(
    id: Id,
    labels: Annotated[list[str], typer.Argument(metavar="KEY=VALUE", help="KEY= takes it away.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a session is called, for rules with `when: {labels: ...}`."""
    at = home_at(home)
    found = ask(at, "session_label", id=session_id(at, id), pairs=labels)
    if as_json:
        print_json(found)
    else:
        said = ", ".join(f"{key}={value}" for key, value in found["labels"].items())
        note(f"Session {found['session']} has {f'the labels {said}' if said else 'no labels'}.")


@app.command()
def export(
    id: Id,
    out: OutOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all that a session holds to a file: calls, what was told meanwhile, notes, memory, results."""
    from hub.commands.session_files import exported

    at = home_at(home)
    ask(at, "session", id=id)  # after which the database has all of it
    found = exported(at, id, out)
    if as_json:
        print_json(found)
    else:
        held = ", ".join(_things(name, found[name]) for name in ("calls", "notes", "memory", "results"))
        note(f"{out} has {held}.")


@app.command()
def delete(
    id: Id,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete what a session holds, for good, and say what the record keeps."""
    at = home_at(home)
    found = ask(at, "session_delete", id=session_id(at, id))
    if as_json:
        print_json(found)
        return
    gone = ", ".join(_things(name, count) for name, count in found["deleted"].items() if count) or "nothing"
    note(f"Deleted: {gone}. {found['kept']}")
    if not found["files_clean"]:
        note("The hub is busy: some of it is overwritten in its files only within the next moments.")


def _things(name: str, count: int) -> str:
    return (
        counted(count, "value of its memory", "values of its memory")
        if name == "memory"
        else counted(count, name.removesuffix("s"))
    )
