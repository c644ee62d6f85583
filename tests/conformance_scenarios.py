"""Which scenarios of the official conformance suite for clients are about logins."""

from __future__ import annotations

LOGINS = [
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
