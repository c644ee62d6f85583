"""Paths and URIs in one spelling, so that what a rule judged is what the server gets. Pure.

Only texts are looked at: whether a path exists, or is a symbolic link, is the server's to know.
What has several readings (a backslash, a NUL, a user name in a URI) is refused rather than guessed.

Source of URIs: RFC 3986, sections 3 and 6.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["path", "uri"]

_PORTS: Final[Mapping[str, str]] = {"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}

_uri = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(#.*)?").fullmatch
_characters = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*").fullmatch
_escaped = re.compile(r"%([0-9A-Fa-f]{2})")
_host = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?").fullmatch
_unreserved = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def path(written: str, *, relative: bool = False) -> str:
    """`written` without `.`, `..` and doubled `/`; a `/` at its end stays.

    Args:
        relative: Whether it may be one that does not begin with `/`. Then it may not climb out.

    Raises:
        ValueError: it cannot be taken, and why.
    """
    if "\0" in written or "\\" in written:
        raise ValueError("must have no NUL and no backslash in it")
    absolute = written.startswith("/")
    if not absolute and not relative:
        raise ValueError("must be an absolute path")
    parts: list[str] = []
    for part in written.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        elif not absolute:
            raise ValueError("must not lead out of where it begins")
    if not parts:
        return "/" if absolute else "."
    return ("/" if absolute else "") + "/".join(parts) + ("/" if written.endswith("/") else "")


def uri(written: str) -> str:
    """`written` in the normal form of RFC 3986: case, escapes, `.` and `..`, the scheme's own port.

    Raises:
        ValueError: it cannot be taken, and why.
    """
    found = _uri(written)
    if found is None or _characters(written) is None:
        raise ValueError("must be an absolute URI, with all else than its own characters as %XX")
    scheme, authority, rest, query, fragment = found.groups()
    scheme = scheme.lower()
    if "%00" in written:
        raise ValueError("must have no NUL in it")
    start = f"{scheme}:"
    rest = _plain(rest)
    if authority is not None:
        if "@" in authority:
            raise ValueError("must have no user name or password in it")
        if _host(authority) is None:
            raise ValueError("must name a host as it is, without escapes")
        start += f"//{_authority(scheme, authority.lower())}"
    if authority is not None or rest.startswith("/"):
        rest = _without_dots(rest)
        if not rest and scheme in _PORTS:
            rest = "/"
        if authority is None and rest.startswith("//"):
            # It would be read as a host the next time.
            raise ValueError("must not have an empty first part in its path")
    return start + rest + _plain(query or "") + _plain(fragment or "")


def _authority(scheme: str, written: str) -> str:
    host, colon, port = written.rpartition(":")
    if not colon or port.endswith("]"):
        return written
    port = port.lstrip("0") if port.strip("0") else port[:1]
    if not port or port == _PORTS.get(scheme):
        return host
    if int(port) > 65535:
        raise ValueError("must have a port of at most 65535")
    return f"{host}:{port}"


def _plain(text: str) -> str:
    """Escapes in upper case, and none where none is needed."""

    def spelled(found: re.Match[str]) -> str:
        character = chr(int(found[1], 16))
        return character if character in _unreserved else found[0].upper()

    return _escaped.sub(spelled, text)


def _without_dots(rest: str) -> str:
    parts: list[str] = []
    *most, last = rest.split("/")
    for part in most[1:]:
        if part == "..":
            del parts[-1:]
        elif part != ".":
            parts.append(part)
    if last == "..":
        del parts[-1:]
    if last in (".", ".."):
        last = ""
    return "/".join(["", *parts, last]) if rest else ""
