"""`hub servers`: what the hub reaches, and how each is doing."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli import complete
from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, QuietOption, home_at
from hub.cli.output import note, print_done, print_fields, print_json, print_list, print_table, print_text

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="The servers behind the hub.")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The server's name.", autocompletion=complete.servers)
]


@app.command("list")
def list_servers(home: HomeOption = None, as_json: JsonOption = False, names: QuietOption = False) -> None:
    """List the servers and their state."""
    servers = ask(home_at(home), "servers", quiet=as_json or names)
    columns = ["name", "status", "since", "tools", "protocol", "note"]
    empty = "There are no servers. `hub add NAME -- COMMAND` or `hub add NAME URL` makes one."
    print_list(servers, columns, empty, as_json=as_json, names=names)


@app.command()
def show(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show all that is known of one server."""
    server = ask(home_at(home), "server", name=name)
    (print_json if as_json else print_fields)(server)


@app.command()
def check(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Start a server if it is not up, and ask it anew what it offers."""
    server = ask(home_at(home), "server_check", name=name)
    _print_up(server, as_json)


@app.command()
def restart(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """End a server's process and start it again."""
    server = ask(home_at(home), "server_restart", name=name)
    _print_up(server, as_json)


@app.command()
def logs(
    name: Name,
    home: HomeOption = None,
    as_json: JsonOption = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many.")] = 100,
) -> None:
    """Print the last lines that a server's process wrote for people (its stderr)."""
    found = ask(home_at(home), "server_logs", name=name, lines=lines)
    if as_json:
        print_json(found)
        return
    if not found:
        note(f"{name} has written nothing.")
    for line in found:
        print_text(line)


@app.command()
def remove(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Remove a server's manifest. A running hub ends the server."""
    removed = ask(home_at(home), "server_remove", name=name)
    print_done(removed, f"Removed {removed['file']}.", as_json)


def _print_up(server: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(server)
    else:
        print_table([server], ["name", "status", "tools", "resources", "prompts", "protocol"], "")
