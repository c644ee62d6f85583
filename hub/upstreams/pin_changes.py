"""Tools that are kept back, as people look at them: what was pinned against what is offered now.

A definition is written as lines, keys sorted, each text in quotes with whatever cannot be seen escaped:
control characters, directions of writing, tags, selectors, letters that are not of the word they stand in. So
what a model would read is what a person reads.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connectors.jsonrpc import Budget, encode, encode_sorted, parse
from hub.failure import Failure
from hub.records import moment

if TYPE_CHECKING:
    from hub.catalog import Catalog
    from hub.model import Json
    from hub.upstreams.pins import Held

__all__ = ["Change", "changes", "chosen", "id_of", "rows", "seen", "shown"]

_ID_LENGTH: Final = 16
"""Of 64 hexadecimal digits: nobody makes another definition with the same 64 bits in time."""
_LINES_MAX: Final = 2000
_CONTEXT: Final = 3
_BUDGET: Final = Budget(64 * 1024**2, 10_000_000)
_INVISIBLE: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, range(0xFE00, 0xFE10)))
    + "".join(map(chr, range(0xE0100, 0xE01F0)))
)
"""What Python calls printable, and yet nobody sees."""
_ALIKE: Final = ("CYRILLIC ", "GREEK ", "ARMENIAN ", "CHEROKEE ", "COPTIC ", "FULLWIDTH ", "MATHEMATICAL ")
"""Letters that stand among Latin ones in no language."""
_words = re.compile(r"[^\W\d_]+")


class Change(NamedTuple):
    server: str
    name: str
    """As agents know the tool."""
    held: Held
    before: Json | None
    """As it is pinned; `None` of one that is new."""
    after: Json


def changes(
    catalog: Catalog,
    held: Mapping[str, Mapping[str, Held]],
    offered: Mapping[str, Mapping[str, Json]],
    pinned: Mapping[tuple[str, str], str],
) -> list[Change]:
    """All, by server and tool.

    Args:
        held: By server and tool.
        offered: The definitions of now, by server and tool.
        pinned: The definitions that are pinned, as JSON.
    """
    names = {
        (entry.server, entry.own): entry.name for entry in catalog.by_name["tool"].values() if entry.held
    }
    return [
        Change(
            server,
            names.get((server, tool), f"{server}__{tool}" if tool else f"{server} (instructions)"),
            each,
            _read(pinned.get((server, tool))),
            _plain(offered[server][tool]),
        )
        for server, tools in sorted(held.items())
        for tool, each in sorted(tools.items())
    ]


def chosen(found: Sequence[Change], name: str) -> list[Change]:
    """Those of the tool, or of the server, that a person means. Raises `Failure`: there are none."""
    mine = [each for each in found if name in (each.name, f"{each.server}__{each.held.tool}")]
    mine = mine or [each for each in found if each.server == name]
    if not mine:
        raise Failure(
            "not_found",
            f"No tool is quarantined that {name[:200]!r} names.",
            "`hub tools changed` lists those that are.",
        )
    return mine


def id_of(some: Iterable[Change]) -> str:
    """What stands for just these definitions: who approves them says it."""
    bound = hashlib.sha256()
    for each in sorted(some, key=lambda each: (each.server, each.held.tool)):
        bound.update(encode([each.server, each.held.tool, each.held.digest.hex()]))
    return bound.hexdigest()[:_ID_LENGTH]


def must_be(some: Sequence[Change], id: str) -> None:
    """Raises `Failure`: what a person looked at is not what there is now."""
    if id.lower() != id_of(some):
        raise Failure(
            "usage",
            f"{id[:80]!r} stands for other definitions than there are now.",
            "Look again: `hub tools changed NAME` shows them, and their id.",
        )


def rows(found: Iterable[Change]) -> list[Json]:
    return [_row(each) for each in found]


def shown(some: Sequence[Change], name: str) -> Json:
    """With what differs, line by line."""
    return {
        "name": name,
        "id": id_of(some),
        "changes": [
            {**_row(each), "before": each.before, "after": each.after, "diff": list(_diff(each))}
            for each in some
        ],
    }


def seen(text: str) -> str:
    """`text` such that all of it is seen, in quotes."""
    return '"' + _words.sub(_unmixed, "".join(map(_visible, text))) + '"'


def _unmixed(found: re.Match[str]) -> str:
    """A word, with the letters escaped that only look like the Latin ones beside them."""
    word = found[0]
    if word.isascii() or not any(character.isascii() for character in word):
        return word
    return "".join(_escape(each) if _is_alike(each) else each for each in word)


def _is_alike(character: str) -> bool:
    return not character.isascii() and unicodedata.name(character, "").startswith(_ALIKE)


def _row(change: Change) -> Json:
    before, after = change.before or {}, change.after
    differs = [
        key
        for key in sorted(before.keys() | after.keys())
        if encode_sorted(before.get(key)) != encode_sorted(after.get(key))
    ]
    return {
        "tool": change.name,
        "server": change.server,
        "own_name": change.held.tool or None,
        "change": "new" if change.held.is_new else "changed",
        "differs": [] if change.held.is_new else differs,
        "since": moment(change.held.since),
        "id": id_of([change]),
    }


def _diff(change: Change) -> Iterator[str]:
    before = [] if change.before is None else list(_lines(change.before))
    after = list(_lines(change.after))
    if max(len(before), len(after)) > _LINES_MAX:
        # Comparing is slow where much differs.
        yield f"(only the first {_LINES_MAX} lines of each are compared here; --json has all)"
        before, after = before[:_LINES_MAX], after[:_LINES_MAX]
    yield from difflib.unified_diff(before, after, "pinned", "offered", n=_CONTEXT, lineterm="")


def _lines(value: Any, depth: int = 0, label: str = "") -> Iterator[str]:
    space = "  " * depth
    if isinstance(value, dict) and value:
        if label:
            yield f"{space}{label}"
            depth += 1
        for key in sorted(value):
            yield from _lines(value[key], depth, f"{key if _is_plain(key) else seen(key)}:")
    elif isinstance(value, list) and value:
        yield f"{space}{label}"
        for item in value:
            yield from _lines(item, depth + 1, "-")
    elif isinstance(value, str) and "\n" in value:
        yield f"{space}{label}"
        yield from (f"{space}  {seen(line)}" for line in value.split("\n"))
    else:
        yield f"{space}{label} {seen(value) if isinstance(value, str) else encode(value).decode()}"


def _is_plain(key: str) -> bool:
    return key.isascii() and key.replace("_", "").replace("-", "").replace("$", "").isalnum()


def _visible(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() and character not in _INVISIBLE else _escape(character)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _read(text: str | None) -> Json | None:
    return None if text is None else _parsed(text.encode())


def _plain(definition: Json) -> Json:
    """What of it is pinned, in the one spelling."""
    return _parsed(encode_sorted({key: value for key, value in definition.items() if key != "_meta"}))


def _parsed(text: bytes) -> Json:
    read: Json = parse(text, _BUDGET)
    return read
