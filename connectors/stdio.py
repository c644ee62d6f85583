"""A server that is a program: what a manifest says of it, and how it is started and ended.

No shell. What is spoken with it is in `stdio_link`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, ClassVar, Final

import anyio
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from connectors.base import (
    ConfigError,
    Context,
    Link,
)
from connectors.children import Bounds
from connectors.stderr import harmless
from connectors.stdio_link import StdioLink

__all__ = ["Stdio", "Variables", "child_environment", "open_process"]

_INHERITED: Final = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR"})
_REFUSED: Final = frozenset(
    {
        "LD_PRELOAD",
        "LD_AUDIT",
        "DYLD_INSERT_LIBRARIES",
        "BASH_ENV",
        "ENV",
        "NODE_OPTIONS",
        "PYTHONSTARTUP",
        "PYTHONPATH",
    }
)
"""Variables that make a program load other code than its own (threat T26)."""


def _usable(env: dict[str, str]) -> dict[str, str]:
    reason = _unusable_variable(env)
    if reason is not None:
        raise ValueError(reason)
    return env


Variables = Annotated[dict[str, str], AfterValidator(_usable)]
"""What a manifest may add to a child's environment."""


class Stdio(BaseModel):
    """`connect: {command: [...], env: {...}}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lasting: ClassVar[bool] = True

    command: Annotated[list[str], Field(min_length=1)]
    """Program and arguments, each one string. A bare name is looked up on PATH."""
    env: Variables = {}
    """What the process gets beside PATH, HOME, LANG, LC_*, TZ and TMPDIR."""

    def describe(self) -> str:
        return harmless(" ".join(self.command))

    def missing(self) -> str | None:
        program, path = self.command[0], self.env.get("PATH", os.environ.get("PATH", os.defpath))
        if "$" in program or "$" in path or (os.path.dirname(program) and not os.path.isabs(program)):
            return None  # Known only when it is opened.
        return None if shutil.which(program, path=path) else _not_found(program)

    async def prepare(self, context: Context) -> None:
        """Nothing."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Link]:
        argv = [context.expand(part) for part in self.command]
        env = {name: context.expand(value) for name, value in self.env.items()}
        async with open_process(context, argv, env) as link:
            yield link


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a child: PATH, HOME, LANG, LC_*, TZ, TMPDIR of ours, and `extra`.

    Raises:
        ConfigError: `extra` names a variable that makes programs load other code.
    """
    reason = _unusable_variable(extra)
    if reason is not None:
        raise ConfigError(reason)
    ours = {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("LC_")}
    return {**ours, **extra}


def _unusable_variable(env: Mapping[str, str]) -> str | None:
    for name in env:
        if name in _REFUSED:
            return (
                f"the variable {name} makes a program load other code than its own, and is not passed on. "
                "Take it out; what it does can be done by a wrapper program."
            )
        if not name or "=" in name or "\0" in name:
            return f"{name!r} cannot be the name of a variable. Correct it."
    return None


def _not_found(program: str) -> str:
    if os.path.dirname(program):
        return f"'{harmless(program)}' cannot be run. Correct the path, or make the file executable."
    return f"'{harmless(program)}' was not found on PATH. Install it, or give its full path."


@asynccontextmanager
async def open_process(context: Context, argv: Sequence[str], env: Mapping[str, str]) -> AsyncIterator[Link]:
    """Start a server's program, agree on the protocol, and end it when the context is left.

    Args:
        argv: Expanded. The program is a bare name (looked up on the child's PATH) or a path,
            absolute or from the working directory.
        env: Expanded; what the child gets beside `child_environment`.

    Raises:
        ConfigError: the program cannot be run, or a variable is refused.
        LinkError: it ended or did not answer as a server does; carries its last words on stderr.
    """
    environment = child_environment(env)
    cwd = context.cwd or context.home
    program = _find_program(argv[0], environment.get("PATH", os.defpath), cwd)
    link = StdioLink(context)
    try:
        child = await context.children.start(
            [program, *argv[1:]],
            env=environment,
            cwd=cwd,
            on_stdout=link.feed,
            on_stderr=link.hear,
            on_end=link.end,
            on_start=link.attach,
            bounds=Bounds(context.memory_bytes_max, context.files_max, context.processes_max),
        )
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"'{harmless(argv[0])}' cannot be started: {what}.") from None
    try:
        await link.negotiate()
        yield link
    finally:
        with anyio.CancelScope(shield=True):
            await link.aclose()
            await child.aclose()


def _find_program(program: str, path: str, cwd: Path) -> str:
    if not cwd.is_dir():
        raise ConfigError(f"the working directory '{cwd}' is not there. Create it, or correct `cwd`.")
    if os.path.dirname(program):
        program_path = os.path.abspath(cwd / program)
        found = shutil.which(program_path)
    else:
        found = shutil.which(program, path=path)
    if found is None:
        raise ConfigError(_not_found(program))
    return os.path.abspath(found)
