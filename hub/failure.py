"""What went wrong, as a person or a script gets it: a stable word, a sentence, the fix.

The admin plane answers with it and the command line prints it, so both say the same. Agents never
see it: `hub/server/` has its own words for them. Light: imported before anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hub.errors import HubError, Refused

__all__ = ["EXIT_CODES", "Failure", "failure_of"]

EXIT_CODES: Final[Mapping[str, int]] = {
    "unexpected": 1,
    "home": 1,
    "store": 1,
    "audit": 1,
    "usage": 2,
    "manifest": 2,
    "invalid_params": 2,
    "unauthorized": 3,
    "upstream": 4,
    "upstream_down": 4,
    "upstream_timeout": 4,
    "upstream_failed": 4,
    "not_found": 5,
    "tool_error": 5,
    "server_error": 5,
    "denied": 6,
    "quarantined": 6,
    "unapproved": 6,
    "pending": 7,
    "interrupted": 130,
}
"""By word. The numbers that MCP Inspector also has (0 to 5) mean the same there."""


class Failure(Exception):
    """Why an operation for a person was not done.

    Args:
        code: One of `EXIT_CODES`; another hub's newer word counts as `unexpected`.
        message: A sentence without secrets.
        hint: What to do about it; empty where the message already says so.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    @property
    def exit_code(self) -> int:
        return EXIT_CODES.get(self.code, 1)

    def as_json(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


def failure_of(error: BaseException) -> Failure | None:
    """What to tell a person of `error`; `None` for one that nobody foresaw."""
    from connectors.base import ConfigError, LinkError, RemoteError

    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, Failure):
        return error
    if isinstance(error, HubError):
        other = "denied" if isinstance(error, Refused) else "unexpected"
        return Failure(error.reason if error.reason in EXIT_CODES else other, str(error))
    if isinstance(error, RemoteError):
        return Failure("server_error", f"The server answered with error {error.code}: {error.message}")
    if isinstance(error, ConfigError | LinkError):
        return Failure("upstream_down", str(error))
    return None
