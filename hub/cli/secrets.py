"""`hub secrets`: the values behind `${secret:NAME}`, which no command ever shows."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from hub.cli.ask import ask
from hub.cli.options import HomeOption, JsonOption, QuietOption, home_at
from hub.cli.output import note, print_json, print_names, print_table

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="What manifests name as ${secret:NAME}.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The secret's name.")]


@app.command("list")
def list_secrets(home: HomeOption = None, as_json: JsonOption = False, names: QuietOption = False) -> None:
    """List the secrets that there are or that manifests name, and where each comes from."""
    secrets = ask(home_at(home), "secrets")
    if as_json:
        print_json(secrets)
    elif names:
        print_names([secret["name"] for secret in secrets])
    else:
        print_table(
            [{**secret, "source": secret["source"] or "not set"} for secret in secrets],
            ["name", "source", "servers"],
            "There are no secrets, and no manifest names one. `hub secrets set NAME` makes one.",
        )


@app.command("set")
def set_secret(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Keep a secret in the hub's encrypted file. Its value is asked for, or read from stdin."""
    if sys.stdin.isatty():
        value = typer.prompt(f"Value of {name}", hide_input=True, err=True)
    else:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    done = ask(home_at(home), "secret_set", name=name, value=value)
    _print_done(done, f"{name} is set.", as_json)


@app.command("rm")
def remove(name: Name, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Remove a secret from the hub's encrypted file."""
    done = ask(home_at(home), "secret_remove", name=name)
    _print_done(done, f"{name} is removed.", as_json)


def _print_done(done: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    note(sentence)
    if done["servers"]:
        note(f"Connected anew: {', '.join(done['servers'])}.")
