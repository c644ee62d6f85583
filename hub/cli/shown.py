"""What tools, resources and prompts answered, as text for people."""

from __future__ import annotations

import json
from typing import Any

from hub.cli.output import print_json, print_text
from hub.counted import counted
from hub.failure import Failure

__all__ = ["print_prompt", "print_resource", "print_tool_result"]


def print_tool_result(result: dict[str, Any], *, as_json: bool) -> None:
    """Raises `Failure` after printing: the tool says that it failed."""
    failed = result.get("isError") is True
    texts = _texts(result.get("content"))
    if as_json:
        print_json(result)
    elif not failed:
        if texts:
            print_text("\n".join(texts))
        elif "structuredContent" in result:
            print_json(result["structuredContent"])
    if result.get("resultType") == "input_required":
        raise Failure(
            "pending",
            "The server asks for input before it goes on, which the command line cannot give.",
            "Call it from an agent whose client can answer, or with the answer among the arguments.",
        )
    if failed:
        raise Failure("tool_error", "\n".join(texts) or "The tool failed, and says no more.")


def print_resource(result: dict[str, Any]) -> None:
    contents = result.get("contents")
    for content in contents if isinstance(contents, list) else []:
        if isinstance(content, dict) and isinstance(content.get("text"), str):
            print_text(content["text"])
        else:
            print_text(_described(content))


def print_prompt(result: dict[str, Any]) -> None:
    messages = result.get("messages")
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            print_text(f"{message.get('role')}: " + "\n".join(_texts([message.get("content")])))


def _texts(content: Any) -> list[str]:
    return [
        block["text"]
        if isinstance(block, dict) and block.get("type") == "text" and isinstance(block.get("text"), str)
        else _described(block)
        for block in (content if isinstance(content, list) else [])
    ]


def _described(block: Any) -> str:
    """What is no text, in brackets."""
    if not isinstance(block, dict):
        return f"[{type(block).__name__}]"
    resource = block.get("resource")
    if isinstance(resource, dict) and isinstance(resource.get("text"), str):
        return f"[{resource.get('uri')}]\n{resource['text']}"
    data = block.get("data", block.get("blob"))
    if isinstance(data, str):
        what = f"{block.get('type', 'data')} {block.get('mimeType', '')}"
        return f"[{what}, {counted(len(data) * 3 // 4, 'byte')}; --json has it]"
    return "[" + json.dumps(block, ensure_ascii=False)[:500] + "]"
