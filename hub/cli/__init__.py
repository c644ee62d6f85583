"""The command line: noun, then verb. No logic: a command calls one function elsewhere and prints.

Importing this must stay cheap: each command imports what it needs when it runs, and a test holds
`hub --help` and the lists under 300 ms and away from `mcp`.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from hub.cli import (
    agents,
    approvals,
    audit,
    calls,
    entries,
    login,
    lookback,
    manifests,
    policy,
    results,
    secrets,
    serve,
    servers,
    sessions,
    system,
    tools,
)
from hub.cli.options import HomeOption
from hub.cli.output import print_failure
from hub.failure import EXIT_CODES, Failure, failure_of

__all__ = ["application", "main", "run"]

_INTERRUPTED = EXIT_CODES["interrupted"]


def application() -> typer.Typer:
    app = typer.Typer(
        name="hub",
        help="One place between AI agents and their MCP servers.",
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    manifests.add_to(app)
    serve.add_to(app)
    login.add_to(app)
    lookback.add_to(app)
    for name, group in (
        ("servers", servers.app),
        ("tools", tools.app),
        ("resources", entries.resources),
        ("prompts", entries.prompts),
        ("agents", agents.app),
        ("sessions", sessions.app),
        ("calls", calls.app),
        ("results", results.app),
        ("approvals", approvals.app),
        ("audit", audit.app),
        ("policy", policy.app),
        ("secrets", secrets.app),
    ):
        app.add_typer(group, name=name)
        if name not in ("audit", "calls", "policy"):  # `hub call` is `hub tools call`
            app.add_typer(group, name=name.removesuffix("s"), hidden=True)
    system.add_to(app)
    app.command("help", hidden=True)(_help)
    app.command("ls", hidden=True)(servers.list_servers)
    app.command("call", hidden=True)(tools.call)
    app.command("logs", hidden=True)(servers.logs)
    return app


def _root(
    context: typer.Context,
    home: HomeOption = None,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.")] = False,
) -> None:
    if version:
        system.version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        sys.stderr.write(context.get_help() + "\n")
        raise typer.Exit(EXIT_CODES["usage"])
    if home is not None:
        # `hub --home DIR tools list` is `HUB_HOME=DIR hub tools list`; an option behind the verb still wins.
        os.environ["HUB_HOME"] = home


def _help(words: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND]...")] = None) -> int:
    """As `hub COMMAND --help`."""
    return run([*(words or []), "--help"])


def main() -> NoReturn:
    """Run the command that the arguments name, and exit with its code (`hub.failure.EXIT_CODES`)."""
    # Pydantic would look through all that is installed for code to load into us: 25 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _close_stdout()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` name, and return its exit code."""
    before_dashes = arguments[: arguments.index("--")] if "--" in arguments else arguments
    failure: Failure | None
    try:
        app = application()
        _leave_out_others(app, arguments[:1])
        returned = app(arguments, prog_name="hub", standalone_mode=False)
        if returned != _INTERRUPTED:
            return returned if isinstance(returned, int) else 0
        failure = Failure("interrupted", "Interrupted.")
    except typer.TyperException as error:
        failure = _usage(error)
        if failure is None:
            return error.exit_code
    except (KeyboardInterrupt, typer.Abort):  # typer itself makes an exit code of most of them
        failure = Failure("interrupted", "Interrupted.")
    except BrokenPipeError:
        # Whoever read us has seen enough (`hub calls list | head`).
        _close_stdout()
        return 0
    except Exception as error:
        if os.environ.get("HUB_DEBUG"):
            raise
        failure = failure_of(error) or _unforeseen(error)
    sys.stdout.flush()
    print_failure(failure, as_json="--json" in before_dashes)
    return failure.exit_code


def _leave_out_others(app: typer.Typer, first: list[str]) -> None:
    """Where the arguments begin with a command's name, only that is made: making all takes 35 ms."""
    groups = [each for each in app.registered_groups if [each.name] == first]
    commands = [each for each in app.registered_commands if [_name(each)] == first]
    if groups or commands:
        app.registered_groups, app.registered_commands = groups, commands


def _name(command: typer.models.CommandInfo) -> str:
    return command.name or getattr(command.callback, "__name__", "").replace("_", "-")


def _usage(error: typer.TyperException) -> Failure | None:
    """What was typed wrong; `None` where there was nothing typed, and the help is the answer."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(error.format_message() + "\n")
        return None
    hint = f"`{context.command_path} --help` shows how." if context is not None else ""
    if context is not None and context.command_path == "hub add" and type(error).__name__ == "NoSuchOption":
        hint = "What a command takes stands behind --: `hub add NAME -- npx -y SERVER`."
    return Failure("usage", error.format_message(), hint)


def _unforeseen(error: Exception) -> Failure:
    # Not its words: nobody knows what they quote.
    name = type(error).__name__
    return Failure(
        "unexpected", f"Something failed in an unforeseen way: {name}.", "HUB_DEBUG=1 shows where."
    )


def _close_stdout() -> None:
    # Python would complain once more when it flushes at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
