"""A home whose server writes a line for each effect, and a hub on it that may be killed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.homes import Running, write
from tests.sources import ROOT

LEDGER = [sys.executable, str(ROOT / "tests" / "servers" / "ledger.py")]
STREAMS = {"accept": "application/json, text/event-stream"}


def furnish(folder: Path, *flags: str) -> Path:
    """A home with the server `ledger`, whose word on what only reads is trusted."""
    home = folder / "home"
    write(
        home,
        "ledger",
        server="ledger",
        trust="annotations",
        connect={"command": [*LEDGER, str(folder), *flags]},
    )
    write(home, "me", agent="me", may=["*"])
    return home


def lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


@contextmanager
def started(home: Path) -> Iterator[Running]:
    """A hub that is killed in the end, if nobody has done it before."""
    hub = Running(home, "--port", "0")
    try:
        yield hub
    finally:
        hub.end(signal.SIGKILL)
