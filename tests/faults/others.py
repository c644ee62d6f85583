"""What is tried beside the hub, by the word that the command line knows it by, and their versions."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import fastmcp
from tests.faults import contextforge
from tests.faults.places import FASTMCP, Start

__all__ = ["OTHERS", "versions"]

OTHERS: Mapping[str, Start] = {**FASTMCP, "contextforge": contextforge.ContextForge()}


def versions() -> dict[str, str]:
    """Those that are installed here."""
    environments = (fastmcp.ENVIRONMENT, contextforge.ENVIRONMENT)
    return {each.name: each.version() for each in environments if each.folder.exists()}
