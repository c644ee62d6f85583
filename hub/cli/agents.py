"""`hub agents`: who asks, and what each may use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli import complete
from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, QuietOption, home_at
from hub.cli.output import note, print_done, print_fields, print_json, print_list, print_table, print_text
from hub.home import Home

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Who may use what.")

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The agent's name.", autocompletion=complete.agents)
]


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
    from hub.review.lint import lint

    added = ask(home_at(home), "agent_add", name=name, may=may or [], never=never or [], title=title)
    note(f"Wrote {added['file']}.")
    if not may:
        note(
            "It may use nothing yet: nothing is allowed that no rule allows. Add patterns under `may:` there."
        )
    for finding in lint(home_at(home), [Path(added["file"])])["findings"]:
        if finding["severity"] != "note":
            note(finding["text"])
    _print_token(added, as_json)


@app.command("list")
def list_agents(home: HomeOption = None, as_json: JsonOption = False, names: QuietOption = False) -> None:
    """List the agents."""
    agents = ask(home_at(home), "agents")
    empty = "There are no agents. `hub agents add NAME --may GLOB` makes one."
    print_list(agents, ["name", "may", "never", "tools"], empty, as_json=as_json, names=names)


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
        print_json(made["config"], indented=not as_json)  # into a file, too
        for text in made["notes"]:
            note(text)
        return
    agent = ask(home_at(home), "agent", name=name)
    if as_json:
        print_json(agent)
    else:
        print_fields({**agent, "tokens": [_token_text(token) for token in agent["tokens"]]})


@app.command()
def can(
    agent: Annotated[str, typer.Argument(metavar="AGENT", autocompletion=complete.agents)],
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A tool, prompt or resource: server__tool.", autocompletion=complete.tools
        ),
    ],
    pairs: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="The arguments of a very call.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="In a session that is labelled so."),
    ] = None,
    session: Annotated[
        str | None,
        typer.Option("--session", metavar="ID", help="In this session (its id or name), with its labels."),
    ] = None,
) -> None:
    """Say whether an agent may use something, and which rule says so. Exit code 0 is yes, 6 is no."""
    at = home_at(home)
    more: dict[str, Any] = {}
    if label or session is not None:
        more["labels"] = {**_labels_of(at, agent, session), **_pairs(label or [])}
    decision = ask(at, "can", agent=agent, name=name, pairs=pairs or [], **more)
    if as_json:
        print_json(decision)
    else:
        print_text(f"{'yes' if decision['allowed'] else 'no'}: {decision['why']}")
        if len(decision["rules"]) > 1:
            note(f"rules that hold together: {', '.join(decision['rules'])}")
        if decision["change"]:
            note(f"to allow it: {decision['change']}")
        if not decision["known"]:
            note(f"No server is known to offer {name!r}: the rules were asked about that very name.")
    if not decision["allowed"]:
        raise typer.Exit(6)


@app.command()
def limits(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show what an agent has used of its limits, what is left, and when they begin anew (UTC)."""
    rows = ask(home_at(home), "agent_limits", name=name)
    if as_json:
        print_json(rows)
    else:
        columns = ["of", "limit", "most", "per", "used", "left", "anew"]
        print_table(rows, columns, f"Nothing limits how much agent {name!r} may use.")


@app.command()
def token(
    name: Name,
    home: HomeOption = None,
    as_json: JsonOption = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make a new token, and revoke all others.")
    ] = False,
    revoke: Annotated[str | None, typer.Option("--revoke", metavar="ID", help="Revoke one token.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="As `hub agents tokens NAME`.")] = False,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="When it ends: '30d', '12h', '10m'.")
    ] = None,
    may: Annotated[
        list[str] | None,
        typer.Option(
            "--may", metavar="RULE", help="Only this, of what the agent may: 'git__*', or a rule as YAML."
        ),
    ] = None,
    never: Annotated[
        list[str] | None, typer.Option("--never", metavar="GLOB", help="Not this, of what the agent may.")
    ] = None,
    calls: Annotated[
        int | None, typer.Option("--calls", metavar="N", min=1, help="How many calls it is good for.")
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option("--parent", metavar="ID", help="A child of that token: never wider, and ends with it."),
    ] = None,
) -> None:
    """Print a further token for an agent; or rotate, revoke or list its tokens."""
    terms: dict[str, Any] = {"expires": expires, "may": may, "never": never, "calls": calls, "parent": parent}
    terms = {key: value for key, value in terms.items() if value}
    if rotate + listed + (revoke is not None) + bool(terms) > 1:
        alone = "what a new token is good for alone, or " if terms else ""
        raise typer.BadParameter(f"give {alone}only one of --rotate, --revoke and --list")
    if listed:
        _print_tokens(home_at(home), name, as_json)
    elif revoke is not None:
        revoked = ask(home_at(home), "token_revoke", agent=name, id=revoke)
        print_done(revoked, f"Revoked {revoke}.", as_json)
    else:
        operation = "token_rotate" if rotate else "token_issue"
        _print_token(ask(home_at(home), operation, agent=name, **terms), as_json)


@app.command("tokens")
def list_tokens(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List an agent's tokens: how long, for what and for how much each is good. Never a token itself."""
    _print_tokens(home_at(home), name, as_json)


@app.command()
def remove(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Remove an agent's manifest, and revoke its tokens."""
    removed = ask(home_at(home), "agent_remove", name=name)
    print_done(removed, f"Removed {removed['file']}; its tokens are revoked.", as_json)


def _labels_of(home: Home, agent: str, session: str | None) -> dict[str, str]:
    if session is None:
        return {}
    found = ask(home, "session", id=session)
    if found["agent"] != agent:
        raise typer.BadParameter(f"session {found['id']} is one of agent {found['agent']!r}")
    labels: dict[str, str] = found["labels"]
    return labels


def _pairs(labels: list[str]) -> dict[str, str]:
    from hub.labels import changes

    return {key: value for key, value in changes(labels).items() if value is not None}


def _print_tokens(home: Home, name: str, as_json: bool) -> None:
    tokens = ask(home, "tokens", agent=name)
    if as_json:
        print_json(tokens)
        return
    for token in tokens:
        if token["calls"] is not None:
            token["calls"] = f"{token['calls_made']}/{token['calls']}"
        may, never = token["scope"].get("may", []), token["scope"].get("never", [])
        token["may"] = [*map(_rule_text, may), *(f"!{pattern}" for pattern in never)]
        token["expires"] = "revoked" if token["revoked"] else _to_seconds(token["expires"])
        token["created"], token["used"] = _to_seconds(token["created"]), _to_seconds(token["used"])
    columns = ["id", "created", "used", "expires", "may", "calls", "parent"]
    print_table(tokens, columns, f"Agent {name!r} has no token.")


def _token_text(token: dict[str, Any]) -> str:
    """`hub agents tokens` has more."""
    if token["revoked"]:
        return f"{token['id']}, revoked"
    return f"{token['id']}, until {token['expires']}" if token["expires"] else str(token["id"])


def _rule_text(rule: str | dict[str, Any]) -> str:
    """A rule by what it is about; `--json` has all of it."""
    if isinstance(rule, str):
        return rule
    use = rule.get("use", "*")
    text = use if isinstance(use, str) else " ".join(use)
    return text if rule.keys() == {"use"} else f"{text} {{...}}"


def _to_seconds(moment: str | None) -> str | None:
    """So that a row fits on a terminal."""
    return None if moment is None else moment[:19] + "Z"


def _print_token(made: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json({key: made[key] for key in ("agent", "id", "token") if key in made})
    else:
        print_text(made["token"])
        note("This token is shown once; only its hash is kept.")
