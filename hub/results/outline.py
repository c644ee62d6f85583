"""Where in a long JSON text what lies: found in one pass, without making values of the whole of it.

A value that is long is a `Node`; its children lie in `Group`s of some kilobytes, each of which is read by
itself later: whoever wants one item of a result of 50 MB parses one group. A child that is long itself is a
group of its own, with a node of its own. Groups are parsed here once, so that all of the text is known to be
JSON; no more than one at a time, so that memory stays what the text takes. Measured, of 50 MB of records:
1.6 s, in steps of less than a millisecond, in a thread.

Positions are characters of the text.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from connectors.jsonrpc import Budget, Malformed, encode, parse

__all__ = ["GROUP_LENGTH", "Group", "Node", "NodeKind", "Outline", "from_json", "outlined", "to_json"]

NodeKind = Literal["array", "object", "string"]

GROUP_LENGTH: Final = 16_384
"""About how long a group is; up to twice that."""

_DEPTH_MAX: Final = 190
"""The parser takes no more than 200."""
_BUDGET: Final = Budget(1 << 30, 1 << 30)

_STRING: Final = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_SCALAR: Final = r"(?:-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)"
_SPACE: Final = r"[ \t\n\r]*"


def _nested(depth: int) -> str:
    """Anything in brackets that nests at most so deep. Each character begins at most one alternative."""
    inner = _STRING if depth == 0 else f"(?:{_STRING}|{_nested(depth - 1)})"
    return rf'[\[{{][^\[\]{{}}"]*(?:{inner}[^\[\]{{}}"]*)*[\]}}]'


_VALUE: Final = f"(?:{_STRING}|{_nested(5)}|{_SCALAR})"
_KEY: Final = rf"{_STRING}{_SPACE}:{_SPACE}"

# Tried on a window only, so none of these takes long, whatever the text is.
_value = re.compile(_VALUE, re.DOTALL).match
_items = re.compile(rf"(?:{_VALUE}{_SPACE},{_SPACE})*", re.DOTALL).match
_members = re.compile(rf"(?:{_KEY}{_VALUE}{_SPACE},{_SPACE})*", re.DOTALL).match
_key = re.compile(rf"({_STRING}){_SPACE}:{_SPACE}", re.DOTALL).match
_space = re.compile(_SPACE).match
_piece = re.compile(r'[^"\\]*(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*)*', re.DOTALL).match
_half_pair = re.compile(r"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})\Z").search


@dataclass(slots=True)
class Group:
    first: int
    """The position of its first child among all (of a string, of its first character)."""
    start: int
    end: int
    child: Node | None = None
    """Where it is one long child."""
    key: str | None = None
    """Of that, in an object."""


@dataclass(slots=True)
class Node:
    kind: NodeKind
    count: int = 0
    """Items, members, or characters."""
    groups: list[Group] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outline:
    root: Node
    digest: bytes
    """Of the text without insignificant white space: SHA-256."""


class _NotJson(Exception):
    pass


def outlined(text: str) -> Outline | None:
    """The outline of an object or an array; `None` where the text is neither."""
    if not text.lstrip(" \t\n\r").startswith(("{", "[")):
        return None
    try:
        return _Walk(text).outline()
    except (_NotJson, Malformed):
        return None


class _Open:
    """A container that the walk is in."""

    __slots__ = ("begin", "begun", "comma", "digested", "key", "node", "pending", "start")

    def __init__(self, kind: NodeKind, begin: int, start: int, key: str | None) -> None:
        self.node = Node(kind)
        self.begin = begin
        """Of its key, where it has one."""
        self.start = start
        self.key = key
        self.pending: tuple[int, int] | None = None
        """From where to where its children have been passed that are in no group yet."""
        self.comma = False
        """Whether what was passed last is a comma."""
        self.digested = False
        """Whether the digest has its first character, and then ..."""
        self.begun = False
        """... its first child."""


class _Walk:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._digest = hashlib.sha256()
        self._open: list[_Open] = []

    def outline(self) -> Outline:
        self._skip()
        self._enter(self._at, None)
        root: Node | None = None
        while root is None:
            root = self._step()
        self._skip()
        if self._at != len(self._text):
            raise _NotJson
        return Outline(root, self._digest.digest())

    def _step(self) -> Node | None:
        """Some way on in the innermost container that is open; the root, once it is closed."""
        inside = self._open[-1]
        is_object = inside.node.kind == "object"
        begin = self._at
        run = (_members if is_object else _items)(self._text, begin, begin + GROUP_LENGTH)
        if run is not None and run.end() > begin:
            self._at = run.end()
            self._pass(inside, begin, self._at)
            inside.comma = True
            self._skip()
            return None
        if self._is("}" if is_object else "]"):
            return self._leave()
        key = self._key() if is_object else None
        child = self._at
        found = _value(self._text, child, child + GROUP_LENGTH)
        if found is not None and found.end() < child + GROUP_LENGTH:
            self._at = found.end()
            self._pass(inside, begin, self._at)
        elif self._is('"'):
            self._string(inside, key)
        elif self._is("[") or self._is("{"):
            self._enter(begin, key)
            return None
        else:
            raise _NotJson
        self._separate(inside)
        return None

    def _separate(self, inside: _Open) -> None:
        """Pass the comma behind a child, unless it was the last."""
        self._skip()
        inside.comma = self._is(",")
        if inside.comma:
            self._at += 1
            self._skip()
        elif not self._is("}" if inside.node.kind == "object" else "]"):
            raise _NotJson

    def _enter(self, begin: int, key: str | None) -> None:
        if len(self._open) >= _DEPTH_MAX:
            raise _NotJson
        self._open.append(_Open("object" if self._is("{") else "array", begin, self._at, key))
        self._at += 1
        self._skip()

    def _leave(self) -> Node | None:
        """A container ends: a short one is one of the children of what it is in, a long one is a node."""
        inside = self._open[-1]
        outer = self._open[-2] if len(self._open) > 1 else None
        if inside.comma:
            raise _NotJson
        self._at += 1
        if outer is not None and not inside.node.groups:
            self._open.pop()
            self._pass(outer, inside.begin, self._at)
        else:
            self._flush(inside)
            self._say_begun(inside)
            self._digest.update(b"}" if inside.node.kind == "object" else b"]")
            self._open.pop()
            if outer is None:
                return inside.node
            outer.node.groups.append(Group(outer.node.count, inside.start, self._at, inside.node, inside.key))
            outer.node.count += 1
        self._separate(outer)
        return None

    def _pass(self, inside: _Open, begin: int, end: int) -> None:
        """Children lie from `begin` to `end`: with those before them they are a group, until that is long."""
        if inside.pending is not None and end - inside.pending[0] > GROUP_LENGTH:
            self._flush(inside)
        inside.pending = (begin if inside.pending is None else inside.pending[0], end)

    def _flush(self, inside: _Open) -> None:
        if inside.pending is None:
            return
        (start, end), inside.pending = inside.pending, None
        body = self._text[start:end].rstrip(" \t\n\r").removesuffix(",")
        is_object = inside.node.kind == "object"
        values = parse(f"{{{body}}}".encode() if is_object else f"[{body}]".encode(), _BUDGET)
        self._say_begun(inside)
        self._say_child(inside, None)
        self._digest.update(encode(values)[1:-1])
        inside.node.groups.append(Group(inside.node.count, start, start + len(body)))
        inside.node.count += len(values)

    def _string(self, inside: _Open, key: str | None) -> None:
        """A long one: its groups are pieces that each can be read alone."""
        self._flush(inside)
        self._say_begun(inside)
        self._say_child(inside, key)
        self._digest.update(b'"')
        start, node = self._at, Node("string")
        self._at += 1
        while not self._is('"'):
            found = _piece(self._text, self._at, self._at + GROUP_LENGTH)
            assert found is not None
            half = _half_pair(found[0])
            end = found.end() if half is None else self._at + half.start(1)
            if end == self._at:
                raise _NotJson
            piece = parse(f'"{self._text[self._at : end]}"'.encode(), _BUDGET)
            node.groups.append(Group(node.count, self._at, end))
            node.count += len(piece)
            self._digest.update(encode(piece)[1:-1])
            self._at = end
        self._at += 1
        self._digest.update(b'"')
        inside.node.groups.append(Group(inside.node.count, start, self._at, node, key))
        inside.node.count += 1

    def _say_begun(self, inside: _Open) -> None:
        """Digest the beginnings of all that is open down to here."""
        outer: _Open | None = None
        for each in self._open:
            if not each.digested:
                if outer is not None:
                    self._flush(outer)
                    self._say_child(outer, each.key)
                self._digest.update(b"{" if each.node.kind == "object" else b"[")
                each.digested = True
            if each is inside:
                return
            outer = each

    def _say_child(self, inside: _Open, key: str | None) -> None:
        if inside.begun:
            self._digest.update(b",")
        inside.begun = True
        if key is not None:
            self._digest.update(encode(key) + b":")

    def _key(self) -> str:
        found = _key(self._text, self._at, self._at + GROUP_LENGTH)
        if found is None:
            raise _NotJson
        self._at = found.end()
        key: str = parse(found[1].encode(), _BUDGET)
        return key

    def _is(self, character: str) -> bool:
        return self._text.startswith(character, self._at)

    def _skip(self) -> None:
        found = _space(self._text, self._at)
        assert found is not None
        self._at = found.end()


def to_json(outline: Outline | None) -> bytes:
    """As the store keeps it."""
    return encode(None if outline is None else _plain(outline.root))


def _plain(node: Node) -> list[Any]:
    groups = [
        [group.first, group.start, group.end]
        if group.child is None
        else [group.first, group.start, group.end, _plain(group.child), group.key]
        for group in node.groups
    ]
    return [node.kind, node.count, groups]


def from_json(data: bytes) -> Node | None:
    """What `to_json` has written; `None` for a text that is no JSON."""
    value = parse(data, _BUDGET)
    return None if value is None else _node(value)


def _node(value: list[Any]) -> Node:
    kind, count, groups = value
    return Node(kind, count, [_group(*each) for each in groups])


def _group(first: int, start: int, end: int, child: Any = None, key: str | None = None) -> Group:
    return Group(first, start, end, None if child is None else _node(child), key)
