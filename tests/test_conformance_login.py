"""The official conformance suite for clients of authorization servers: `hub login`, and what comes of it.

`tests/conformance_login.py` is the program that the suite starts. What must be refused is judged too: where
its authorization server lies, the suite wants a login that does not come about (threat T13). Those are always
run; with HUB_CONFORMANCE=all the others as well, which take two minutes.
"""

from __future__ import annotations

import os
import sys

import pytest

from tests.conformance import Suite, run_client_scenario, table
from tests.conformance_scenarios import LOGINS

pytestmark = [pytest.mark.anyio, pytest.mark.conformance]

ALWAYS = frozenset(
    {
        "authorization-server-migration",
        "iss-supported-missing",
        "iss-wrong-issuer",
        "metadata-issuer-mismatch",
        "resource-mismatch",
        "scope-step-up",
    }
)
CHOSEN = [each for each in LOGINS if each[0] in ALWAYS or os.environ.get("HUB_CONFORMANCE") == "all"]

CLIENT = f"{sys.executable} -m tests.conformance_login"


@pytest.mark.parametrize(("scenario", "revision", "fewest"), CHOSEN)
async def test_t13_the_hub_is_a_conformant_client_of_authorization_servers(
    suite: Suite, scenario: str, revision: str, fewest: int
) -> None:
    """The specification, as the suite's authors read it."""
    outcome = await run_client_scenario(suite, f"auth/{scenario}", revision, CLIENT)
    report = f"{table([outcome])}{outcome.said}"
    sys.stdout.write(report)
    assert not outcome.failures, report
    assert not outcome.warnings, report
    assert outcome.count("SUCCESS") >= fewest, report
