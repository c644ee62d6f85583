"""The official conformance suite for clients: the hub is the client; what reaches the server is judged.

`tests/conformance_client.py` is the program that the suite starts. A scenario runs in each revision that it
knows and the hub speaks.
"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conformance import Suite, run_client_scenario, table
from tests.conformance_scenarios import LOGINS

pytestmark = [pytest.mark.anyio, pytest.mark.conformance]

SCENARIOS = [
    ("initialize", "2025-06-18", 1),
    ("initialize", "2025-11-25", 1),
    ("tools_call", "2025-06-18", 1),
    ("tools_call", "2025-11-25", 1),
    ("tools_call", "2026-07-28", 2),
    ("elicitation-sep1034-client-defaults", "2025-11-25", 5),
    ("sse-retry", "2025-11-25", 3),
    ("request-metadata", "2026-07-28", 5),
    ("http-standard-headers", "2026-07-28", 10),
    ("http-custom-headers", "2026-07-28", 18),
    ("http-invalid-tool-headers", "2026-07-28", 12),
    ("json-schema-ref-no-deref", "2026-07-28", 1),
    ("json-schema-2020-12-preservation", "2025-11-25", 3),
    ("json-schema-2020-12-preservation", "2026-07-28", 6),
    ("sep-2322-client-request-state", "2026-07-28", 5),
]
"""Scenario, revision, and how many checks pass at least."""

NOT_APPLICABLE = {
    "auth/2025-03-26-oauth-endpoint-fallback": "without metadata nobody says that PKCE is supported",
    "auth/client-credentials-jwt": "of an extension; a client proves itself by a secret",
    "auth/client-credentials-basic": "of an extension; tests/test_logins_apart.py has it",
    "auth/dpop": "of an extension",
    "auth/enterprise-managed-authorization": "of an extension",
    "auth/wif-jwt-bearer": "of an extension",
    "sep-2640-": "a host's matter: the hub passes skills on and uses none itself",
}
"""How the name of a scenario begins -> why it does not apply."""

CLIENT = f"{sys.executable} -m tests.conformance_client"


@pytest.mark.parametrize(("scenario", "revision", "fewest"), SCENARIOS)
async def test_the_hub_is_a_conformant_client(
    suite: Suite, scenario: str, revision: str, fewest: int
) -> None:
    """The specification, as the suite's authors read it."""
    outcome = await run_client_scenario(suite, scenario, revision, CLIENT)
    report = f"{table([outcome])}{outcome.said}"
    sys.stdout.write(report)
    assert not outcome.failures, report
    assert not outcome.warnings, report
    assert outcome.count("SUCCESS") >= fewest, report


def test_each_scenario_of_the_suite_runs_or_has_a_reason_not_to(suite: Suite) -> None:
    """A new version of the suite brings new scenarios: they must not be left out by oversight."""
    listed = subprocess.run(
        [*suite.command, "list"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    clients = listed.partition("Client scenarios")[2].partition("Authorization server scenarios")[0]
    names = re.findall(r"^  - (\S+)", clients, re.MULTILINE)
    run = {scenario for scenario, _, _ in SCENARIOS}
    run |= {f"auth/{scenario}" for scenario, _, _ in LOGINS}
    assert len(names) > 40
    assert [name for name in names if name not in run and not name.startswith(tuple(NOT_APPLICABLE))] == []
