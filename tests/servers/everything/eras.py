"""What a request's client can do: its era, and the capabilities that it declared."""

from __future__ import annotations

from typing import Any

from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

TASKS = "io.modelcontextprotocol/tasks"
SKILLS = "io.modelcontextprotocol/skills"

CAPABILITY_OF = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


def is_modern(context: ServerRequestContext[Any, Any]) -> bool:
    """Whether this request came in the form of 2026-07-28 or later."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def may_ask(context: ServerRequestContext[Any, Any], method: str) -> bool:
    """Whether the client said that it can answer this kind of question."""
    capabilities = context.session.client_capabilities
    return capabilities is not None and getattr(capabilities, CAPABILITY_OF[method]) is not None


def declares_tasks(context: ServerRequestContext[Any, Any]) -> bool:
    """Whether this very request says that its client can handle a task."""
    capabilities = context.session.client_capabilities
    extensions = capabilities.extensions if capabilities is not None else None
    return is_modern(context) and TASKS in (extensions or {})


def require_tasks(context: ServerRequestContext[Any, Any]) -> None:
    """Refuse a client that does not declare the extension.

    Raises:
        MCPError: -32021, naming the extension.
    """
    if not declares_tasks(context):
        raise missing_capability({"extensions": {TASKS: {}}})


def missing_capability(required: dict[str, Any]) -> MCPError:
    """The refusal of a request that needs more than its client declared."""
    return MCPError(
        code=MISSING_REQUIRED_CLIENT_CAPABILITY,
        message="Missing required client capability",
        data={"requiredCapabilities": required},
    )
