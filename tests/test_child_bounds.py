"""What a server's process may have of its own: memory and open files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from connectors.children import NO_BOUNDS, Bounds, Children
from tests.faults.places import WORKER
from tests.homes import done, running, write

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of another process need Linux"),
]

GREEDY = "import sys; sys.stdin.readline(); x = bytearray(200_000_000); print(len(x), flush=True)"
MANY = (
    "import sys; sys.stdin.readline(); x = [open('/dev/null') for _ in range(100)]; print(len(x), flush=True)"
)


async def words_of(script: str, bounds: Bounds) -> str:
    """All that a program says which waits for a line and then takes what it can."""
    said: list[str] = []
    hear: Callable[[bytes], None] = lambda data: said.append(data.decode())  # noqa: E731
    ended = anyio.Event()
    async with Children() as children:
        child = await children.start(
            [sys.executable, "-c", script],
            env={"PATH": "/usr/bin:/bin"},
            cwd=Path("/"),
            on_stdout=hear,
            on_stderr=said.append,
            on_end=lambda sentence: ended.set(),
            bounds=bounds,
        )
        child.write(b"go\n")
        with anyio.fail_after(20):
            await ended.wait()
    return "".join(said)


async def test_a_process_gets_the_memory_that_it_may_have_and_no_more() -> None:
    assert "MemoryError" in await words_of(GREEDY, Bounds(memory_bytes=128 * 1024**2))
    assert "200000000" in await words_of(GREEDY, NO_BOUNDS)


async def test_a_process_opens_as_many_files_as_it_may_and_no_more() -> None:
    assert "Too many open files" in await words_of(MANY, Bounds(files=32))
    assert "100" in await words_of(MANY, Bounds(files=200))


async def test_limits_of_a_manifest_count_for_its_server(tmp_path: Path) -> None:
    """`/proc` says what the process has been given."""
    limits = {"memory": "100MiB", "files": 64}
    write(tmp_path, "bound", server="bound", limits=limits, connect={"command": WORKER})
    write(tmp_path, "me", agent="me", may=["*"])
    with running(tmp_path) as hub:
        hub.until("bound: ready")
        pid = int(done(tmp_path, "call", "bound__pid").out.split()[-1])
        given = Path(f"/proc/{pid}/limits").read_text()
    rows = {line[:26].strip(): line[26:].split()[:2] for line in given.splitlines()}
    assert rows["Max data size"] == [str(100 * 1024**2)] * 2
    assert rows["Max open files"] == ["64", "64"]
