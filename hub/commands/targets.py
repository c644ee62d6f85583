"""What a person types after `hub add NAME`: a command, a URL or a package, as `connect:` of a manifest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from connectors.base import ConfigError, LinkError
from hub.errors import InvalidParams
from hub.model import Json

__all__ = ["connect_of"]

_package = re.compile(r"(pypi|npm):(@?[^@\s]+)(?:@([^@\s]+))?").fullmatch
_secret_like = re.compile(r"authorization|token|key|secret|password", re.IGNORECASE).search


def connect_of(
    target: Sequence[str],
    headers: Sequence[str],
    env: Sequence[str],
    newest: Callable[[Literal["pypi", "npm"], str], str],
) -> tuple[Json, list[str]]:
    """The `connect:` mapping, and notes for whoever typed it.

    Args:
        newest: Finds out the version of a package that was typed without one.
        target: `[URL]`, `["pypi:NAME@VERSION", *arguments]` (or `npm:`; the version may be left out),
            `["cassette:FILE", SERVER]`, or a command's words.
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
    found: list[str] = []
    if version is None:
        try:
            version = newest("npm" if registry == "npm" else "pypi", name)
        except (ConfigError, LinkError) as error:
            raise InvalidParams(
                f"{first} names no version, and its newest could not be found out: {str(error).rstrip('.')}. "
                f"Correct the name, or write {first}@VERSION."
            ) from None
        found = [f"{name} {version} is the newest now. The manifest names it, so it changes only with that."]
    connect = {registry: name, "version": version}
    if len(target) > 1:
        connect["args"] = list(target[1:])
    made, notes = _with({"package": connect}, "env", env, "=")
    return made, [*found, *notes]


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
