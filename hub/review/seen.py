"""What was seen of one argument over many calls, and the narrowest schema that lets all of it through. Pure.

Few values are listed. Many are described: paths and URIs by the folder that all of them are in, numbers by
the least and the greatest, all else by its type. What is kept does not grow with the number of calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from connectors.jsonrpc import encode
from hub.model import Json
from hub.rules import normal

__all__ = ["Seen"]

_VALUES_MAX: Final = 8
_VALUE_LENGTH_MAX: Final = 200
_FEW: Final = 2
"""So many values are listed even if each was seen once only; of more, each twice on the average."""

_ANY_TYPE: Final = ("string", "number", "boolean", "object", "array", "null")
_END: Final = "([/?#]|$)"
_special = re.compile(r"[\\.^$|?*+()\[\]{}]")
_address = re.compile(r"([a-z][a-z0-9+.-]*://[^/?#]*)([^?#]*)").match
_sounds_like_path = re.compile(r"path|file|folder|dir(?:ectory)?$", re.IGNORECASE).search


@dataclass(slots=True)
class _Folder:
    """The parts that all of some paths begin with."""

    parts: list[str] | None = None
    is_one: bool = False
    """Whether one of them is that folder itself."""

    def add(self, path: str) -> None:
        parts = [part for part in path.split("/") if part]
        if self.parts is None:
            self.parts, self.is_one = parts, True
            return
        same = next(
            (at for at, (old, new) in enumerate(zip(self.parts, parts, strict=False)) if old != new),
            min(len(self.parts), len(parts)),
        )
        shorter = same < len(self.parts)
        self.is_one = len(parts) == same or (self.is_one and not shorter)
        self.parts = self.parts[:same]

    def pattern(self, start: str, end: str = "(/|$)") -> str:
        """Of what is in it: whole names of folders only, so that `/srv/a` is no `/srv/ab`."""
        parts = self.parts or []
        text = start + "".join(f"{part}/" for part in parts)
        text = _special.sub(r"\\\g<0>", text)
        return f"^{text[:-1]}{end}" if self.is_one and parts else f"^{text}"


@dataclass(slots=True)
class Seen:
    """Give it each value by `add`."""

    name: str
    count: int = 0
    is_hidden: bool = False
    """Whether a value was taken out of the record."""
    values: dict[bytes, Any] | None = field(default_factory=dict)
    """By their JSON; `None` where there are too many, or long ones."""
    types: set[str] = field(default_factory=set)
    least: Decimal | None = None
    most: Decimal | None = None
    path: _Folder | None = field(default_factory=_Folder)
    is_relative: bool | None = None
    origins: dict[str, _Folder] | None = field(default_factory=dict)
    """By the start of the URIs, up to the host."""
    format: str | None = None
    """In which it is respelled."""

    def hide(self) -> None:
        self.count += 1
        self.is_hidden = True

    def add(self, value: Any, sent: Any) -> None:
        """
        Args:
            sent: The same as it was sent: where a rule respells it, in another spelling.
        """
        self.count += 1
        if value != sent and isinstance(value, str) and isinstance(sent, str):
            self.format = "uri" if "://" in sent else "path"
            value = sent
        text = encode(value)
        if self.values is not None:
            self.values[text] = value
            if len(self.values) > _VALUES_MAX or len(text) > _VALUE_LENGTH_MAX:
                self.values = None
        type_ = _type_of(value)
        self.types.add(type_)
        if type_ in ("integer", "number"):
            number = Decimal(str(value))
            self.least = number if self.least is None else min(self.least, number)
            self.most = number if self.most is None else max(self.most, number)
        self._add_path(value)
        self._add_uri(value)

    def schema(self, *, always: bool) -> Json:
        """What a rule's `with` has to say of it.

        Args:
            always: Whether every call of the tool had it: only then it may be filled in.
        """
        if self.is_hidden:
            return {"type": list(_ANY_TYPE)}
        made: Json
        values = self.values or {}
        if values and (len(values) <= _FEW or self.count >= 2 * len(values)):
            made = {"const": next(iter(values.values()))} if len(values) == 1 and always else _enum(values)
            made |= {} if self.format is None else {"format": self.format}
            return made | ({"pattern": "^[^/]"} if self.format == "path" and self.is_relative else {})
        if self.path is not None and self.is_relative is not None:
            # It must begin otherwise than with "/", which says that it may be relative.
            is_open = self.is_relative and not self.path.parts
            pattern = "^[^/]" if is_open else self.path.pattern("" if self.is_relative else "/")
            return {"format": "path", "pattern": pattern}
        if self.origins:
            patterns = [folder.pattern(f"{origin}/", _END) for origin, folder in sorted(self.origins.items())]
            joined = "|".join(pattern.removeprefix("^") for pattern in patterns)
            return {"format": "uri", "pattern": patterns[0] if len(patterns) == 1 else f"^(?:{joined})"}
        types = self.types - {"integer"} if "number" in self.types else self.types
        made = {"type": next(iter(types)) if len(types) == 1 else sorted(types)}
        if types <= {"integer", "number"}:
            made |= {"minimum": _number(self.least), "maximum": _number(self.most)}
        return made

    def _add_path(self, value: Any) -> None:
        if self.path is None:
            return
        is_text = isinstance(value, str) and value != "" and "://" not in value
        relative = is_text and not value.startswith("/")
        spelled = _spelled(value, lambda text: normal.path(text, relative=relative)) if is_text else None
        wrong = relative and (_sounds_like_path(self.name) is None or value[:1] in "(.")
        if spelled is None or wrong or self.is_relative not in (None, relative):
            self.path = None
        else:
            self.is_relative = relative
            self.path.add(spelled)

    def _add_uri(self, value: Any) -> None:
        if self.origins is None:
            return
        spelled = _spelled(value, normal.uri) if isinstance(value, str) else None
        found = None if spelled is None else _address(spelled)
        if found is None or not found[2].startswith("/"):
            self.origins = None
            return
        self.origins.setdefault(found[1], _Folder()).add(found[2])
        if len(self.origins) > _VALUES_MAX:
            self.origins = None


def _spelled(text: str, spell: Callable[[str], str]) -> str | None:
    try:
        return spell(text)
    except ValueError:
        return None


def _type_of(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list | dict):
        return "array" if isinstance(value, list) else "object"
    return "integer" if _is_whole(Decimal(str(value))) else "number"


def _enum(values: dict[bytes, Any]) -> Json:
    return {"enum": [values[text] for text in sorted(values)]}


def _number(value: Decimal | None) -> int | float:
    assert value is not None
    return int(value) if _is_whole(value) and abs(value) < 2**63 else float(value)


def _is_whole(value: Decimal) -> bool:
    return value == value.to_integral_value()
