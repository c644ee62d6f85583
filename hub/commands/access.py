"""What the hub's own access to servers consists of, for people: secrets by name, never by value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from hub.errors import InvalidParams
from hub.failure import Failure
from hub.model import Json
from hub.variables import SECRET_NAME, secret_variable

if TYPE_CHECKING:
    from hub.manifests.manifest import ServerManifest
    from hub.secrets import Secrets

__all__ = ["overview", "remove_secret", "set_secret"]

_LENGTH_MAX: Final = 64 * 1024


def overview(secrets: Secrets, servers: Mapping[str, ServerManifest]) -> list[Json]:
    """Every secret that is kept in the file or named by a manifest: name, source and servers.

    Raises:
        HomeError: the file cannot be read.
    """
    used = {name: manifest.secrets() for name, manifest in servers.items()}
    names = {*secrets.file.names(), *(name for each in used.values() for name in each)}
    return [
        {
            "name": name,
            "source": secrets.source(name),
            "servers": sorted(server for server, each in used.items() if name in each),
        }
        for name in sorted(names)
    ]


def set_secret(secrets: Secrets, name: str, value: str) -> None:
    """Keep a value in the file, in place of the one that is there.

    Raises:
        InvalidParams: the name or the value cannot be used; the value is not repeated.
        HomeError: the file cannot be written.
    """
    if re.fullmatch(SECRET_NAME, name) is None:
        raise InvalidParams(
            f"{name!r:.80} is not a secret's name. Write letters, digits, '.', '_' and '-', "
            "a letter or digit first, at most 127 in all."
        )
    if not 0 < len(value) <= _LENGTH_MAX or "\0" in value:
        raise InvalidParams(f"The value of a secret has 1 to {_LENGTH_MAX} characters, and no zero byte.")
    secrets.file.set(name, value)


def remove_secret(secrets: Secrets, name: str) -> None:
    """Take it out of the file.

    Raises:
        Failure: it is not there.
        HomeError: the file cannot be written.
    """
    if secrets.file.remove(name):
        return
    if secrets.source(name) == "environment":
        hint = f"It comes from {secret_variable(name)} where the hub starts."
    else:
        hint = "`hub secrets list` shows those there are."
    raise Failure("not_found", f"There is no secret {name!r:.80} in the hub's file.", hint)
