"""`hub init`, `add`, `validate`, `schema`: writing and checking what the hub is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, home_at
from hub.cli.output import note, print_json, print_text
from hub.counted import counted

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Make a hub's folder.")(init)
    app.command()(add)
    app.command(short_help="Check manifests, starting nothing.")(validate)
    app.command()(schema)


def init(
    folder: Annotated[
        str | None, typer.Argument(metavar="DIR", help="The hub's folder; else this one.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a hub's folder: an agent `me`, a first server, and the schema for your editor."""
    from hub.commands.begin import begin
    from hub.commands.schema import write_schema

    at = home_at(folder or home)
    made = [*begin(at), write_schema(at)]
    if as_json:
        print_json({"home": str(at.path), "files": [str(path) for path in made]})
        return
    for path in made:
        print_text(str(path))
    where = "" if at.path == Path.cwd() else f" --home {at.path}"
    note("Next:")
    note(f"  hub serve{where}             # in a terminal of its own")
    note(f"  hub tools list{where}")
    note(f"  hub agents show me --config{where}   # what an agent's client needs to connect")


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the server: a-z, 0-9 and '-'.")],
    target: Annotated[
        list[str],
        typer.Argument(
            metavar="-- COMMAND… | URL | pypi:NAME[@VERSION] | npm:NAME[@VERSION] | cassette:FILE",
            show_default=False,
        ),
    ],
    header: Annotated[list[str] | None, typer.Option("--header", metavar="K=V", help="With a URL.")] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="K=V", help="With a command or package.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="For people.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a server's manifest. A running hub takes it up at once."""
    from connectors.newest import newest
    from hub.commands.targets import connect_of

    connect, notes = connect_of(target, header or [], env or [], newest)
    added = ask(home_at(home), "server_add", name=name, connect=connect, title=title)
    if as_json:
        print_json(added)
    else:
        print_text(added["file"])
        for text in notes:
            note(text)
        note(f"Try it: hub servers check {name}")


def validate(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="PATH", help="Files or folders.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check manifests (and hub.yaml) without starting anything. Exit code 2 if something is wrong."""
    from hub.commands.validate import validate as check

    found = check(home_at(home), [path.absolute() for path in paths or []])
    if as_json:
        print_json(found)
    else:
        for problem in found["problems"]:
            print_text(problem["text"])
        for text in found["notes"]:
            note(text)
        valid = [counted(len(found[each]), each.removesuffix("s")) for each in ("servers", "agents")]
        note(f"{' and '.join(valid)} are valid; {counted(len(found['problems']), 'problem')}.")
    if found["problems"]:
        raise typer.Exit(2)


def schema() -> None:
    """Print the JSON Schema of manifests."""
    from hub.commands.schema import manifest_schema

    print_json(manifest_schema())
