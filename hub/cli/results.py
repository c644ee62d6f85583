"""`hub results`: results that were too long for their agents, and are kept."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hub.cli.ask import ask, session_id
from hub.cli.options import HomeOption, JsonOption, OfAgentOption, OfSessionOption, QuietOption, home_at
from hub.cli.output import note, print_fields, print_json, print_lines, print_list, print_table, print_text
from hub.counted import counted

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Long results that are kept for agents.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Of the result.")]


@app.command("list")
def list_results(
    home: HomeOption = None,
    as_json: JsonOption = False,
    ids: QuietOption = False,
    agent: OfAgentOption = None,
    session: OfSessionOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most this many.")] = 50,
) -> None:
    """List the results that are kept, the newest first."""
    from hub.commands.result_files import listed

    at = home_at(home)
    results = listed(at, agent, session_id(at, session), limit)
    columns = ["id", "created", "agent", "tool", "bytes", "session"]
    print_list(results, columns, "There are no such results.", as_json=as_json, names=ids)


@app.command()
def show(
    id: Id,
    pointer: Annotated[
        str | None,
        typer.Argument(metavar="[POINTER]", help="What lies there alone: '/items/3/name'; '' is all of it."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    search: Annotated[
        str | None,
        typer.Option("--search", metavar="WORDS", help="Where in it these words are."),
    ] = None,
) -> None:
    """Show what a result looks like, or what lies at a place of it."""
    from hub.commands.result_files import shown

    found = shown(home_at(home), id, pointer, search)
    if search is not None:
        _print_hits(found, as_json)
    elif pointer is not None:
        _print_value(found["value"], as_json)
    elif as_json:
        print_json(found)
    else:
        shape = found.pop("shape")
        print_fields(found)
        print_lines(["", *shape])


@app.command()
def delete(id: Id, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Delete a result, for good. The record keeps that its call was made, and that this was deleted."""
    found = ask(home_at(home), "result_delete", id=id)
    if as_json:
        print_json(found)
        return
    gone = found["deleted"]
    note(f"Deleted: {counted(gone['bytes'], 'byte')} that {gone['tool']} answered {gone['agent']}.")
    if not found["files_clean"]:
        note("The hub is busy: some of it is overwritten in its files only within the next moments.")


def _print_value(value: Any, as_json: bool) -> None:
    if isinstance(value, str) and not as_json:
        print_text(value)
        return
    import json

    from connectors.jsonrpc import encode

    print_json(json.loads(encode(value)))


def _print_hits(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [{"at": hit["at"], "found": hit.get("text", hit.get("key"))} for hit in found["hits"]]
    print_table(rows, ["at", "found"], "These words are nowhere in it.")
