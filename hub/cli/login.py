"""`hub login` and `hub logout`: the hub's own accounts at servers."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer

from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, home_at
from hub.cli.output import note, print_json

__all__ = ["add_to"]

Server = Annotated[str, typer.Argument(metavar="SERVER", help="The server's name.")]
Agent = Annotated[
    str | None,
    typer.Option("--agent", metavar="NAME", help="For that agent's calls only, as its own account."),
]


def add_to(app: typer.Typer) -> None:
    app.command(short_help="Log in at a server with your browser.")(login)
    app.command()(logout)


def login(
    server: Server,
    agent: Agent = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="What it is to be for, too; more than once."),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address only, and open nothing.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Log in at a server with your browser, so that the hub may use it. Repeating it replaces the login."""
    import anyio

    from hub.commands.login import Ask, log_in
    from hub.env import SystemEnv

    def show(url: str) -> None:
        note(f"Log in here:\n\n{url}\n")
        if not no_browser:
            # In a thread: a browser of the terminal would hold up what waits for its answer.
            threading.Thread(target=_open, args=(url,), daemon=True).start()
        if sys.stdin.isatty():
            note("If that browser is on another machine, paste the address at which it ends here.")

    at = home_at(home)
    how = Ask(show, _pasted if sys.stdin.isatty() else None)
    wanted = tuple(scope or ())

    async def run() -> Any:
        return await log_in(at, server, agent, how, SystemEnv(), scopes=wanted)

    done = {**anyio.run(run), **ask(at, "login_changed", server=server)}
    if as_json:
        print_json(done)
        return
    note(f"Logged in at {server}{_for(agent)}, by {done['issuer']}.")
    if not done["renewable"] and done["ends"] is not None:
        note("It cannot be renewed: when it is over, log in again.")
    if done["servers"]:
        note(f"Connected anew: {', '.join(done['servers'])}.")


def logout(server: Server, agent: Agent = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Forget a login, and have its tokens ended."""
    import anyio

    from hub.commands.login import log_out
    from hub.env import SystemEnv

    at = home_at(home)
    done = {
        **anyio.run(log_out, at, server, agent, SystemEnv()),
        **ask(at, "login_changed", server=server),
    }
    if as_json:
        print_json(done)
        return
    note(f"Logged out of {server}{_for(agent)}.")
    if not done["revoked"]:
        note("Its tokens could not be ended there: they count until they are over.")


def _for(agent: str | None) -> str:
    return "" if agent is None else f" for agent {agent}"


def _open(url: str) -> None:
    import webbrowser

    if sys.platform == "linux" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        return  # what could be opened then would take this very terminal
    if not webbrowser.open(url):
        note("No browser could be opened here.")


async def _pasted() -> AsyncIterator[str]:
    """The lines that are typed. Read past Python's own buffer, whose lock would be held at the end."""
    import anyio

    while True:
        await anyio.wait_readable(sys.stdin)
        data = os.read(sys.stdin.fileno(), 64 * 1024)
        if not data:
            return
        yield data.decode(errors="replace")
