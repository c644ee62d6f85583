"""`hub tools`: what an agent may call, and calling it."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli.ask import ask
from hub.cli.options import AgentOption, HomeOption, JsonOption, QuietOption, home_at
from hub.cli.output import note, print_fields, print_json, print_names, print_table
from hub.cli.results import print_tool_result

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="What an agent may call.")

ServerOption = Annotated[str | None, typer.Option("--server", metavar="NAME", help="Of this server only.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The tool's name, as agents see it: server__tool.")]


@app.command("list")
def list_tools(
    home: HomeOption = None,
    as_json: JsonOption = False,
    names: QuietOption = False,
    agent: AgentOption = "me",
    server: ServerOption = None,
) -> None:
    """List the tools that an agent may call."""
    tools = ask(home_at(home), "entries", quiet=as_json or names, kind="tool", agent=agent, server=server)
    if as_json:
        print_json(tools)
    elif names:
        print_names([tool["name"] for tool in tools])
    else:
        empty = (
            f"Agent {agent!r} may call no tool that is known. `hub servers list` shows how each server is."
        )
        print_table(tools, ["name", "server", "description"], empty)


@app.command()
def show(name: Name, home: HomeOption = None, as_json: JsonOption = False, agent: AgentOption = "me") -> None:
    """Show one tool with its arguments."""
    tool = ask(home_at(home), "entry", kind="tool", name=name, agent=agent)
    if as_json:
        print_json(tool)
    else:
        definition = tool.pop("definition")
        shown = ("title", "description", "annotations", "inputSchema", "outputSchema")
        print_fields({**tool, **{key: definition.get(key) for key in shown}})


@app.command()
def call(
    name: Name,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Read by the tool's own schema.")
    ] = None,
    args_json: Annotated[
        str | None,
        typer.Option(
            "--args-json", metavar="JSON", help="All arguments as one JSON object; @FILE, or - for stdin."
        ),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    agent: AgentOption = "me",
) -> None:
    """Call a tool, and print what it answers."""
    from hub.arguments import read_object

    given = read_object(args_json)
    answer = ask(home_at(home), "tool_call", name=name, pairs=arguments or [], given=given, agent=agent)
    for text in answer["notes"]:
        note(f"Note: {text}")
    print_tool_result(answer["result"], as_json=as_json)
