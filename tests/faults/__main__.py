"""Run the fault table, or some of it.

    python -m tests.faults [--smoke] [--only R1,R14] [--others connected|anew|contextforge] [--write]

Exit status 1 where a promise of the hub did not hold. `--others`: the same scripts against a FastMCP proxy
(with one client for each server, or a new one for each call), or ContextForge; they have promised nothing.
`--write`: keep the figures in `results.json` and render `docs/reliability.md`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from tests.faults import results
from tests.faults.figures import Figures, Row, Scale
from tests.faults.others import OTHERS
from tests.faults.places import HUB, Start
from tests.faults.table import TABLE

__all__ = ["main", "tried"]


async def tried(row: Row, start: Start, scale: Scale) -> tuple[Figures, float]:
    """The figures of one row, and how many seconds it took. What fails unforeseen is a broken promise."""
    began = time.monotonic()
    with TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        try:
            found = await row.run(start, Path(folder), scale)
        except Exception as error:
            found = Figures()
            found.say(f"it could not be tried to its end: {_told(error)}", False)
    return found, time.monotonic() - began


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {str(error)[:300]}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--smoke", action="store_true", help="the small tier")
    parser.add_argument("--only", default="", help="rows, with commas between")
    parser.add_argument("--others", choices=list(OTHERS), help="against another one")
    parser.add_argument("--write", action="store_true", help="keep the figures, render the page")
    options = parser.parse_args(arguments)
    start, scale = (OTHERS[options.others] if options.others else HUB), Scale(options.smoke)
    wanted = options.only.split(",") if options.only else [row.id for row in TABLE]
    broken, began = 0, time.monotonic()
    for row in TABLE:
        if row.id not in wanted or (options.others and not row.others):
            continue
        found, seconds = anyio.run(tried, row, start, scale)
        lines = [f"{row.id:<4} {row.fault} ({seconds:.0f} s)", f"     promised: {row.promise}"]
        lines += [f"     {'BROKEN' if said in found.broken else '-'} {said}" for said in found.said]
        sys.stdout.write("\n".join([*lines, ""]))
        sys.stdout.flush()
        broken += bool(found.broken)
        if options.write:
            results.keep(row, start.word, scale, found, os.getloadavg()[0])
    sys.stdout.write(f"{time.monotonic() - began:.0f} s; {broken} rows with what did not hold\n")
    return 1 if broken and not options.others else 0


if __name__ == "__main__":
    sys.exit(main())
