"""What a 401 or 403 says about the token that it wants: its Bearer challenge. Pure.

Source: RFC 6750, 3; RFC 9110, 11.6.1; RFC 9728, 5.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from connectors.http_response import Response

__all__ = ["Challenge", "challenge_of", "scopes_of"]

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
_SCOPES_MAX: Final = 100
_LENGTH_MAX: Final = 4096
_parameter = re.compile(r'([a-zA-Z_]{1,40})\s{0,4}=\s{0,4}(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_quoted = re.compile(r'"(?:[^"\\]|\\.)*"')
_bearer = re.compile(r"(?i)(?:^|,)\s*bearer(?=[\s,]|$)")
_next_scheme = re.compile(r"(?i),\s{0,4}[a-z][a-z0-9-]{0,40}\s{1,4}[a-z_]{1,40}\s{0,4}=")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a 401 or 403 says about the token that it wants."""

    metadata: str | None = None
    scopes: tuple[str, ...] = ()
    error: str | None = None


def challenge_of(response: Response) -> Challenge | None:
    """The Bearer challenge of an answer, if it has one."""
    header = response.header(b"www-authenticate")[:_LENGTH_MAX]
    # What is quoted names no scheme.
    outline = _quoted.sub(lambda text: '"' + "q" * (len(text[0]) - 2) + '"', header)
    found = _bearer.search(outline)
    if found is None:
        return None
    other = _next_scheme.search(outline, found.end())
    pairs = _parameter.findall(header[found.end() : other.start() if other else None])
    said = {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare for name, quoted, bare in pairs}
    return Challenge(said.get("resource_metadata"), scopes_of(said.get("scope")), said.get("error"))


def scopes_of(written: object) -> tuple[str, ...]:
    """The scopes of a text or a list; what can be none is left out."""
    parts = written.split() if isinstance(written, str) else written if isinstance(written, list) else ()
    fit = [each for each in parts if isinstance(each, str) and _SCOPE.fullmatch(each)]
    return tuple(dict.fromkeys(fit))[:_SCOPES_MAX]
