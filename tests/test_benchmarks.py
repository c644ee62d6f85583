"""The benchmarks: their tables are what was measured, a missed mark says so, and what they count is true."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gateways, load
from benchmarks.__main__ import MEASURES, guard
from benchmarks.marks import marks
from benchmarks.processes import Failed, cpu_seconds
from benchmarks.render import DOCUMENTS, missing, rendered
from tests.sources import ROOT

RESULTS: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results.json").read_text("utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.parent.name)
def test_the_tables_are_what_the_last_full_run_measured(document: Path) -> None:
    text = document.read_text("utf-8")
    assert "<!-- measured: gateways -->" in text
    assert rendered(text, RESULTS) == text, "run `make bench`, which writes results.json and the tables"


def test_the_last_full_run_took_every_measure() -> None:
    assert [name for name in MEASURES if name not in RESULTS] == []
    assert RESULTS["failed"] == []


def test_a_figure_that_misses_its_mark_is_told_as_missed() -> None:
    results = copy.deepcopy(RESULTS)
    results["memory"]["idle_mib"] = 70
    assert {row.measure: row.holds for row in marks(results)}["RSS idle, MiB"] is True
    results["memory"]["idle_mib"] = 70.1
    assert {row.measure: row.holds for row in marks(results)}["RSS idle, MiB"] is False


def test_both_eras_must_hold_a_mark() -> None:
    results = copy.deepcopy(RESULTS)
    results["upstream"] = {
        "per_call_modern": 1,
        "per_list_modern": 0,
        "per_call_legacy": 1.01,
        "per_list_legacy": 0,
    }
    held = {row.measure: row.holds for row in marks(results)}
    assert held["requests upstream, a call (2026, 2025)"] is False
    assert held["requests upstream, a list (2026, 2025)"] is True


def test_without_nginx_lists_are_held_against_nothing_and_it_is_said() -> None:
    results = copy.deepcopy(RESULTS)
    results["lists"]["figures"].pop("nginx", None)
    results["lists"]["not_measured"] = ["nginx: nginx is not installed"]
    rows = [row for row in marks(results) if row.measure.startswith("list of")]
    assert len(rows) == 4
    assert all(row.holds is None and "not here" in row.mark for row in rows)
    assert "nginx: nginx is not installed" in missing(results)


def test_the_guard_reports_and_is_silent_about_what_was_not_counted() -> None:
    assert "times the forwarder's" in guard(RESULTS)
    assert (
        guard({"calls": {"rows": {}}, "instructions": {"not_measured": ["valgrind is not installed"]}}) == ""
    )


@pytest.mark.skipif(sys.platform != "linux", reason="CPU time is read from /proc")
def test_cpu_time_is_that_of_the_whole_family_or_of_one_process_alone() -> None:
    spin = "import time\nwhile time.process_time() < 0.2: pass\n"
    outer = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {spin!r}])\nprint(1, flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{outer}input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ},
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == b"1\n"
        family, alone = cpu_seconds(process.pid), cpu_seconds(process.pid, alone=True)
        process.stdin.write(b"\n")
    assert family is not None and alone is not None
    assert family - alone >= 0.15  # What has ended is counted in hundredths.


@pytest.mark.anyio
async def test_the_load_gets_the_servers_answers_through_the_forwarder_and_refuses_others(
    tmp_path: Path,
) -> None:
    async with gateways.echo(tmp_path) as echo, gateways.forwarder(echo.port, tmp_path) as between:
        target = await load.connect(between.port, "modern", between.headers)
        assert (await load.run(target, concurrency=2, calls=10)).calls_per_second > 0
        wrong = await load.connect(between.port, "modern", between.headers, expected="something else")
        with pytest.raises(ExceptionGroup) as caught:
            await load.run(wrong, concurrency=1, calls=2)
        assert "a wrong answer" in str(caught.value.exceptions[0])


@pytest.mark.anyio
async def test_what_is_not_installed_is_no_figure_but_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(Failed, match="nginx is not installed"):
        async with gateways.nginx(1, tmp_path):
            raise AssertionError
