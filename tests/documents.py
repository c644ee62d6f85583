"""The documents: their blocks, the parts of them that are made from the code, and consoles that really run.

`python -m tests.documents` writes the made parts anew: `<!-- made: NAME -->` to `<!-- end -->`.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from hub import cli, settings
from tests.commands import environment
from tests.sources import ROOT

__all__ = [
    "DOCUMENTS",
    "HOME",
    "Block",
    "Console",
    "Step",
    "blocks",
    "commands",
    "made",
    "plain",
    "remake",
    "root",
    "tables",
]

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
HOME = "/srv/hub"
"""Where documents say that the hub's folder is."""
SECONDS = 30.0
COLUMNS = 150

_fence = re.compile(r"^```(\S*)[ ]?(.*?)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_sequence = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]|\x1b[=>]")
_made = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_id = re.compile(r"\bhub_[A-Za-z0-9_-]{43}|\b01[0-9a-hjkmnp-tv-z]{24}\b|\b[0-9a-f]{32}\b")
"""Tokens, calls, sessions: of each one, the documents show another one than there is now."""
_VARYING = (
    (re.compile(r"\b[0-9a-f]{40}\b"), "<commit>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"), "<time>"),
    (re.compile(r"(?<![\w.])\d+\.\d+(?=\s*$)"), "<duration>"),
    (re.compile(r"\+?\b\d+(?:\.\d+)? ms\b"), "<ms>"),
    (re.compile(r"(127\.0\.0\.1:)\d+"), r"\1<port>"),
    (re.compile(r"\b[Pp]ort \d+"), "port <number>"),
    (re.compile(r"[Pp]rocess \d+"), "process <number>"),
    # Winter and summer, weekdays.
    (re.compile(r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b"), "<day>"),
    (re.compile(r'("is_dst": )\w+'), r"\1<dst>"),
    (re.compile(r'"[+-]\d+\.\d+h"'), '"<hours>"'),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    file: Path
    line: int
    language: str
    words: str
    """What stands behind the language: `wrong`."""
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks(file: Path, *languages: str) -> list[Block]:
    text = file.read_text("utf-8")
    found = [
        Block(file, text.count("\n", 0, each.start()) + 1, each[1], each[2], each[3])
        for each in _fence.finditer(text)
    ]
    return [block for block in found if not languages or block.language in languages]


def tables(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in `text`, without their heads."""
    rows = [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    for position, row in enumerate(rows):
        head = position + 1 < len(rows) and set(rows[position + 1][0]) <= set("-: ")
        if not head and not set(row[0]) <= set("-: "):
            yield row


# Consoles


@dataclass(frozen=True)
class Step:
    """One command of a console, and what it is shown to print."""

    block: Block
    command: str
    output: str


def steps(block: Block) -> list[Step]:
    found: list[Step] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append(Step(block, line.removeprefix("$ "), ""))
        else:
            assert found, f"{block}: a console begins with a command"
            last = found[-1]
            found[-1] = Step(block, last.command, f"{last.output}{line}\n")
    return found


@dataclass
class Console:
    """A terminal in one folder, whose commands must print what a document shows."""

    home: Path
    known: dict[str, str] = field(default_factory=dict)
    """What the documents' ids and tokens are here."""

    def run(self, step: Step) -> None:
        """Raises `AssertionError` where it prints something else, or does not end."""
        command = step.command
        for shown, real in self.known.items():
            command = command.replace(shown, real)
        said = plain(self._type(command), self.home)
        found = re.fullmatch(self._pattern(plain(step.output, self.home).splitlines()), said)
        assert found is not None, (
            f"{step.block}: `{step.command}` shows\n{step.output}\nbut it prints\n{said}"
        )
        for group, real in found.groupdict().items():
            self.known[self._groups[group]] = real

    def _pattern(self, expected: list[str]) -> str:
        self._groups: dict[str, str] = {}
        return "".join(
            r"(?:.*\n)*?" if line == "..." else self._line_pattern(line) + r"\n" for line in expected
        )

    def _line_pattern(self, line: str) -> str:
        pattern, at = "", 0
        for found in _id.finditer(line):
            pattern += re.escape(line[at : found.start()])
            at = found.end()
            groups = {shown: group for group, shown in self._groups.items()}
            if found[0] in self.known:
                pattern += re.escape(self.known[found[0]])
            elif found[0] in groups:
                pattern += f"(?P={groups[found[0]]})"
            else:
                group = f"id{len(self._groups)}"
                self._groups[group] = found[0]
                pattern += f"(?P<{group}>{_id.pattern})"
        return pattern + re.escape(line[at:])

    def _type(self, command: str) -> str:
        """All that a command writes on a terminal."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        more = {"PATH": path, "TERM": "xterm", "COLUMNS": str(COLUMNS)}
        with subprocess.Popen(
            ["bash", "-c", command], cwd=self.home, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True, env=environment(**more),
        ) as process:  # fmt: skip
            os.close(slave)
            data, end = b"", time.monotonic() + SECONDS
            try:
                while chunk := _read(master, end):
                    data += chunk
                process.wait(max(0.1, end - time.monotonic()))
            except (TimeoutError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"`{command}` did not end; it wrote {data!r}") from None
            finally:
                os.close(master)
        return data.decode()


def _read(master: int, end: float) -> bytes:
    if not select.select([master], [], [], max(0.0, end - time.monotonic()))[0]:
        raise TimeoutError
    try:
        return os.read(master, 65536)
    except OSError:  # Linux's way to say that nobody writes any longer.
        return b""


def plain(text: str, home: Path) -> str:
    """What a terminal shows, without what is different each time; ids stay."""
    text = _sequence.sub("", text).replace("\r\n", "\n").replace(str(home), HOME)
    text = text.replace(str(Path(sys.executable).parent), f"{HOME}/.venv/bin")
    lines = []
    for line in text.split("\n"):
        line = line.rpartition("\r")[2].strip()
        for pattern, same in _VARYING:
            line = pattern.sub(same, line)
        if line.strip("─ "):
            lines.append(line)
    return "".join(line + "\n" for line in lines)


# What is made from the code


def commands() -> dict[str, Any]:
    """Every command that people are shown, by its words (`servers list`): typer's own objects."""

    def within(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield path, command
            return
        for name, each in inner.items():
            if not each.hidden:
                yield from within(each, f"{path} {name}".strip())

    return dict(within(root(), ""))


def root() -> Any:
    """`hub` itself, in typer's words."""
    return typer.main.get_command(cli.application())


_SHARED = frozenset({"--home", "--json", "--quiet"})
"""Said once, at the top of the page."""


def _commands_made() -> str:
    text, noun = "", ""
    for path, command in commands().items():
        if " " in path and path.split()[0] != noun:
            noun = path.split()[0]
            text += f"## hub {noun}\n\n"
        arguments = [_argument(each) for each in command.params if each.param_type_name == "argument"]
        text += f"### `{' '.join(['hub', path, *arguments])}`\n\n{' '.join((command.help or '').split())}\n\n"
        lines = [_parameter_line(each) for each in command.params if not set(each.opts) & _SHARED]
        text += "".join(line for line in lines if line)
        text += "\n" if any(lines) else ""
    return text


def _argument(parameter: Any) -> str:
    name = f"{parameter.metavar}{'…' if parameter.nargs == -1 and '…' not in parameter.metavar else ''}"
    return name if parameter.required else f"[{name}]"


def _parameter_line(parameter: Any) -> str:
    help, default = getattr(parameter, "help", None) or "", parameter.default
    if parameter.param_type_name == "argument":
        return f"- `{parameter.metavar}`: {help}\n" if help else ""
    takes = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    names = ", ".join(f"`{option}{takes}`" for option in parameter.opts)
    left_out = "" if default is None or default is False else f" Left out: `{default}`."
    return f"- {names}: {help}{left_out}\n"


def _settings_made() -> str:
    text = "| setting | left out | unit or values | what it does |\n|---|---|---|---|\n"
    for row in settings.TABLE:
        text += f"| `{row.key}` | `{row.default}` | {row.unit} | {row.help} |\n"
    return text


def made(name: str) -> str:
    return {"commands": _commands_made, "settings": _settings_made}[name]()


def remake(text: str) -> str:
    """A document with its made parts as they have to be."""
    return _made.sub(lambda found: found[1] + made(found[2]) + found[3], text)


if __name__ == "__main__":
    for file in DOCUMENTS:
        file.write_text(remake(file.read_text("utf-8")), "utf-8")
