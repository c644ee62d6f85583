"""`hub resources` and `hub prompts`: what else an agent may use."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli.ask import ask
from hub.cli.options import AgentOption, HomeOption, JsonOption, OfServerOption, QuietOption, home_at
from hub.cli.output import note, print_json, print_list
from hub.cli.shown import print_prompt, print_resource

__all__ = ["prompts", "resources"]

resources = typer.Typer(no_args_is_help=True, help="What an agent may read.")
prompts = typer.Typer(no_args_is_help=True, help="Prompts that an agent may get.")


@resources.command("list")
def list_resources(
    home: HomeOption = None,
    as_json: JsonOption = False,
    names: QuietOption = False,
    agent: AgentOption = "me",
    server: OfServerOption = None,
) -> None:
    """List the resources and resource templates that an agent may read."""
    found = ask(home_at(home), "resources", quiet=as_json or names, agent=agent, server=server)
    empty = f"Agent {agent!r} may read no resource that is known."
    print_list(found, ["uri", "server", "name", "description"], empty, as_json=as_json, names=names)


@resources.command()
def read(
    uri: Annotated[str, typer.Argument(metavar="URI")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    agent: AgentOption = "me",
) -> None:
    """Read a resource, and print it."""
    result = ask(home_at(home), "resource_read", uri=uri, agent=agent)
    (print_json if as_json else print_resource)(result)


@prompts.command("list")
def list_prompts(
    home: HomeOption = None,
    as_json: JsonOption = False,
    names: QuietOption = False,
    agent: AgentOption = "me",
    server: OfServerOption = None,
) -> None:
    """List the prompts that an agent may get."""
    found = ask(home_at(home), "entries", quiet=as_json or names, kind="prompt", agent=agent, server=server)
    empty = f"Agent {agent!r} may get no prompt that is known."
    print_list(found, ["name", "server", "description"], empty, as_json=as_json, names=names)


@prompts.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    agent: AgentOption = "me",
) -> None:
    """Get a prompt, filled in, and print its messages."""
    answer = ask(home_at(home), "prompt_get", name=name, pairs=arguments or [], agent=agent)
    for text in answer["notes"]:
        note(f"Note: {text}")
    (print_json if as_json else print_prompt)(answer["result"])
