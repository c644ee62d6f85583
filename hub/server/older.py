"""What a server's result says that an older version of the protocol has no word for, said in its words.

A client of such a version checks what it is told, and drops the whole result for one wrong value. Only
what would fail is touched; kinds of content that no version knows pass as they are, since the hub
cannot tell what they mean.

Source: specification 2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25: server/tools, server/prompts.
"""

from __future__ import annotations

from typing import Any, Final

from connectors.jsonrpc import encode
from hub.model import Json, Result

__all__ = ["in_words_of"]

_LINKS_SINCE: Final = "2025-06-18"
_AUDIO_SINCE: Final = "2025-03-26"


def in_words_of(version: str, result: Result, method: str) -> Result:
    """The result as a client of a legacy `version` can read it. Not in place.

    A `structuredContent` that is no object is left out, as the older schema wants; where nothing else
    says it, it becomes text. A link is text before 2025-06-18, and audio a note before 2025-03-26.
    """
    if method == "tools/call":
        result = _tool_result(result)
    if version >= _LINKS_SINCE:
        return result
    if method == "tools/call" and isinstance(result.get("content"), list):
        return {**result, "content": [_block(block, version) for block in result["content"]]}
    if method == "prompts/get" and isinstance(result.get("messages"), list):
        return {**result, "messages": [_message(message, version) for message in result["messages"]]}
    return result


def _tool_result(result: Result) -> Result:
    structured = result.get("structuredContent", _EMPTY)
    if type(structured) is dict:
        return result
    shown = {key: value for key, value in result.items() if key != "structuredContent"}
    content = result.get("content", [])
    if structured is not None and type(content) is list and not any(map(_is_text, content)):
        shown["content"] = [*content, {"type": "text", "text": encode(structured).decode()}]
    return shown


_EMPTY: Final[Json] = {}


def _is_text(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "text"


def _message(message: Any, version: str) -> Any:
    if not isinstance(message, dict) or "content" not in message:
        return message
    return {**message, "content": _block(message["content"], version)}


def _block(block: Any, version: str) -> Any:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "resource_link":
        words = (block.get(key) for key in ("title", "name", "description", "uri"))
        text = "\n".join(dict.fromkeys(word for word in words if isinstance(word, str)))
    elif kind == "audio" and version < _AUDIO_SINCE:
        text = f"(audio, {block.get('mimeType')}: this client's protocol version has none)"
    else:
        return block
    # Annotations and `_meta` hold for the text as they did for what it stands for.
    kept = {key: block[key] for key in ("annotations", "_meta") if key in block}
    return {"type": "text", "text": text, **kept}
