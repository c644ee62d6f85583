"""`hub serve`: be the hub, or, with `--stdio` beside a running one, the bridge to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hub.cli.options import HomeOption, home_at
from hub.cli.output import clean, note

if TYPE_CHECKING:
    from hub.app import App

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    home: HomeOption = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Where agents connect to; else 127.0.0.1.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0: any free one.")] = None,
    stdio: Annotated[bool, typer.Option("--stdio", help="Speak with one agent on stdin and stdout.")] = False,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", help="With --stdio: which agent.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="NAME", help="With --stdio: its session.")
    ] = None,
) -> None:
    """Run the hub until it is told to stop (Ctrl-C, SIGTERM)."""
    if stdio:
        from hub.launch import serve_on_stdio

        if session is not None:
            from hub.sessions import checked_name

            checked_name(session)
        serve_on_stdio(home_at(home), agent or "me", host=host, port=port, session=session)
        return
    if agent is not None:
        raise typer.BadParameter(
            "only --stdio takes one; over HTTP the token says who asks", param_hint="--agent"
        )
    if session is not None:
        raise typer.BadParameter(
            "only --stdio takes one; over HTTP the header Hub-Session says it", param_hint="--session"
        )
    from hub.launch import serve_on_http

    serve_on_http(home_at(home), host=host, port=port, announce=_announce, tell=_tell_server)


def _announce(app: App, url: str) -> None:
    from hub import __version__

    note(f"hub {__version__} serves {app.home.path}")
    note(f"Agents connect to {url}")
    if app.settings.host not in ("127.0.0.1", "::1", "localhost"):
        note(
            f"Others on your network can reach it on {app.settings.host}, and there is no TLS on it. "
            "The names that they call it by go into `allowed_hosts` in hub.yaml."
        )
    if "me" in app.manifests.agents:
        note(f"The token of agent 'me' is in {app.home.token_file('me')}")
        note("A ready client configuration: hub agents show me --config")
    else:
        note("`hub agents add NAME --may GLOB` makes an agent and prints its token.")
    if not app.manifests.servers:
        note(f"There are no servers in {app.home.manifests} yet: `hub add NAME -- COMMAND`, or `hub init`.")


def _tell_server(name: str, said: str) -> None:
    # A server may have a say in why: that is no line of its own.
    note(clean(f"{name}: {said}", one_line=True))
