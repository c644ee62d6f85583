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

pytestmark = [pytest.mark.anyio, pytest.mark.conformance]

SCENARIOS = [
    ("metadata-default", "2026-07-28", 19),
    ("metadata-var1", "2026-07-28", 19),
    ("metadata-var2", "2026-07-28", 19),
    ("metadata-var3", "2026-07-28", 19),
    ("basic-cimd", "2026-07-28", 13),
    ("scope-from-www-authenticate", "2026-07-28", 15),
    ("scope-from-scopes-supported", "2026-07-28", 15),
    ("scope-omitted-when-undefined", "2026-07-28", 14),
    ("scope-step-up", "2026-07-28", 15),
    ("scope-retry-limit", "2026-07-28", 11),
    ("token-endpoint-auth-basic", "2025-11-25", 20),
    ("token-endpoint-auth-post", "2026-07-28", 19),
    ("token-endpoint-auth-none", "2026-07-28", 19),
    ("pre-registration", "2026-07-28", 13),
    ("2025-03-26-oauth-metadata-backcompat", "2025-03-26", 13),
    ("resource-mismatch", "2026-07-28", 2),
    ("offline-access-scope", "2026-07-28", 15),
    ("offline-access-not-supported", "2026-07-28", 15),
    ("authorization-server-migration", "2026-07-28", 30),
    ("iss-supported", "2026-07-28", 15),
    ("iss-not-advertised", "2026-07-28", 15),
    ("iss-supported-missing", "2026-07-28", 8),
    ("iss-wrong-issuer", "2026-07-28", 8),
    ("iss-unexpected", "2026-07-28", 8),
    ("iss-normalized", "2026-07-28", 8),
    ("metadata-issuer-mismatch", "2026-07-28", 1),
]
"""Scenario, revision, and how many checks pass at least."""

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
CHOSEN = [each for each in SCENARIOS if each[0] in ALWAYS or os.environ.get("HUB_CONFORMANCE") == "all"]

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
