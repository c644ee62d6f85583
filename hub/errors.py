"""Every way in which the hub itself refuses or fails.

    HubError                  anything the hub refuses or fails at
      + ManifestError         what was written cannot be used: file, line, key, why, the fix
      + HomeError             the hub's folder or port cannot be used: held by another hub, not writable
      + Unauthorized          no agent is proved by what was sent (401)
      + Refused               the call is not made
        - NotFound            no such entry, or none that this agent may know of: the same bytes
        - InvalidParams       the request cannot be understood (-32602)
        - Denied              granted, but not with these arguments or not now: says what is
        - Unapproved          a person has to approve it, and has not (yet)
        - TokenSpent          the calls that a token was made for are used up
        - OverLimit           more than what is allowed over time: what, how much, and when again
          * Repeated          the same call with the same result too often in a row
      + UpstreamError         the server behind an entry did not answer as it should
        - UpstreamDown        it is not connected: why, and when it is tried next
        - UpstreamTimeout     no answer in time; what it did is not known
        - UpstreamFailed      the connection broke, or what came was no answer
      + StoreError            the record cannot be written or read, so nothing is done
      + NoThread              the system gives this process no more threads

A tool's own failure is no HubError: it is a result, or a `connectors.RemoteError`, and passes untouched.
What an agent reads of an error is `str(error)`; it never says what that agent may not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "Denied",
    "HomeError",
    "HubError",
    "InvalidParams",
    "ManifestError",
    "NoThread",
    "NotCurrent",
    "NotFound",
    "OverLimit",
    "Problem",
    "Refused",
    "Repeated",
    "StoreError",
    "TokenSpent",
    "Unapproved",
    "Unauthorized",
    "UpstreamDown",
    "UpstreamError",
    "UpstreamFailed",
    "UpstreamTimeout",
]


class HubError(Exception):
    """The root. `str()` is a sentence without secrets."""

    reason = "hub_error"
    """A stable word for machines: in the error's `data`, in records, in `--json`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in what a person wrote. Prints as `file:line: key: what is wrong. The fix.`"""

    file: Path | None
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        where = "" if self.file is None else f"{self.file}:{self.line or 1}: "
        return f"{where}{self.key + ': ' if self.key else ''}{self.message}"


class ManifestError(HubError):
    reason = "manifest"

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class HomeError(HubError):
    reason = "home"


class Unauthorized(HubError):
    reason = "unauthorized"


class Refused(HubError):
    reason = "refused"

    rule: str | None = None
    """The id of the rule that decided, where one did: for the record, never for the agent."""


class NotFound(Refused):
    """`Unknown tool: x`, whether it does not exist or is not granted."""

    reason = "not_found"


class InvalidParams(Refused):
    reason = "invalid_params"


class Denied(Refused):
    """For the model to read: of a tool it goes out as the tool's own failure."""

    def __init__(self, message: str, reason: str) -> None:
        """
        Args:
            reason: `argument`, `when` or `quarantined`.
        """
        super().__init__(message)
        self.reason = reason


class Unapproved(Refused):
    """For the model to read: of a tool it goes out as the tool's own failure."""

    reason = "unapproved"

    def __init__(
        self, message: str, reason: str = "unapproved", about: Mapping[str, Any] | None = None
    ) -> None:
        """
        Args:
            reason: `pending`, `denied` or `unapproved`.
            about: What a program is told of the approval, in `_meta` or the error's `data`.
        """
        super().__init__(message)
        self.reason = reason
        self.about = about


class TokenSpent(Refused):
    reason = "token_spent"


class OverLimit(Refused):
    """Nothing was sent, and nothing counted."""

    reason = "limit"

    def __init__(self, message: str, *, retry_seconds: float, told: Mapping[str, object]) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds
        self.told = told
        """The same for machines: which limit, how much it is."""


class Repeated(OverLimit):
    reason = "repeat"


class UpstreamError(HubError):
    reason = "upstream"

    def __init__(self, message: str, *, sent: bool = False, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.sent = sent
        """Whether the request may have reached the server (then what it did is unknown)."""
        self.retry_seconds = retry_seconds
        """When it makes sense to ask again, where the hub knows."""


class UpstreamDown(UpstreamError):
    reason = "upstream_down"


class UpstreamTimeout(UpstreamError):
    reason = "upstream_timeout"


class UpstreamFailed(UpstreamError):
    reason = "upstream_failed"


class StoreError(HubError):
    reason = "store"


class StoreBusy(StoreError):
    """More waits to be written than may; nothing was done."""

    retry_seconds = 1.0


class NotCurrent(StoreError):
    """The database is not of this version's shape, or not made yet: the next hub's start mends it."""


class NoThread(HubError):
    reason = "threads"

    def __init__(self) -> None:
        super().__init__(
            "The system gives the hub no more threads, so this was not done. Try again; if it stays so, "
            "raise its limit of processes."
        )
