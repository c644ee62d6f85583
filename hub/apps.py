"""MCP Apps: what a tool's definition says of the page that shows its results. Pure.

A tool names the page, a `ui://` resource of its own server, in `_meta.ui.resourceUri`; servers may leave
such a resource out of their list. A page calls the tools of its own server, by the names that they have
there: it knows of no hub between.

Source: SEP-1865, the extension `io.modelcontextprotocol/ui`, "Resource Discovery".
"""

from __future__ import annotations

from collections.abc import Mapping

from hub.model import Json

__all__ = ["is_for_pages", "page_uri", "with_pages_moved"]

_FLAT = "ui/resourceUri"
"""As drafts of the extension had it; still in use."""


def page_uri(definition: Json) -> str | None:
    """The URI, at its server, of the page that shows the results of a tool."""
    meta = definition.get("_meta")
    if not isinstance(meta, dict):
        return None
    ui = meta.get("ui")
    uri = ui.get("resourceUri") if isinstance(ui, dict) else None
    uri = meta.get(_FLAT) if uri is None else uri
    return uri if isinstance(uri, str) and uri.startswith("ui://") else None


def is_for_pages(definition: Json) -> bool:
    """Whether pages of the tool's server may call it: all but those that say otherwise."""
    meta = definition.get("_meta")
    ui = meta.get("ui") if isinstance(meta, dict) else None
    visibility = ui.get("visibility") if isinstance(ui, dict) else None
    return not isinstance(visibility, list) or "app" in visibility


def with_pages_moved(whole: Json, moved: Mapping[str, str]) -> Json:
    """A definition or result whose `_meta` names pages by the URIs that agents know. Not in place.

    Args:
        moved: A server's own URIs, and which agents know instead.
    """
    meta = whole.get("_meta")
    if not isinstance(meta, dict):
        return whole
    changed = dict(meta)
    ui = meta.get("ui")
    if isinstance(ui, dict) and isinstance(ui.get("resourceUri"), str):
        changed["ui"] = {**ui, "resourceUri": moved.get(ui["resourceUri"], ui["resourceUri"])}
    if isinstance(meta.get(_FLAT), str):
        changed[_FLAT] = moved.get(meta[_FLAT], meta[_FLAT])
    return {**whole, "_meta": changed}
