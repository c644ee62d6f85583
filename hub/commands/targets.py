"""What a person types after `hub add NAME`: a command, a URL or a package, as `connect:` of a manifest."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hub.errors import InvalidParams
from hub.model import Json

__all__ = ["connect_of"]

_package = re.compile(r"(pypi|npm):(@?[^@\s]+)(?:@([^@\s]+))?").fullmatch
_secret_like = re.compile(r"authorization|token|key|secret|password", re.IGNORECASE).search


def connect_of(target: Sequence[str], headers: Sequence[str], env: Sequence[str]) -> tuple[Json, list[str]]:
    """The `connect:` mapping, and notes for whoever typed it.

    Args:
        target: `[URL]`, `["pypi:NAME@VERSION", *arguments]` (or `npm:`), `["cassette:FILE", SERVER]`, or a
            command's words.
        headers: `K=V` or `K: V`, for a URL.
        env: `K=V`, for what is started.

    Raises:
        InvalidParams: they do not fit together.
    """
    first = target[0]
    if re.match(r"https?://", first, re.IGNORECASE):
        if len(target) > 1:
            raise InvalidParams(
                f"{target[1]!r} is one word too many after the URL. Headers are given by --header."
            )
        if env:
            raise InvalidParams("--env is for servers that are started here; a URL takes --header.")
        return _with({"url": first}, "headers", headers, "[=:]")
    if headers:
        raise InvalidParams("--header is for a URL; a command or package takes --env.")
    if first.startswith("cassette:"):
        if len(target) > 2 or env:
            raise InvalidParams("A cassette takes its file, and which server of it: cassette:FILE SERVER")
        of = {"of": target[1]} if len(target) == 2 else {}
        return {"cassette": first.removeprefix("cassette:"), **of}, []
    package = _package(first)
    if package is None:
        return _with({"command": list(target)}, "env", env, "=")
    registry, name, version = package.groups()
    if version is None:
        raise InvalidParams(
            f"{first} names no version. Write {first}@VERSION, so that it changes only when you say so."
        )
    connect = {registry: name, "version": version}
    if len(target) > 1:
        connect["args"] = list(target[1:])
    return _with({"package": connect}, "env", env, "=")


def _with(connect: Json, key: str, pairs: Sequence[str], separator: str) -> tuple[Json, list[str]]:
    values: dict[str, str] = {}
    for pair in pairs:
        parts = re.split(separator, pair, maxsplit=1)
        if len(parts) != 2 or not parts[0].strip():
            raise InvalidParams(f"{pair[:40]!r} is not K=V.")
        values[parts[0].strip()] = parts[1].strip()
    notes = [
        f"{name} stands in the manifest in plain text. Better: '${{secret:NAME}}' there, and its value in "
        "HUB_SECRET_NAME where the hub starts."
        for name, value in values.items()
        if _secret_like(name) and "${" not in value
    ]
    return ({**connect, key: values} if values else connect), notes
