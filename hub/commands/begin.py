"""`hub init`: the first files of a hub's folder. What is there already is left as it is."""

from __future__ import annotations

from pathlib import Path

from hub.errors import HomeError
from hub.home import Home
from hub.manifests.manifest import SCHEMA_COMMENT

__all__ = ["begin"]

_ME = f"""{SCHEMA_COMMENT}
agent: me
may: ["*"]
"""

_TIME = f"""{SCHEMA_COMMENT}
server: time
title: The time, in every zone
connect:
  package: {{pypi: mcp-server-time, version: 2026.10.19}}
"""


def begin(home: Home) -> list[Path]:
    """Make the folder, an agent `me`, a first server, and the schema that editors check manifests by.

    Returns:
        The files that were made.

    Raises:
        HomeError: something cannot be written.
    """
    made: list[Path] = []
    try:
        home.path.mkdir(parents=True, exist_ok=True)
        home.manifests.mkdir(exist_ok=True)
        home.create()
        if not any(home.manifests.iterdir()):
            made += [_write(home.manifests / "me.yaml", _ME), _write(home.manifests / "time.yaml", _TIME)]
        made += _ignore_state(home)
    except OSError as error:
        raise HomeError(
            f"{error.filename}: {error.strerror}. Choose a folder that you may write to: hub init --home DIR."
        ) from None
    return made


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _ignore_state(home: Home) -> list[Path]:
    """The state holds tokens and what agents said: never for version control."""
    path, line = home.path / ".gitignore", f"{home.state.name}/"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if line in (each.strip().lstrip("/") for each in text.splitlines()):
        return []
    return [_write(path, text + ("" if not text or text.endswith("\n") else "\n") + line + "\n")]
