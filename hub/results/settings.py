"""What `hub.yaml` and manifests may say of long results: how many tokens an agent gets, and what is kept."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from hub import units

__all__ = ["DEFAULT", "RESULT_URI", "TOKENS_LEAST", "WHOLE", "ResultSettings", "limit", "settings"]

WHOLE: Final = "whole"
RESULT_URI: Final = "hub://results/"
"""What the URI of a stored result begins with."""
TOKENS_LEAST: Final = 1000
"""What stands for a long result may itself be half of that."""
_TOKENS_MAX: Final = 100_000_000


class ResultSettings(NamedTuple):
    tokens: int | None = 25_000
    """How many a result may have and still be given to its agent as it is; `None`: any number."""
    keep_seconds: float = 7 * 24 * 3600.0
    size_bytes: int = 512 * 1024**2
    """Of all results of one agent: the oldest give way."""


DEFAULT: Final = ResultSettings()


def limit(written: Any) -> Any:
    """A limit as it is written; raises `ValueError`."""
    if written == WHOLE:
        return WHOLE
    if (
        not isinstance(written, int)
        or isinstance(written, bool)
        or not TOKENS_LEAST <= written <= _TOKENS_MAX
    ):
        raise ValueError(
            f"must be a number of tokens from {TOKENS_LEAST} to {_TOKENS_MAX}, or whole. Write 25000."
        )
    return written


def settings(written: Any) -> ResultSettings:
    """Raises `ValueError`."""
    if not isinstance(written, dict):
        tokens = limit(written)
        return DEFAULT._replace(tokens=None if tokens == WHOLE else tokens)
    if any(key not in ("tokens", "keep", "size") for key in written):
        raise ValueError(
            "must be a number of tokens, whole, or a mapping of tokens, keep and size. "
            "Write {tokens: 25000, keep: 7d, size: 512MiB}."
        )
    found: dict[str, Any] = {}
    for key, value in written.items():
        try:
            if key == "tokens":
                tokens = limit(value)
                found["tokens"] = None if tokens == WHOLE else tokens
            elif key == "keep":
                found["keep_seconds"] = units.lifetime_seconds(value)
            else:
                found["size_bytes"] = units.size_bytes(value, least=1024**2)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return ResultSettings(**found)
