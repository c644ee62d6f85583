"""What a new reading of the manifests changes: what stays of the last one, and what people are told of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from hub.manifests.manifest import AgentManifest, Manifests, ServerManifest

__all__ = ["kept", "tell", "told"]

log = logging.getLogger("hub.manifests")

_Manifest = TypeVar("_Manifest", ServerManifest, AgentManifest)

_NAMED_MAX: Final = 6
_NOT_WRITTEN: Final = frozenset({"file", "line", "always"})
"""What moves with the rest of a file, or is no key of it."""


def kept(last: Manifests, new: Manifests) -> Manifests:
    """The new ones, and what the last had of files that are not valid any more: until they are mended."""
    broken = {problem.file for problem in new.problems}

    def whole(before: Mapping[str, _Manifest], now: Mapping[str, _Manifest]) -> dict[str, _Manifest]:
        stay = {name: it for name, it in before.items() if it.file in broken and name not in now}
        return {**stay, **now}

    return replace(new, servers=whole(last.servers, new.servers), agents=whole(last.agents, new.agents))


def tell(last: Manifests, new: Manifests) -> None:
    """Log what is wrong, where that is news, and what has changed."""
    if new.problems != last.problems:
        for problem in new.problems:
            log.warning("%s", problem)
    for sentence in told(last, new):
        log.info("%s", sentence)


def told(last: Manifests, new: Manifests) -> Iterator[str]:
    """Sentences for whoever looks at a running hub. Names of keys only: what they say may be secret."""
    if last == Manifests():
        return
    for what, before, now in (("server", last.servers, new.servers), ("agent", last.agents, new.agents)):
        for name in sorted({*before, *now}):
            if name not in now:
                yield f"{what} {name} is removed"
            elif name not in before:
                yield f"{what} {name} is new"
            elif keys := list(_changed(before[name], now[name])):
                more = f" and {len(keys) - _NAMED_MAX} more" if len(keys) > _NAMED_MAX else ""
                yield f"{what} {name} has changed: {', '.join(keys[:_NAMED_MAX])}{more}"
    broken = {problem.file for problem in new.problems}
    if last.problems != new.problems:
        stay = [*_stays(last.servers, new.servers, broken), *_stays(last.agents, new.agents, broken)]
        for name, file in stay:
            yield f"{name} goes on as before, until {file.name} is mended"


def _stays(
    before: Mapping[str, _Manifest], now: Mapping[str, _Manifest], broken: Set[Path | None]
) -> Iterator[tuple[str, Path]]:
    for name, it in now.items():
        if it.file in broken and before.get(name) == it:
            yield name, it.file


def _changed(before: Any, now: Any, at: str = "") -> Iterator[str]:
    """The keys of what differs, as in the file."""
    if before == now:
        return
    names: Iterable[str] = ()
    if type(before) is type(now) and is_dataclass(before):
        names = [field.name for field in fields(before)]
    elif type(before) is type(now) and isinstance(before, BaseModel):
        names = type(before).model_fields
    elif isinstance(before, tuple) and isinstance(now, tuple) and len(before) == len(now):
        for number, pair in enumerate(zip(before, now, strict=True)):
            yield from _changed(*pair, f"{at}[{number}]")
        return
    if not names:
        yield at.removeprefix(".").removeprefix("rules.")
    for name in names:
        if name not in _NOT_WRITTEN:
            yield from _changed(getattr(before, name), getattr(now, name), f"{at}.{name.removesuffix('_')}")
