"""The fault table: one script for each fault, run against a real hub with real servers, from outside.

    python -m tests.faults [--smoke] [--only R1,R14] [--others connected|anew] [--write]

Each prints its figures beside the marks and fails where a promise is broken. The same scripts run, where
they apply unchanged, against a FastMCP proxy. `docs/reliability.md` is rendered from `results.json`.
"""
