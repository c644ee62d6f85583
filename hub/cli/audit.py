"""`hub audit`: is the record what it was when it was written?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hub.cli.options import HomeOption, JsonOption, OutOption, home_at
from hub.cli.output import note, print_done, print_fields, print_json, print_text
from hub.counted import counted
from hub.failure import Failure

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Whether the record is what it was when it was written.")


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="An export. Left out: the hub's own record.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    first: Annotated[
        int | None, typer.Option("--from", metavar="SEQ", min=1, help="Only from this entry on.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="What must have signed it, as `hub audit key` prints it."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head", metavar="SEQ:HASH", help="An entry that was there once, from an older verify."
        ),
    ] = None,
) -> None:
    """Walk the chain and name the first entry or row that is not what it was. Exit code 1 if there is one."""
    from hub.audit.report import as_json as said_of
    from hub.audit.report import verified

    report = verified(home_at(home), file, first, key, head)
    said = said_of(report)
    if as_json:
        print_json(said)
    else:
        print_fields({**said, "broken": "none" if report.broken is None else report.broken.what})
    if report.broken is not None:
        raise Failure("audit", report.broken.message)
    if not as_json:
        note("Nothing was changed.")


@app.command()
def export(
    out: OutOption,
    home: HomeOption = None,
    as_json: JsonOption = False,
    since: Annotated[str | None, typer.Option("--since", metavar="7d", help="Not older than this.")] = None,
) -> None:
    """Write the chain, its checkpoints and its calls to a file that can be verified alone."""
    from hub.audit.report import exported

    count = exported(home_at(home), out, since)
    sentence = f"{out} has {counted(count, 'entry', 'entries')}. `hub audit verify {out}` verifies it."
    print_done({"file": str(out), "entries": count}, sentence, as_json)


@app.command("key")
def show_key(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Print the public key that the hub signs with: give it to whoever verifies."""
    from hub.audit.report import public_key

    key = public_key(home_at(home))
    if as_json:
        print_json({"key": key})
    else:
        print_text(key)
