"""What servers offered and answered once, as a file: how it is written and read. Knows nothing of who does.

JSON Lines. The first line says what the file is (`cassette`: 1). A line with `offers` is one server: what
it said of itself and lists. A line with `method` is one exchange with a server: `params`, the `notifications`
that came meanwhile, and its `result` or `error`. A line with `changes` is a server whose lists are others
from there on, or which says so of a resource (`updated`: its URI). What is unknown in a line is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from connectors import jsonrpc
from connectors.base import ConfigError, Json

__all__ = ["FORMAT", "LISTS", "Change", "Exchange", "Offered", "Tape", "lines", "read"]

FORMAT: Final = 1
LISTS: Final = ("tools", "resources", "resourceTemplates", "prompts")
"""What a server may list, as it is called in the answers to `.../list`."""

_BYTES_MAX: Final = 1024 * 1024 * 1024
_VALUES_MAX: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer."""

    server: str
    method: str
    params: Json
    """As the server got them, without `_meta`."""
    result: Json | None = None
    error: Json | None = None
    """A JSON-RPC error object; exactly one of the two is there."""
    notifications: tuple[Json, ...] = ()
    """`method` and `params` of each, in order."""
    number: int = 0
    """Its place among those of its server, from 1 on."""

    def as_json(self) -> Json:
        said: Json = {"server": self.server, "method": self.method, "params": self.params}
        if self.notifications:
            said["notifications"] = [*self.notifications]
        return {**said, "result": self.result} if self.error is None else {**said, "error": self.error}


@dataclass(frozen=True, slots=True)
class Offered:
    """What one server said of itself."""

    server: str
    info: Json
    capabilities: Json
    instructions: str | None
    lists: Mapping[str, tuple[Json, ...]]
    """By the names of `LISTS`."""
    version: str = ""
    """The protocol version that it spoke."""

    def as_json(self) -> Json:
        lists = {name: [*self.lists[name]] for name in LISTS if self.lists.get(name)}
        return {
            "offers": self.server,
            "protocol": self.version,
            "info": self.info,
            "capabilities": self.capabilities,
            "instructions": self.instructions,
            **lists,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What was different from some moment on, outside of any exchange: lists, or a resource."""

    server: str
    lists: Mapping[str, tuple[Json, ...]]
    """Those that changed, whole, by the names of `LISTS`."""
    updated: str | None = None
    """The URI of a resource."""
    after: int = 0
    """How many exchanges of that server had begun before."""

    def as_json(self) -> Json:
        lists = {name: [*self.lists[name]] for name in LISTS if name in self.lists}
        updated = {} if self.updated is None else {"updated": self.updated}
        return {"changes": self.server, **lists, **updated}


@dataclass(frozen=True, slots=True)
class Tape:
    offered: Mapping[str, Offered] = field(default_factory=dict)
    exchanges: tuple[Exchange, ...] = ()
    """In the order in which they began."""
    changes: tuple[Change, ...] = ()


def lines(about: Json, offered: Iterable[Offered], happened: Iterable[Exchange | Change]) -> Iterator[bytes]:
    """The file, line by line.

    Args:
        about: What else its first line says.
        happened: In the order in which it did.
    """
    yield jsonrpc.encode({"cassette": FORMAT, **about}) + b"\n"
    for each in offered:
        yield jsonrpc.encode(each.as_json()) + b"\n"
    for event in happened:
        yield jsonrpc.encode(event.as_json()) + b"\n"


def read(path: Path) -> Tape:
    """Raises `ConfigError`: it is not there, or no cassette; with the line."""
    found = _Reader()
    try:
        size = path.stat().st_size
        if size > _BYTES_MAX:
            raise ConfigError(f"the cassette '{path}' has {size} bytes, more than {_BYTES_MAX}. Record less.")
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    found.take(number, line)
                except (jsonrpc.Malformed, KeyError, TypeError, ValueError):
                    raise ConfigError(
                        f"the cassette '{path}' cannot be read: line {number} is not as in one. "
                        "Record it anew: `hub record`."
                    ) from None
    except FileNotFoundError:
        raise ConfigError(
            f"the cassette '{path}' is not there. Correct the path, which starts at the hub's folder, "
            "or record one: `hub record`."
        ) from None
    except OSError as error:
        raise ConfigError(f"the cassette '{path}' cannot be read: {error.strerror}.") from None
    if not found.offered:
        raise ConfigError(f"the cassette '{path}' is of no server. Record it anew: `hub record`.")
    return Tape(found.offered, tuple(found.exchanges), tuple(found.changes))


class _Reader:
    def __init__(self) -> None:
        self.offered: dict[str, Offered] = {}
        self.exchanges: list[Exchange] = []
        self.changes: list[Change] = []
        self._counts: dict[str, int] = {}
        """Of exchanges, by server."""

    def take(self, number: int, line: bytes) -> None:
        """Raises `Malformed`, `KeyError`, `TypeError`, `ValueError`: it is none."""
        value = jsonrpc.parse(line, jsonrpc.Budget(_BYTES_MAX, _VALUES_MAX))
        if type(value) is not dict or (number == 1 and value.get("cassette") != FORMAT):
            raise ValueError
        if "offers" in value:
            name = _text(value["offers"])
            instructions = value.get("instructions")
            self.offered[name] = Offered(
                name,
                _mapping(value["info"]),
                _mapping(value["capabilities"]),
                None if instructions is None else _text(instructions),
                {key: tuple(_mapping(each) for each in _list(value.get(key, []))) for key in LISTS},
                _text(value.get("protocol", "")),
            )
        elif "changes" in value:
            name = _text(value["changes"])
            lists = {
                key: tuple(_mapping(each) for each in _list(value[key])) for key in LISTS if key in value
            }
            updated = value.get("updated")
            updated = None if updated is None else _text(updated)
            self.changes.append(Change(name, lists, updated, self._counts.get(name, 0)))
        elif "method" in value:
            result, error = value.get("result"), value.get("error")
            if (result is None) == (error is None):
                raise ValueError
            if error is not None:
                int(error["code"]), _text(error["message"])
            notifications = tuple(_mapping(each) for each in _list(value.get("notifications", [])))
            for each in notifications:
                _text(each["method"]), _mapping(each["params"])
            name = _text(value["server"])
            self._counts[name] = self._counts.get(name, 0) + 1
            self.exchanges.append(
                Exchange(
                    name,
                    _text(value["method"]),
                    _mapping(value["params"]),
                    None if result is None else _mapping(result),
                    error,
                    notifications,
                    self._counts[name],
                )
            )


def _mapping(value: Any) -> Json:
    if type(value) is not dict:
        raise TypeError
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value
