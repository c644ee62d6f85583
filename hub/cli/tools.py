"""`hub tools`: what an agent may call, and calling it."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli import complete
from hub.cli.ask import ask
from hub.cli.options import AgentOption, HomeOption, JsonOption, OfServerOption, QuietOption, home_at
from hub.cli.output import (
    note,
    print_done,
    print_fields,
    print_json,
    print_lines,
    print_list,
    print_names,
    print_table,
)
from hub.cli.shown import print_tool_result

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="What an agent may call.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The tool's name, as agents see it: server__tool.", autocompletion=complete.tools
    ),
]


@app.command("list")
def list_tools(
    home: HomeOption = None,
    as_json: JsonOption = False,
    names: QuietOption = False,
    agent: AgentOption = "me",
    server: OfServerOption = None,
) -> None:
    """List the tools that an agent may call."""
    tools = ask(home_at(home), "entries", quiet=as_json or names, kind="tool", agent=agent, server=server)
    empty = f"Agent {agent!r} may call no tool that is known. `hub servers list` shows how each server is."
    print_list(tools, ["name", "server", "description"], empty, as_json=as_json, names=names)


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
def changed(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A tool, or a server for all of its own.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show tools that are quarantined, because their servers changed them; of one, what differs."""
    if name is None:
        found = ask(home_at(home), "tools_changed")
        if as_json:
            print_json(found)
        else:
            print_table(found, ["tool", "change", "differs", "since"], "No tool is quarantined.")
        return
    shown = ask(home_at(home), "tool_changed", name=name)
    if as_json:
        print_json(shown)
        return
    for each in shown["changes"]:
        print_names([f"{each['tool']}: {each['change']} ({', '.join(each['differs']) or 'all of it'})"])
        print_lines(each["diff"])
    note(f"To let agents use it as it is now: hub tools approve {shown['name']} {shown['id']}")


@app.command()
def approve(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tool, or the server for all of its own.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="As `hub tools changed NAME` shows it.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let agents use quarantined tools, just as `hub tools changed` showed them."""
    approved = ask(home_at(home), "tool_approve", name=name, id=id)
    print_done(approved, f"Approved: {', '.join(approved['approved'])}.", as_json)


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
    from hub.commands.arguments import read_object

    given = read_object(args_json)
    answer = ask(home_at(home), "tool_call", name=name, pairs=arguments or [], given=given, agent=agent)
    for text in answer["notes"]:
        note(f"Note: {text}")
    print_tool_result(answer["result"], as_json=as_json)
