"""What a token may be used for, where that is less than its agent may: written by a person, kept as text.

A scope is `may` and `never` as in an agent's manifest, and is read by the very code that reads one.
It only ever narrows: whoever asks puts the grants that it is within beneath it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hub.errors import InvalidParams, ManifestError

if TYPE_CHECKING:
    from hub.policy import Grants

__all__ = ["PATTERNS_MAX", "RULES_MAX", "SCOPE_BYTES_MAX", "grants", "readable", "shown", "written"]

RULES_MAX: Final = 64
PATTERNS_MAX: Final = 16
SCOPE_BYTES_MAX: Final = 16 * 1024

_FILE: Final = Path("the token's scope")
_ANYBODY: Final = "token"


def written(may: Sequence[str | dict[str, Any]] = (), never: Sequence[str] = ()) -> str | None:
    """The text of a scope, checked; `None` where nothing is narrowed.

    Args:
        may: Patterns, or whole rules as in a manifest, also as YAML (`{use: git__log, with: {...}}`).
        never: Patterns. Where these stand alone, all else stays as it is.

    Raises:
        InvalidParams: what is wrong with it.
    """
    if not may and not never:
        return None
    if len(may) + len(never) > RULES_MAX:
        raise InvalidParams(f"A token's scope has at most {RULES_MAX} rules")
    text = json.dumps({"may": [_rule(rule) for rule in may] if may else ["*"], "never": list(never)})
    if len(text) > SCOPE_BYTES_MAX:
        raise InvalidParams(f"A token's scope has at most {SCOPE_BYTES_MAX} bytes as JSON")
    try:
        _check_patterns(grants(text, within=None))
    except ManifestError as error:
        said = "; ".join(f"{problem.key}: {problem.message}" for problem in error.problems)
        raise InvalidParams(f"The token's scope cannot be used: {said}") from None
    return text


def _check_patterns(read: Grants) -> None:
    """Agents write scopes too, and they are made ready where calls are judged. Raises `InvalidParams`."""
    from hub.rules.schemas import is_small, patterns_of

    schemas = [schema for rule in read.may for schema in (rule.with_ or {}).values()]
    patterns = [pattern for schema in schemas for pattern in patterns_of(schema)]
    if len(patterns) > PATTERNS_MAX:
        raise InvalidParams(f"A token's scope has at most {PATTERNS_MAX} patterns for arguments")
    for pattern in patterns:
        if not is_small(pattern):
            raise InvalidParams(
                f"The token's scope cannot be used: the pattern {pattern!r:.80} is too large. Ask for a "
                "length with maxLength, not with a repetition."
            )


def grants(text: str, *, within: Grants | None, name: str = "token") -> Grants:
    """What a scope allows, within what else must allow it too.

    Args:
        name: As people are to be shown where a rule stands.

    Raises:
        ManifestError: it is not valid, in this version at least.
    """
    from hub.manifests.manifest import load_text

    read = load_text(_FILE, json.dumps({"agent": _ANYBODY, **json.loads(text)}))
    if read.problems:
        raise ManifestError(list(read.problems))
    return replace(read.agents[_ANYBODY].grants(), file=name, within=within)


def readable(found: Iterable[tuple[str, str]], *, within: Grants) -> list[Grants]:
    """Of `(token, scope)` those that this version understands."""
    read = []
    for token, text in found:
        with suppress(ManifestError):  # it allows nothing, so it limits nothing
            read.append(grants(text, within=within, name=f"token {token}"))
    return read


def shown(text: str | None) -> dict[str, Any]:
    """A scope as people are shown it; empty where nothing is narrowed."""
    found: dict[str, Any] = {} if text is None else json.loads(text)
    return found


def _rule(written: str | dict[str, Any]) -> Any:
    if isinstance(written, dict) or not written.lstrip().startswith("{"):
        return written
    from hub.manifests.text import parse

    try:
        return parse(_FILE, written).value
    except ManifestError as error:
        raise InvalidParams(f"A rule of the token's scope is no YAML: {error}") from None
