"""The two protocol versions that are measured, and what each wants of a request."""

from __future__ import annotations

from typing import Any, Literal

__all__ = ["LEGACY", "MODERN", "Era", "headers_of", "meta_of"]

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
Era = Literal["modern", "legacy"]

CLIENT = {"name": "benchmark", "version": "1.0.0"}


def headers_of(era: Era, method: str, name: str | None = None) -> dict[str, str]:
    if era == "legacy":
        return {} if method == "initialize" else {"MCP-Protocol-Version": LEGACY}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    return headers if name is None else {**headers, "Mcp-Name": name}


def meta_of(era: Era) -> dict[str, Any]:
    """What goes into `params` beside the method's own keys."""
    if era == "legacy":
        return {}
    prefix = "io.modelcontextprotocol/"
    return {
        "_meta": {
            f"{prefix}protocolVersion": MODERN,
            f"{prefix}clientInfo": CLIENT,
            f"{prefix}clientCapabilities": {},
        }
    }
