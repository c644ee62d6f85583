"""The newest version of a package, asked for once, by a person who is about to pin it.

Nothing is installed and nothing of the package is run. What a manifest says stays one exact version.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Final, Literal

from connectors.base import ConfigError, LinkError
from connectors.install import installers_environment
from connectors.package import is_name
from connectors.stderr import harmless, is_chatter

__all__ = ["newest"]

_SECONDS: Final = 30.0


def newest(kind: Literal["pypi", "npm"], name: str) -> str:
    """The version that an installer would choose here, pre-releases left out.

    Raises:
        ConfigError: it is no package's name, or there is no installer here that could be asked.
        LinkError: there is no such package, or its registry does not answer, with the installer's last words.
    """
    if not is_name(kind, name):
        raise ConfigError(f"{name!r} is not a package's name.")
    if kind == "npm":
        return _said(["npm", "view", "--", name, "version"], "").strip()
    argv = ["uv", "pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate"]
    return _said([*argv, "--python", sys.executable, "-"], name).strip().partition("==")[2]


def _said(argv: list[str], told: str) -> str:
    program = shutil.which(argv[0]) or shutil.which(argv[0], path=os.path.dirname(sys.executable))
    if program is None:
        raise ConfigError(f"{argv[0]} was not found on PATH.")
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=told,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env=installers_environment(os.environ),
        )
    except subprocess.TimeoutExpired:
        raise LinkError(f"{argv[0]} did not answer within {_SECONDS:g} s", sent=False) from None
    if done.returncode != 0 or not done.stdout.strip():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip() and not is_chatter(line)]
        why = " | ".join(harmless(line.removeprefix("npm error ")) for line in lines[:4])
        raise LinkError(why or f"{argv[0]} said nothing", sent=False)
    return done.stdout
