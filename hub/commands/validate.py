"""Check what people wrote, without starting anything: manifests, settings, and variables that are unset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from connectors.base import ConfigError
from hub import settings
from hub.errors import ManifestError, Problem
from hub.home import Home
from hub.identity import issuer_settings
from hub.identity.issuer_settings import OAuth
from hub.manifests import manifest
from hub.manifests.text import Document, Where, read
from hub.model import Json
from hub.variables import expander

__all__ = ["validate"]


def validate(home: Home, paths: list[Path]) -> Json:
    """What is valid and what is not.

    Args:
        paths: Files and folders; none: the home's manifests and settings.

    Returns:
        `servers` and `agents` by name, `problems` (file, line, key, message, and all of it as
        `text`), and `notes`: what is right but cannot be used on this machine.
    """
    problems = [
        Problem(path, None, "", "does not exist. Give a file or a folder.")
        for path in paths
        if not path.exists()
    ]
    loaded = manifest.load(*(paths or [home.manifests]))
    problems += loaded.problems
    unknown: list[str] = []
    if not paths:
        wrong, oauth = _settings(home)
        problems += wrong
        unknown = [] if wrong else issuer_settings.unknown(loaded.agents.values(), oauth)
    files = dict.fromkeys(server.file for server in loaded.servers.values())
    for file in files:
        problems += _unset(home, file)
    return {
        "servers": sorted(loaded.servers),
        "agents": sorted(loaded.agents),
        "problems": [
            {
                "file": None if problem.file is None else str(problem.file),
                "line": problem.line,
                "key": problem.key,
                "message": problem.message,
                "text": str(problem),
            }
            for problem in problems
        ],
        "notes": [
            f"{server.file}: {missing}"
            for server in loaded.servers.values()
            if (missing := server.connect.missing()) is not None
        ]
        + unknown,
    }


def _settings(home: Home) -> tuple[list[Problem], OAuth | None]:
    try:
        return [], settings.load(home.settings).oauth
    except ManifestError as error:
        return error.problems, None


def _unset(home: Home, file: Path) -> Iterator[Problem]:
    """Variables that one server's file needs and that have no value here."""
    fill = expander(os.environ, home=home.path, data=home.data)
    document = read(file)
    # Other programs' files have variables of their own kinds; those are the loader's to judge.
    if isinstance(document.value, dict) and "server" in document.value:
        for where, text in _texts(document):
            try:
                fill(text)
            except ConfigError as error:
                yield document.problem(where, str(error))


def _texts(document: Document) -> Iterator[tuple[Where, str]]:
    """Every text that is filled in when the server starts."""
    value: Any = document.value
    for key in ("connect", "cwd", "replicas"):
        if key in value:
            yield from _texts_in(value[key], (key,))


def _texts_in(value: Any, where: Where) -> Iterator[tuple[Where, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts_in(item, (*where, key))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _texts_in(item, (*where, position))
