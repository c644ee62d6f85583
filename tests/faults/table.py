"""All rows, in the order of the page."""

from __future__ import annotations

from tests.faults import (
    f01_fuzz,
    r01_server_killed,
    r02_hub_killed,
    r03_server_hangs,
    r04_server_garbage,
    r05_http_faults,
    r06_schema_changed,
    r07_disk_full,
    r08_database_locked,
    r09_operations_fail,
    r10_clock_jumps,
    r11_many_agents,
    r12_soak,
    r13_told_to_end,
    r14_overload,
    r15_noisy_agent,
    s01_simulation,
)

__all__ = ["TABLE"]

TABLE = (
    r01_server_killed.ROW,
    r02_hub_killed.ROW,
    r03_server_hangs.ROW,
    r04_server_garbage.ROW,
    r05_http_faults.ROW,
    r06_schema_changed.ROW,
    r07_disk_full.ROW,
    r08_database_locked.ROW,
    r09_operations_fail.ROW,
    r10_clock_jumps.ROW,
    r11_many_agents.ROW,
    r12_soak.ROW,
    r13_told_to_end.ROW,
    r14_overload.ROW,
    r15_noisy_agent.ROW,
    f01_fuzz.ROW,
    s01_simulation.ROW,
)
