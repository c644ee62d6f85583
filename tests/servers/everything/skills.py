"""The skills extension, `io.modelcontextprotocol/skills` (SEP-2640): one skill of two files."""

from __future__ import annotations

import hashlib
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PaginatedRequestParams, RequestParams, Resource

from tests.servers.everything.state import Context

DIRECTORY = "inode/directory"
MARKDOWN = "text/markdown"

ROOT = "skill://release-notes"
MANIFEST = f"{ROOT}/SKILL.md"
FRONTMATTER = {"name": "release-notes", "description": "Write release notes that people want to read."}

FILES = {
    MANIFEST: (
        "---\n"
        f"name: {FRONTMATTER['name']}\n"
        f"description: {FRONTMATTER['description']}\n"
        "---\n"
        "\n"
        "Say what changed for the reader, in the order of how much it matters. See references/tone.md.\n"
    ),
    f"{ROOT}/references/tone.md": "Plain words. No exclamation marks.\n",
}

CHILDREN = {
    ROOT: (
        {"uri": MANIFEST, "name": "SKILL.md", "mimeType": MARKDOWN},
        {"uri": f"{ROOT}/references", "name": "references", "mimeType": DIRECTORY},
    ),
    f"{ROOT}/references": ({"uri": f"{ROOT}/references/tone.md", "name": "tone.md", "mimeType": MARKDOWN},),
}

FRESHNESS = {"ttlMs": 60_000, "cacheScope": "public"}


class UriParams(RequestParams):
    """A request about one URI."""

    uri: str


async def list_skills(context: Context, params: PaginatedRequestParams) -> dict[str, Any]:
    """`skills/list`."""
    return {"skills": [_entry()], **FRESHNESS}


async def get_skill(context: Context, params: UriParams) -> dict[str, Any]:
    """`skills/get`. Raises MCPError -32602 for a skill that is not here."""
    if params.uri != MANIFEST:
        raise MCPError(code=INVALID_PARAMS, message="Unknown skill", data={"uri": params.uri})
    return {"skill": _entry(), **FRESHNESS}


async def read_directory(context: Context, params: UriParams) -> dict[str, Any]:
    """`resources/directory/read`. Raises MCPError -32602 for what is not a directory."""
    if params.uri not in CHILDREN:
        raise MCPError(code=INVALID_PARAMS, message="Not a directory", data={"uri": params.uri})
    return {"resources": list(CHILDREN[params.uri]), **FRESHNESS}


def skill_resources() -> list[Resource]:
    """What `resources/list` says of the skill: its manifest, under the skill's own name."""
    name, description = FRONTMATTER["name"], FRONTMATTER["description"]
    return [Resource(uri=MANIFEST, name=name, description=description, mime_type=MARKDOWN)]


def read_skill_file(uri: str) -> tuple[str, str] | None:
    """Text and media type of a file of the skill; None if it has no such file."""
    return (FILES[uri], MARKDOWN) if uri in FILES else None


def _entry() -> dict[str, Any]:
    resources = []
    for uri, body in FILES.items():
        raw = body.encode()
        resources.append(
            {"uri": uri, "digest": f"sha256:{hashlib.sha256(raw).hexdigest()}", "size": len(raw)}
        )
    return {"uri": MANIFEST, "frontmatter": FRONTMATTER, "resources": resources}
