"""What the hub's own tools are called, and what a model reads of them. Data only.

Every agent that may use them pays for these words in each of its turns: all together they are at most
900 tokens (`tests/test_builtin.py`). So they are few, and each takes an `action`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from hub.catalog import Offer, View
from hub.model import Json

__all__ = [
    "ALL",
    "CONTEXT",
    "CONTEXT_PROMPT",
    "MEMORY",
    "READ",
    "SERVER",
    "SESSION",
    "TOKEN",
    "TOKENS_MAX",
    "Definition",
    "everything",
    "offer",
]

SERVER: Final = "hub"
"""The name of the server that they are of. A manifest cannot take it."""

TOKENS_MAX: Final = 900


class Definition(NamedTuple):
    definition: Json
    """As in a list of tools; `name` without the server's."""
    reads_only: bool = False


def _one_of(*names: str) -> Json:
    return {"type": "string", "enum": [*names]}


_TEXT: Final[Mapping[str, str]] = {"type": "string"}


SESSION: Final = Definition(
    {
        "name": "session",
        "title": "Session",
        "description": (
            "Sessions keep your work across connections and restarts. open (or go on with) or resume one by "
            "name; note a text, a goal or a pinned result or call id; close it; share keys or results with "
            "another agent."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "action": _one_of("open", "resume", "note", "close", "share"),
                "name": {"type": "string", "description": "of the session; else the current one"},
                "goal": _TEXT,
                "text": _TEXT,
                "pin": {"type": "string", "description": "id to keep in sight"},
                "with": {"type": "string", "description": "share: agent"},
                "keys": {"type": "array", "items": _TEXT, "description": "share: memory keys"},
                "results": {"type": "array", "items": _TEXT, "description": "share: ids"},
                "write": {"type": "boolean", "description": "share: may change the keys"},
            },
            "required": ["action"],
            "additionalProperties": False,
        },
    }
)

MEMORY: Final = Definition(
    {
        "name": "memory",
        "title": "Memory",
        "description": (
            "Keeps JSON values under keys: put, get, search (words; without a query the newest), forget. "
            "lease a key to be the only one who changes it for ttl; put with the fence that you got. "
            "Scopes: session (default), agent (all your sessions), shared (all agents)."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "action": _one_of("put", "get", "search", "forget", "lease", "release"),
                "key": _TEXT,
                "value": {},
                "scope": _one_of("session", "agent", "shared"),
                "query": _TEXT,
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
                "ttl": {"type": "string", "description": "30m, 12h, 7d"},
                "fence": {"type": "integer"},
                "of": {"type": "string", "description": "agent who shared the key with you"},
            },
            "required": ["action"],
            "additionalProperties": False,
        },
    }
)

CONTEXT: Final = Definition(
    {
        "name": "context",
        "title": "Context brief",
        "description": (
            "What this session is about and where it stands: goal, notes, open approvals and tasks, what was "
            "called and what came of it, pinned results, memory that fits the query. At most `tokens` long "
            "(bytes/4)."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "tokens": {"type": "integer", "minimum": 1, "maximum": 100_000, "default": 2000},
                "query": _TEXT,
            },
            "additionalProperties": False,
        },
    },
    reads_only=True,
)

READ: Final = Definition(
    {
        "name": "read",
        "title": "Read a stored result",
        "description": (
            "Reads a result that was too long to be given whole, a place at a time: `at` is a JSON Pointer; "
            "`from` and `count` take some of an array, an object or a text; `columns` some keys of an array "
            "of objects; `search` finds places. `next` in an answer is where to go on."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "id": _TEXT,
                "at": {"type": "string", "description": "/items/3/name"},
                "from": {"type": "integer", "minimum": 0},
                "count": {"type": "integer", "minimum": 1},
                "search": _TEXT,
                "columns": {"type": "array", "items": _TEXT, "description": "keys or pointers"},
                "tokens": {"type": "integer", "minimum": 200, "description": "at most; default 4000"},
            },
            "required": ["id"],
            "additionalProperties": False,
        },
    },
    reads_only=True,
)

TOKEN: Final = Definition(
    {
        "name": "token",
        "title": "Child token",
        "description": (
            "mint a token for a helper of yours that may do less than you: some tools (names or rules), a "
            "time, a number of calls. revoke one by id."
        ),
        "inputSchema": {
            "type": "object",
            "properties": {
                "action": _one_of("mint", "revoke"),
                "may": {"type": "array"},
                "never": {"type": "array", "items": _TEXT},
                "expires": {"type": "string", "description": "default 1h"},
                "calls": {"type": "integer", "minimum": 1},
                "id": _TEXT,
            },
            "required": ["action"],
            "additionalProperties": False,
        },
    }
)

ALL: Final[tuple[Definition, ...]] = (SESSION, MEMORY, CONTEXT, READ, TOKEN)


CONTEXT_PROMPT: Final[Json] = {
    "name": "context",
    "title": "Context brief",
    "description": "Where this session stands.",
    "arguments": [
        {"name": "tokens", "description": "at most; 2000 if left out"},
        {"name": "query", "description": "which kept values to bring along"},
    ],
}


def everything() -> Offer:
    """What a hub offers of its own, whether it runs or not."""
    return offer(ALL, prompts=(CONTEXT_PROMPT,))


def offer(tools: Iterable[Definition], templates: Iterable[Json] = (), prompts: Iterable[Json] = ()) -> Offer:
    """What the server `hub` offers."""
    return Offer(
        SERVER,
        View(trusted=True),
        {
            "tool": tuple(_hinted(each) for each in tools),
            "template": tuple(templates),
            "prompt": tuple(prompts),
        },
    )


def _hinted(tool: Definition) -> Json:
    return {**tool.definition, "annotations": {"readOnlyHint": True}} if tool.reads_only else tool.definition
