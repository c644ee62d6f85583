"""What a tool of this server is: its definition, its work, and how it gets at the call."""

from __future__ import annotations

import json
import warnings
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import CallToolResult, ContentBlock, TextContent, Tool

from tests.servers.everything.asking import Asker, dump
from tests.servers.everything.samples import object_schema
from tests.servers.everything.state import Context


@dataclass(frozen=True)
class Use:
    """One call of a tool."""

    context: Context
    arguments: dict[str, Any]
    ask: Asker

    async def log(self, message: str) -> None:
        """Send a log message at level info on this call's stream, where the client wants that."""
        with warnings.catch_warnings():
            # Deprecated in the modern era, still what the legacy one asks for. Calling warns, not awaiting.
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            sending = self.context.session.send_log_message(
                "info", message, logger="everything", related_request_id=self.context.request_id
            )
        await sending

    async def report(self, done: float, total: float = 100) -> None:
        """Report progress, where the client gave a token."""
        await self.context.session.report_progress(done, total, f"{done:g} of {total:g}")


Work = Callable[[Use], Awaitable[CallToolResult]]
Preparation = Callable[[Use], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class OfferedTool:
    """A tool, and what it does.

    `task`: whether it may, must or never runs as a task. `prepare` asks what has to be asked before
    the task begins; what it returns is added to the arguments.
    """

    tool: Tool
    work: Work
    task: Literal["never", "optional", "required"] = "never"
    prepare: Preparation | None = None


def offer(
    name: str,
    description: str,
    work: Work,
    schema: dict[str, Any] | None = None,
    *,
    task: Literal["never", "optional", "required"] = "never",
    prepare: Preparation | None = None,
) -> OfferedTool:
    """A tool with this input schema; without one it takes no arguments."""
    tool = Tool(name=name, description=description, input_schema=schema or object_schema())
    return OfferedTool(tool, work, task, prepare)


def text(*lines: str) -> CallToolResult:
    """A result of text."""
    return content(*(TextContent(text=line) for line in lines))


def content(*blocks: ContentBlock) -> CallToolResult:
    """A result of these blocks."""
    return CallToolResult(content=list(blocks))


def failed(message: str) -> CallToolResult:
    """A result that says that the tool failed."""
    return CallToolResult(content=[TextContent(text=message)], is_error=True)


def as_json(value: Any) -> str:
    """A model or a plain value as compact JSON."""
    return json.dumps(dump(value), separators=(",", ":"))
