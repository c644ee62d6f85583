"""One file a person wrote, as plain values that remember their lines.

YAML 1.2, and JSON with comments and trailing commas. Knows nothing of manifests: settings are
read by it as well. Bounded: what a file may be in bytes, values and depth, so that no file, with
aliases of aliases or without, costs more than a few seconds.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hub.errors import ManifestError, Problem

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

__all__ = ["FILE_BYTES_MAX", "Document", "Where", "key_text", "parse", "read"]

FILE_BYTES_MAX: Final = 256 * 1024
_VALUES_MAX: Final = 20_000
_DEPTH_MAX: Final = 32
_BRACKETS_MAX: Final = 128
_TAG: Final = "tag:yaml.org,2002:"

Where = tuple[str | int, ...]
"""The way to a value: keys and positions from the top."""


@dataclass(frozen=True, slots=True)
class Document:
    """What one file holds."""

    file: Path
    value: Any
    """Dicts with text keys, lists, strings, ints, floats, bools, `None`. A date is a string."""
    lines: dict[Where, int] = field(default_factory=dict)
    """Where each key (of a mapping) or item (of a list) stands, from 1."""
    spelled: dict[Where, str] = field(default_factory=dict)
    """How numbers, bools and nulls were written: `2.10`."""
    base: Where = ()
    """Where in the file this stands, if it is only a part of it: put before keys that people see."""

    def line(self, where: Where) -> int:
        """The line of a value, or of the nearest one around it; `()` is the whole."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def problem(self, where: Where, message: str) -> Problem:
        return Problem(self.file, self.line(where), key_text((*self.base, *where)), message)


def key_text(where: Where) -> str:
    """`connect.package.args[0]`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(file: Path) -> Document:
    """Read a file.

    Raises:
        ManifestError: it cannot be read, or is neither YAML nor JSON; with what and where.
    """
    return parse(file, _text(file))


def _text(file: Path) -> str:
    try:
        # Looked at before it is opened: opening a pipe would wait for a writer.
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            raise _refused(file, 1, "is not a regular file. Move it out of this folder.")
        if mode & stat.S_IWOTH:
            # What stands in it is run as the hub's user.
            raise _refused(file, 1, "may be written by anybody on this machine. Run `chmod o-w` on it.")
        with file.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _refused(file, 1, f"cannot be read: {reason}. Make it readable for the hub.") from None
    if len(data) > FILE_BYTES_MAX:
        raise _refused(file, 1, f"is larger than {FILE_BYTES_MAX // 1024} KiB. Split it into several files.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused(file, line, "is not UTF-8 text. Save it as UTF-8.") from None


def parse(file: Path, text: str) -> Document:
    """Like `read`, of a text that is at hand."""
    # Imported here: whoever only names these types should not pay for the parser (0.1 s).
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if _bracket_depth(text) > _BRACKETS_MAX:
        # The parser would find out as well, in a time that grows with the square of the depth.
        raise _refused(file, 1, f"is nested more than {_DEPTH_MAX} levels deep. Make it flatter.")
    is_json = file.suffix == ".json"
    language = "JSON" if is_json else "YAML"
    try:
        node = YAML(typ="safe", pure=True).compose(_json_as_yaml(text) if is_json else text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = (error.problem or "it cannot be understood").removesuffix(".")
        if what.startswith("but "):
            what = f"{error.context}, {what}"
        line = mark.line + 1 if mark is not None else 1
        advice = _advice(f"{error.context} {what}")
        raise _refused(file, line, f"is not {language}: {what}. {advice}") from None
    except YAMLError:
        raise _refused(file, 1, f"is not {language}: it holds a character that may not be there.") from None
    except RecursionError:
        raise _refused(file, 1, f"is nested more than {_DEPTH_MAX} levels deep. Make it flatter.") from None
    document = Document(file, None)
    if node is None:
        return document
    reader = _Reader(document)
    value = reader.value(node, ())
    if reader.problems:
        raise ManifestError(reader.problems)
    return Document(file, value, document.lines, document.spelled)


def _bracket_depth(text: str) -> int:
    """How many brackets are open at once at most, those in texts and comments counted too."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[{}\]]", text):
        depth = max(0, depth + (1 if bracket in "[{" else -1))
        deepest = max(deepest, depth)
    return deepest


def _advice(what: str) -> str:
    if "'\\t'" in what:
        return "Indent with spaces, not tabs."
    if "single document" in what:
        return "Write one thing a file, without '---' between."
    if "alias" in what:
        return "A text that begins with '*' is written in quotes."
    return "Look at this line and the one before: indentation, quotes, brackets, ': '."


def _refused(file: Path, line: int, message: str) -> ManifestError:
    return ManifestError([Problem(file, line, "", message)])


_json_extras = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?(?:\*/|\Z)|\t', re.DOTALL)


def _json_as_yaml(text: str) -> str:
    """JSON with comments as YAML's flow style, every line where it was."""

    def plain(found: re.Match[str]) -> str:
        part = found[0]
        return part if part[0] == '"' else "".join("\n" if c == "\n" else " " for c in part)

    return _json_extras.sub(plain, text)


class _Reader:
    """Makes plain values of nodes, and notes lines, spellings and problems."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self._count = 0

    def value(self, node: Node, where: Where) -> Any:
        self._count += 1
        if self._count > _VALUES_MAX or len(where) > _DEPTH_MAX:
            message = f"holds more than {_VALUES_MAX} values or {_DEPTH_MAX} levels. Make it smaller."
            if all(problem.message != message for problem in self.problems):
                self.problems.append(self.document.problem((), message))
            return None
        tag, value = str(node.tag), node.value
        if tag == f"{_TAG}map" and isinstance(value, list):
            return self._mapping(value, where)
        if tag == f"{_TAG}seq" and isinstance(value, list):
            return [self._item(item, (*where, position)) for position, item in enumerate(value)]
        if isinstance(value, str) and tag.removeprefix(_TAG) in _SCALARS:
            return self._scalar(tag.removeprefix(_TAG), value, where)
        self.problems.append(
            self.document.problem(where, f"has the tag '{tag}'. Remove it: tags are not used here.")
        )
        return None

    def _item(self, node: Node, where: Where) -> Any:
        self.document.lines[where] = node.start_mark.line + 1
        return self.value(node, where)

    def _mapping(self, pairs: list[tuple[Node, Node]], where: Where) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if self._count > _VALUES_MAX:
                break
            line = key.start_mark.line + 1
            if not isinstance(key.value, str):
                self.problems.append(
                    Problem(
                        self.document.file, line, key_text(where), "has a key that is not text. Write a word."
                    )
                )
                continue
            here = (*where, key.value)
            if key.value in found:
                first = self.document.lines[here]
                message = f"stands twice; the first is on line {first}. Remove one."
                self.problems.append(Problem(self.document.file, line, key_text(here), message))
                continue
            self.document.lines[here] = line
            found[key.value] = self.value(value, here)
        return found

    def _scalar(self, tag: str, written: str, where: Where) -> Any:
        if tag not in _READ:
            # JSON spells a character beyond U+FFFF as two escapes, which YAML reads as two halves.
            return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        self.document.spelled[where] = written
        try:
            return _READ[tag](written)
        except ValueError:
            return written


def _integer(written: str) -> int:
    digits = written.replace("_", "").lower()
    base = 16 if "0x" in digits else 8 if "0o" in digits else 10
    return int(digits, base)


def _decimal(written: str) -> float:
    return float(written.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": _integer,
    "float": _decimal,
    "bool": lambda written: written.lower() == "true",
    "null": lambda written: None,
}
_SCALARS: Final = frozenset({*_READ, "str", "timestamp", "merge", "value"})
