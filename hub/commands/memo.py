"""Answers that were worked out before, kept as long as nothing that they came from has changed.

Only for commands where no hub runs: reading manifests costs 0.2 s, most of it the import of what
reads them, and a list is to be there at once. Losing the file loses nothing but that time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub import __version__
from hub.env import Env
from hub.home import Home

__all__ = ["recalled"]

_FILE = "answers.json"
_ANSWERS_MAX = 64
_BYTES_MAX = 16 * 1024 * 1024
_SETTLED_SECONDS = 2.0
"""A file that was changed so lately may change once more without showing it in its times."""


def recalled(home: Home, question: Any, work: Callable[[], Any], env: Env) -> Any:
    """What `work` returned when `question` was asked last, if it would return the same now; else `work()`.

    Args:
        question: What the answer depends on, apart from the home's manifests and its record; JSON-able.
    """
    file, key = home.state / _FILE, json.dumps(question, sort_keys=True)
    newest, inputs = _inputs(home)
    kept = _read(file)
    if kept.get("inputs") != inputs:
        kept = {"inputs": inputs, "answers": {}}
    if key in kept["answers"]:
        return kept["answers"][key]
    answer = work()
    if newest < env.now() - _SETTLED_SECONDS and len(kept["answers"]) < _ANSWERS_MAX:
        kept["answers"][key] = answer
        _write(file, json.dumps(kept))
    return answer


def _inputs(home: Home) -> tuple[float, list[Any]]:
    """When they were changed last, and all that shows a change."""
    seen: list[Any] = [__version__]
    newest = 0.0
    record = (home.database, home.database.with_name(home.database.name + "-wal"))
    for path in (home.manifests, *sorted(_entries(home.manifests)), *record):
        try:
            found = path.stat()
        except OSError:
            continue
        # SQLite gives its files anew to their owner when it opens them, which changes only this time.
        changed = found.st_mtime_ns if path in record else found.st_ctime_ns
        newest = max(newest, found.st_mtime, changed / 1e9)
        seen.append([str(path), found.st_mtime_ns, changed, found.st_size, found.st_ino])
    return newest, seen


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _BYTES_MAX:
            return {}
        kept = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) and isinstance(kept.get("answers"), dict) else {}


def _write(file: Path, text: str) -> None:
    """Whole or not at all, for its owner only; where it cannot be kept it is not."""
    half = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        half.replace(file)
    except OSError:
        half.unlink(missing_ok=True)
