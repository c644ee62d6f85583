"""A server of ten lines that needs nothing installed: notes, kept as long as it runs.

`manifests/notes.yaml` names it. Copy it to start a server of your own.
"""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations

NOTES_MAX = 1000
TEXT_LENGTH_MAX = 10_000


def server() -> MCPServer:
    """A new server with no notes yet."""
    notes: dict[str, str] = {}
    made = MCPServer("notes", version="1.0.0", instructions="Keep short notes by name.")

    @made.tool(annotations=ToolAnnotations(read_only_hint=True))
    def list_notes() -> list[str]:
        """The names of all notes."""
        return sorted(notes)

    @made.tool(annotations=ToolAnnotations(read_only_hint=True))
    def read_note(name: str) -> str:
        """The text of one note."""
        if name not in notes:
            raise ToolError(f"There is no note {name!r}.")
        return notes[name]

    @made.tool(annotations=ToolAnnotations(idempotent_hint=True))
    def write_note(name: str, text: str) -> str:
        """Keep a note; one of the same name is replaced."""
        if len(text) > TEXT_LENGTH_MAX or (name not in notes and len(notes) >= NOTES_MAX):
            raise ToolError(f"At most {NOTES_MAX} notes of {TEXT_LENGTH_MAX} characters each.")
        notes[name] = text
        return f"Kept {name!r}."

    return made
