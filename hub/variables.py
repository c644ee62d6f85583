"""Fills in what a manifest leaves to the machine: `${VAR}`, `${VAR:-default}`, `${secret:NAME}`.

Done when a server starts, never when a file is read, so that one unset variable costs one server
and no secret is kept longer than it is used. One pass: what was filled in is never looked at again. A bare
`$VAR` is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from connectors.base import ConfigError

__all__ = ["SECRET_NAME", "environment_secrets", "expander", "names_in", "secret_variable"]

SECRET_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,126}"
"""No name of a secret can be taken for an option, a path or a pattern."""

_VARIABLE: Final = re.compile(
    r"\$\{(?:(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?"
    rf"|secret:(?P<secret>{SECRET_NAME})"
    r"|(?P<other>[^}]*))\}"
)


_used = re.compile(rf"\$\{{secret:({SECRET_NAME})\}}").findall


def names_in(*written: object) -> frozenset[str]:
    """The secrets that parts of a manifest name."""
    return frozenset(name for each in written for name in _used(repr(each)))


def expander(
    environ: Mapping[str, str],
    *,
    home: Path,
    data: Path,
    secrets: Callable[[str], str | None] | None = None,
) -> Callable[[str], str]:
    """The function that fills in one text.

    It raises `ConfigError`, naming the variable and the fix, where one has no value. An empty
    variable counts as unset where there is a default, as in a shell.

    Args:
        home: `${HUB_HOME}`, whatever `environ` says.
        data: `${HUB_DATA}`, likewise.
        secrets: The value of `${secret:NAME}`, or `None`; left out: `environment_secrets(environ)`.
    """
    own = {"HUB_HOME": str(home), "HUB_DATA": str(data)}
    find_secret = secrets or environment_secrets(environ)

    def fill(found: re.Match[str]) -> str:
        name, secret = found["name"], found["secret"]
        if name is not None:
            return _variable(name, found["default"], own.get(name, environ.get(name)))
        if secret is not None:
            value = find_secret(secret)
            if value is None:
                raise ConfigError(
                    f"the secret {secret!r} is not set. Set it with `hub secrets set {secret}`, or set the "
                    f"environment variable {secret_variable(secret)} where the hub starts."
                )
            return value
        ways = "${NAME}, ${NAME:-default} or ${secret:NAME}"
        raise ConfigError(f"'${{{found['other'][:40]}}}' names no variable. Write {ways}.")

    return lambda text: _VARIABLE.sub(fill, text) if "${" in text else text


def environment_secrets(environ: Mapping[str, str]) -> Callable[[str], str | None]:
    """Secrets kept as environment variables of the hub: `github-token` is `HUB_SECRET_GITHUB_TOKEN`."""
    return lambda name: environ.get(secret_variable(name))


def _variable(name: str, default: str | None, value: str | None) -> str:
    if default is not None:
        return value or default
    if value is None:
        raise ConfigError(
            f"the variable {name} is not set. Set it where the hub starts, "
            f"or write a default: ${{{name}:-value}}."
        )
    return value


def secret_variable(name: str) -> str:
    """The variable of the hub's environment that may hold it."""
    return "HUB_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
