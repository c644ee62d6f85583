"""What `hub.yaml` may say of the record: how long it is kept, and what is redacted besides the usual."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from hub import units

__all__ = ["FOR_EVER", "NO_OTHERS", "Redaction", "Retention", "redaction", "retention"]


class Retention(NamedTuple):
    """How long what is kept, in seconds; `None` for ever, or as what follows says."""

    calls: float | None = None
    payloads: float | None = None
    """Params, results and errors of calls that are kept."""
    sessions: float | None = None
    """Those of which no call is kept; left out: as `calls`."""
    approvals: float | None = None
    """Those of which nothing can become any longer; left out: as `calls`."""
    memory: float | None = None
    """What agents keep, since it was last put."""
    size: int | None = None
    """Bytes of all params, results and errors together: the oldest give way."""


class Redaction(NamedTuple):
    names: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


FOR_EVER: Final = Retention()
NO_OTHERS: Final = Redaction()


def retention(written: Any) -> Retention:
    """Raises `ValueError`."""
    mapping = _mapping(written, Retention._fields, "{calls: 90d, payloads: 30d}")
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        try:
            if key == "size":
                found[key] = units.size_bytes(value, least=1024**2, most=1024**4)
            else:
                found[key] = units.lifetime_seconds(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return Retention(**found)


def redaction(written: Any) -> Redaction:
    """Raises `ValueError`."""
    mapping = _mapping(written, Redaction._fields, "{names: [account number], patterns: ['CASE-[0-9]+']}")
    for key, value in mapping.items():
        if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
            raise ValueError(f"{key}: must be a list of texts. Write [first, second].")
    for pattern in mapping.get("patterns", ()):
        from hub.audit.redact import check_pattern

        try:
            check_pattern(pattern)
        except ValueError as error:
            raise ValueError(f"patterns: {pattern!r:.80} {error}") from None
    return Redaction(**{key: tuple(value) for key, value in mapping.items()})


def _mapping(written: Any, keys: tuple[str, ...], example: str) -> dict[str, Any]:
    if not isinstance(written, dict) or any(key not in keys for key in written):
        raise ValueError(f"must be a mapping with {', '.join(keys)}, or some of them. Write {example}.")
    return written
