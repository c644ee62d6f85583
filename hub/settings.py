"""Settings of one hub: a table, its defaults, and `hub.yaml`, which need not exist.

A setting is a promise to keep for ever: one is added when two users need different values.
What is about one server or one agent is in its manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from hub import units
from hub.audit import settings as audit_settings
from hub.errors import ManifestError, Problem
from hub.identity import issuer_settings
from hub.results import settings as result_settings

__all__ = ["TABLE", "Row", "Settings", "load"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The values that count. `TABLE` says what each is."""

    host: str = "127.0.0.1"
    port: int = 8420
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    synchronous: Literal["normal", "full"] = "normal"
    starts_at_once: int = 4
    record_bytes_max: int = 64 * 1024
    session_idle: float = 30 * 60.0
    """Seconds."""
    message_bytes_max: int = 4 * 1024**2
    large_bytes_max: int = 64 * 1024**2
    grace: float = 5.0
    """Seconds."""
    approval_wait: float = 25.0
    """Seconds, as are the next two."""
    approval_pending: float = 3600.0
    approval_use: float = 600.0
    secrets_command: tuple[str, ...] = ()
    """Prints the value of the secret `{name}`."""
    oauth: issuer_settings.OAuth | None = None
    client_id: str | None = None
    """The URL of the hub's client metadata document."""
    retention: audit_settings.Retention = audit_settings.FOR_EVER
    redact: audit_settings.Redaction = audit_settings.NO_OTHERS
    results: result_settings.ResultSettings = result_settings.DEFAULT


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, as `hub.yaml` and people know it."""

    key: str
    default: str
    unit: str
    read: Callable[[Any], Any]
    """From what was written to the value. Raises `ValueError` with a sentence."""
    help: str
    field_name: str = ""

    @property
    def field(self) -> str:
        """The field of `Settings`: named like the key, but for units."""
        return self.field_name or self.key


def _text(written: Any) -> str:
    if not isinstance(written, str) or not written:
        raise ValueError("must be text. Write it in quotes.")
    return written


def _texts(written: Any) -> tuple[str, ...]:
    if not isinstance(written, list) or not all(isinstance(item, str) and item for item in written):
        raise ValueError("must be a list of texts. Write [first, second].")
    return tuple(written)


def _synchronous(written: Any) -> str:
    if written not in ("normal", "full"):
        raise ValueError("must be normal or full.")
    return str(written)


def _secrets(written: Any) -> tuple[str, ...]:
    if written == {}:
        return ()
    if not isinstance(written, dict) or list(written) != ["command"]:
        raise ValueError('must name a command. Write {command: [pass, show, "{name}"]}.')
    command = written["command"]
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise ValueError('command: must be a list of texts. Write [pass, show, "{name}"].')
    if not any("{name}" in part for part in command[1:]):
        raise ValueError('command: no argument of it has {name}. Write [pass, show, "{name}"].')
    return tuple(command)


def _document(written: Any) -> str | None:
    """As the specification wants a client's metadata: https, with a path. `none`: there is none."""
    if written in (None, "none"):
        return None
    parts = urlsplit(written) if isinstance(written, str) else urlsplit("")
    if parts.scheme != "https" or not parts.netloc or parts.path in ("", "/") or parts.fragment:
        raise ValueError("must be a URL with a path. Write https://hub.example.com/client.json.")
    return str(written)


def _integer(least: int, most: int) -> Callable[[Any], int]:
    def read(written: Any) -> int:
        if not isinstance(written, int) or isinstance(written, bool) or not least <= written <= most:
            raise ValueError(f"must be a whole number from {least} to {most}.")
        return written

    return read


def _size(least: int) -> Callable[[Any], int]:
    return lambda written: units.size_bytes(written, least=least)


TABLE: Final[tuple[Row, ...]] = (
    Row("host", "127.0.0.1", "address", _text, "Where agents connect; any other is open to your network."),
    Row("port", "8420", "port", _integer(0, 65535), "Where agents connect; 0 takes any that is free."),
    Row("allowed_hosts", "[]", "names", _texts, "Further names that the hub may be called by (Host)."),
    Row("allowed_origins", "[]", "origins", _texts, "Web pages that may call the hub (Origin)."),
    Row("synchronous", "normal", "normal, full", _synchronous, "full: records survive a power cut; slower."),
    Row("starts_at_once", "4", "servers", _integer(1, 64), "How many may be starting at once."),
    Row(
        "record",
        "64KiB",
        "size",
        _size(1),
        "How much is kept of params and result.",
        "record_bytes_max",
    ),
    Row("session_idle", "30m", "duration", units.seconds, "When an unused session is closed."),
    Row("message", "4MiB", "size", _size(1024), "The largest request from an agent.", "message_bytes_max"),
    Row(
        "large",
        "64MiB",
        "size",
        _size(1024**2),
        "How much of large results is worked on at once.",
        "large_bytes_max",
    ),
    Row("grace", "5s", "duration", units.seconds, "How long calls may go on when the hub stops."),
    Row("approval_wait", "25s", "duration", units.seconds, "How long a call is held for a person's word."),
    Row("approval_pending", "1h", "duration", units.seconds, "How long a person has to approve a call."),
    Row("approval_use", "10m", "duration", units.seconds, "How long an approved call may be made."),
    Row("secrets", "{}", "command", _secrets, "What prints a secret `{name}`.", "secrets_command"),
    Row("oauth", "none", "issuers", issuer_settings.read, "Whose tokens count besides the hub's own."),
    Row("client_id", "none", "URL", _document, "Of the document that says who logs in for the hub."),
    Row("retention", "{}", "durations", audit_settings.retention, "How long what is kept, and how much."),
    Row("redact", "{}", "names, patterns", audit_settings.redaction, "Further secrets in what is recorded."),
    Row("results", "25000", "tokens, whole", result_settings.settings, "From when on results are handles."),
)


def load(file: Path, **given: Any) -> Settings:
    """What `file` says, over the defaults; what is given here counts before both.

    Args:
        given: By the names of `Settings`' fields, as values (seconds, bytes).

    Raises:
        ManifestError: the file says what cannot be used, with each line and the fix.
    """
    written = _written(file) if file.exists() else {}
    return replace(Settings(), **{**written, **given})


def _written(file: Path) -> Mapping[str, Any]:
    # Imported here: most hubs have no such file, and pay for no parser.
    from hub.manifests.text import read
    from hub.nearest import did_you_mean

    document = read(file)
    if document.value is None:
        return {}
    if not isinstance(document.value, dict):
        raise ManifestError([document.problem((), "is not a mapping. Write one 'setting: value' a line.")])
    rows = {row.key: row for row in TABLE}
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in document.value.items():
        if key not in rows:
            problems.append(document.problem((key,), f"is not known here. {did_you_mean(key, list(rows))}"))
            continue
        try:
            found[rows[key].field] = rows[key].read(value)
        except ValueError as error:
            problems.append(document.problem((key,), str(error)))
    if problems:
        raise ManifestError(problems)
    return found
