"""Whether a URI can have come from a URI template (RFC 6570), and nothing more.

The template's literal parts must be there, in order; each expression stands for any run of
characters. What a server makes of the URI is the server's business: this only decides who is asked.
"""

from __future__ import annotations

import re

__all__ = ["stems_from"]

_expression = re.compile(r"\{[^{}]*\}")


def stems_from(template: str, uri: str) -> bool:
    """Each literal part is searched for once, so no template that a server may send is slow."""
    first, *rest = _expression.split(template)
    if not rest:
        return template == uri
    if not uri.startswith(first):
        return False
    *middle, last = rest
    start = len(first)
    for literal in middle:
        found = uri.find(literal, start)
        if found < 0:
            return False
        start = found + len(literal)
    return len(uri) - len(last) >= start and uri.endswith(last)
