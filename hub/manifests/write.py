"""Writes manifests for people who use a command instead of an editor.

What is written is checked as a file would be, before it is one; it appears whole or not at all,
and nothing that is there is overwritten.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hub.errors import ManifestError, Problem
from hub.manifests.manifest import SCHEMA_COMMENT, AgentManifest, Manifests, ServerManifest, load, load_text

__all__ = ["remove_agent", "remove_server", "write_agent", "write_server", "write_whole"]


def write_server(
    folder: Path, name: str, connect: Mapping[str, Any], title: str | None = None, **more: Any
) -> Path:
    """Write `folder/NAME.yaml` for a server; for its owner only where it carries headers or variables.

    Args:
        connect: As under `connect:` in a manifest.
        more: Further keys of a server's manifest, where they are not `None`.

    Raises:
        ManifestError: it would not be valid; nothing was written.
        FileExistsError: the name or the file is taken; `filename` says by which.
        OSError: the folder cannot be written.
    """
    given = {"title": title, "connect": connect, **more}
    value = {"server": name, **{key: item for key, item in given.items() if item is not None}}
    is_private = bool(connect.get("env") or connect.get("headers"))
    return _write(folder, "server", name, value, 0o600 if is_private else 0o644)


def write_agent(
    folder: Path, name: str, may: Sequence[str], never: Sequence[str] = (), title: str | None = None
) -> Path:
    """Write `folder/NAME.yaml` for an agent: one rule for each pattern of `may`. Raises as `write_server`."""
    value: dict[str, Any] = {"agent": name}
    if title is not None:
        value["title"] = title
    value["may"] = [{"use": pattern} for pattern in may]
    if never:
        value["never"] = list(never)
    return _write(folder, "agent", name, value, 0o644)


def remove_server(folder: Path, name: str) -> Path:
    """Remove the file that holds a server, and return which it was.

    Raises:
        ManifestError: no file holds it, or one that holds more than it.
        OSError: it cannot be removed.
    """
    manifests = load(folder)
    return _remove(manifests, "server", name, manifests.servers.get(name))


def remove_agent(folder: Path, name: str) -> Path:
    """Remove the file that holds an agent, and return which it was. Raises as `remove_server`."""
    manifests = load(folder)
    return _remove(manifests, "agent", name, manifests.agents.get(name))


def write_whole(file: Path, text: str, *, mode: int) -> None:
    """Write a file so that others see all of it or what was there before, also after a power cut."""
    descriptor, half = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(half, file)
    except BaseException:
        os.unlink(half)
        raise
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write(folder: Path, what: str, name: str, value: dict[str, Any], mode: int) -> Path:
    # Checked by the loader before it makes a path: a name with '/' in it is no name.
    text = _text(value)
    problems = load_text(folder / "new.yaml", text).problems
    if problems:
        raise ManifestError([Problem(None, None, problem.key, problem.message) for problem in problems])
    file = folder / f"{name}.yaml"
    manifests = load(folder)
    holder = (manifests.servers if what == "server" else manifests.agents).get(name)
    if holder is not None or file.exists():
        taken = holder.file if holder is not None else file
        raise FileExistsError(errno.EEXIST, f"the {what} '{name}' is there already", str(taken))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, text, mode=mode)
    return file


def _text(value: dict[str, Any]) -> str:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(_readable(value), out)
    return f"{SCHEMA_COMMENT}\n{out.getvalue()}"


def _readable(value: Any) -> Any:
    """Short lists on one line, as a person would write them."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, Mapping):
        return CommentedMap((key, _readable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        made = CommentedSeq(_readable(item) for item in value)
        if not any(isinstance(item, Mapping | list | tuple) for item in value):
            made.fa.set_flow_style()
        return made
    return value


def _remove(
    manifests: Manifests, what: str, name: str, manifest: ServerManifest | AgentManifest | None
) -> Path:
    if manifest is None:
        broken = [problem for problem in manifests.problems if problem.file and problem.file.stem == name]
        raise ManifestError(broken or [Problem(None, None, "", f"no manifest names the {what} '{name}'.")])
    everything: list[ServerManifest | AgentManifest] = [
        *manifests.servers.values(),
        *manifests.agents.values(),
    ]
    held = [each.name for each in everything if each.file == manifest.file]
    if len(held) > 1:
        message = f"holds more than '{name}': {', '.join(sorted(held))}. Take it out of there by hand."
        raise ManifestError([Problem(manifest.file, None, "", message)])
    manifest.file.unlink()
    return manifest.file
