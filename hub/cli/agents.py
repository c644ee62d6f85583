"""`hub agents`: who asks, and what each may use."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, QuietOption, home_at
from hub.cli.output import note, print_fields, print_json, print_names, print_table, print_text

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Who may use what.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The agent's name.")]


@app.command()
def add(
    name: Name,
    may: Annotated[
        list[str] | None, typer.Option("--may", metavar="GLOB", help="What it may use: 'git__*'.")
    ] = None,
    never: Annotated[
        list[str] | None, typer.Option("--never", metavar="GLOB", help="What it never may.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="For people.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write an agent's manifest, and print a token for it: this once, and never again."""
    added = ask(home_at(home), "agent_add", name=name, may=may or [], never=never or [], title=title)
    note(f"Wrote {added['file']}.")
    if not may:
        note(
            "It may use nothing yet: nothing is allowed that no rule allows. Add patterns under `may:` there."
        )
    _print_token(added, as_json)


@app.command("list")
def list_agents(home: HomeOption = None, as_json: JsonOption = False, names: QuietOption = False) -> None:
    """List the agents."""
    agents = ask(home_at(home), "agents")
    if as_json:
        print_json(agents)
    elif names:
        print_names([agent["name"] for agent in agents])
    else:
        print_table(
            agents,
            ["name", "may", "never", "tools"],
            "There are no agents. `hub agents add NAME --may GLOB` makes one.",
        )


@app.command()
def show(
    name: Name,
    home: HomeOption = None,
    as_json: JsonOption = False,
    config: Annotated[bool, typer.Option("--config", help="Print a client's configuration for it.")] = False,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="With --config: for a client that starts it.")
    ] = False,
) -> None:
    """Show one agent, or a ready client configuration for it."""
    if config:
        made = ask(home_at(home), "agent_config", name=name)["stdio" if stdio else "http"]
        print_json(made["config"])
        for text in made["notes"]:
            note(text)
        return
    agent = ask(home_at(home), "agent", name=name)
    (print_json if as_json else print_fields)(agent)


@app.command()
def can(
    agent: Annotated[str, typer.Argument(metavar="AGENT")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="A tool, prompt or resource: server__tool.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether an agent may use something, and which rule says so. Exit code 0 is yes, 6 is no."""
    decision = ask(home_at(home), "can", agent=agent, name=name)
    if as_json:
        print_json(decision)
    else:
        print_text(f"{'yes' if decision['allowed'] else 'no'}: {decision['why']}")
        if not decision["known"]:
            note(f"No server is known to offer {name!r}: the rules were asked about that very name.")
    if not decision["allowed"]:
        raise typer.Exit(6)


@app.command()
def token(
    name: Name,
    home: HomeOption = None,
    as_json: JsonOption = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make a new token, and revoke all others.")
    ] = False,
    revoke: Annotated[str | None, typer.Option("--revoke", metavar="ID", help="Revoke one token.")] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List its tokens, without the tokens themselves.")
    ] = False,
) -> None:
    """Print a further token for an agent; or rotate, revoke or list its tokens."""
    if rotate + listed + (revoke is not None) > 1:
        raise typer.BadParameter("give only one of --rotate, --revoke and --list")
    if listed:
        tokens = ask(home_at(home), "tokens", agent=name)
        if as_json:
            print_json(tokens)
        else:
            print_table(tokens, ["id", "created", "used", "revoked"], f"Agent {name!r} has no token.")
    elif revoke is not None:
        revoked = ask(home_at(home), "token_revoke", agent=name, id=revoke)
        if as_json:
            print_json(revoked)
        else:
            note(f"Revoked {revoke}.")
    else:
        _print_token(ask(home_at(home), "token_rotate" if rotate else "token_issue", agent=name), as_json)


@app.command()
def remove(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Remove an agent's manifest, and revoke its tokens."""
    removed = ask(home_at(home), "agent_remove", name=name)
    if as_json:
        print_json(removed)
    else:
        note(f"Removed {removed['file']}; its tokens are revoked.")


def _print_token(made: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json({"agent": made["agent"], "token": made["token"]})
    else:
        print_text(made["token"])
        note("This token is shown once; only its hash is kept.")
