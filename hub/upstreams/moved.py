"""Results of a server some of whose URIs are another server's too: they say the URI that agents know.

A URI that two servers offer belongs to the first by name; the other's is `hub+SERVER:URI`, in lists and
in whatever the server gives out. Servers without such a URI never come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.apps import with_pages_moved
from hub.model import Result

__all__ = ["outward"]


def outward(result: Result, moved: Mapping[str, str]) -> Result:
    """The result with each URI of `moved` (own -> known) replaced, where a result has URIs. Not in place."""
    changed = dict(with_pages_moved(result, moved))
    for key in ("contents", "content", "messages"):
        blocks = result.get(key)
        if isinstance(blocks, list):
            changed[key] = [_block(block, moved) for block in blocks]
    if "taskId" in result and isinstance(result.get("result"), dict):
        changed["result"] = outward(result["result"], moved)
    return changed


def _block(block: Any, moved: Mapping[str, str]) -> Any:
    """A block of content, a read resource, or a message of a prompt."""
    if not isinstance(block, dict):
        return block
    changed = dict(block)
    if isinstance(block.get("uri"), str):
        changed["uri"] = moved.get(block["uri"], block["uri"])
    for inner in ("resource", "content"):
        if isinstance(block.get(inner), dict):
            changed[inner] = _block(block[inner], moved)
    return changed
