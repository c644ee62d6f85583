"""A server that is a package of PyPI or npm: installed once, at one version, then started directly.

No launcher (`uvx`, `npx`) at start-up: a start costs what the program costs and reaches for no
network. How a package is installed is in `install.py`; how its program is spoken to, in `stdio.py`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, ClassVar, Final, Literal

import anyio.to_thread
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from connectors.base import Context, Link
from connectors.install import NODE_LEAST, Pinned, ensure_installed, find_program
from connectors.stdio import Variables, open_process

__all__ = ["Package", "Spec", "is_name"]

_NAMES: Final = {
    "pypi": re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,212}[A-Za-z0-9])?").fullmatch,
    "npm": re.compile(r"(?=.{1,214}\Z)(?:@[a-z0-9~][a-z0-9._~-]*/)?[a-z0-9~][a-z0-9._~-]*").fullmatch,
}
_VERSIONS: Final = {
    "pypi": re.compile(
        r"(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?(?:\+[a-z0-9.]+)?"
    ).fullmatch,
    "npm": re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?").fullmatch,
}
_clause = r"(?:===|[<>=!~]=|[<>]) *[A-Za-z0-9.*+!_-]+"
_is_requirement = re.compile(
    rf"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9._, -]+\])? *(?:{_clause}(?: *, *{_clause})*)?"
).fullmatch
_is_program = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*").fullmatch


def is_name(kind: Literal["pypi", "npm"], text: str) -> bool:
    return _NAMES[kind](text) is not None


def _requirement(text: str) -> str:
    if not _is_requirement(text):
        raise ValueError('is not a requirement. Write a package with its versions, such as "mcp<2".')
    return text


def _program(text: str) -> str:
    if not _is_program(text):
        raise ValueError("is not the name of a program. Write the name alone, without a path.")
    return text


class Spec(BaseModel):
    """Which package, and how its program is called."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    pypi: str | None = None
    """Its name on PyPI. Either this or `npm`."""
    npm: str | None = None
    """Its name on npm."""
    version: str
    """One exact version."""
    args: tuple[str, ...] = ()
    with_: tuple[Annotated[str, AfterValidator(_requirement)], ...] = Field(default=(), alias="with")
    """Further requirements that are installed beside it (PyPI only): `["mcp<2"]`."""
    run: Annotated[str, AfterValidator(_program)] | None = None
    """Which of its programs; left out: the one named like the package, or the only one."""

    @field_validator("pypi", "npm")
    @classmethod
    def _check_name(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and not _NAMES[str(info.field_name)](name):
            raise ValueError(
                "is not a package's name. Write the name alone; its version goes under `version`."
            )
        return name

    @field_validator("version")
    @classmethod
    def _check_version(cls, version: str, info: ValidationInfo) -> str:
        kind = "npm" if info.data.get("npm") is not None else "pypi"
        if not _VERSIONS[kind](version):
            raise ValueError(
                "is not one exact version. Write it in full, such as 1.2.3; no range, no 'latest'."
            )
        return version

    @field_validator("with_")
    @classmethod
    def _check_with(cls, requirements: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if requirements and info.data.get("npm") is not None:
            raise ValueError("is for PyPI packages only. Remove it.")
        return requirements

    @model_validator(mode="after")
    def _check_source(self) -> Spec:
        if (self.pypi is None) == (self.npm is None):
            raise ValueError("must name its package under 'pypi' or under 'npm', and only one of them.")
        return self

    @property
    def pinned(self) -> Pinned:
        if self.npm is not None:
            return Pinned("npm", self.npm, self.version)
        assert self.pypi is not None
        return Pinned("pypi", self.pypi, self.version, self.with_)


class Package(BaseModel):
    """`connect: {package: {pypi: NAME, version: VERSION, ...}, env: {...}}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    lasting: ClassVar[bool] = True

    package: Spec
    env: Variables = Field(default_factory=dict)
    """What the process gets beside PATH, HOME, LANG, LC_*, TZ and TMPDIR."""

    def describe(self) -> str:
        pinned = self.package.pinned
        return " ".join([f"{pinned.kind}:{pinned.name}@{pinned.version}", *self.package.args])

    def missing(self) -> str | None:
        if self.package.npm is None or (shutil.which("node") and shutil.which("npm")):
            return None
        return f"needs node {NODE_LEAST} or newer, with npm; not found on PATH. Install Node.js."

    async def prepare(self, context: Context) -> None:
        """Install the package where it is not installed yet; bounded by 10 minutes of its own."""
        await ensure_installed(self.package.pinned, context)

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Link]:
        arguments = [context.expand(part) for part in self.package.args]
        env = {name: context.expand(value) for name, value in self.env.items()}
        pinned = self.package.pinned
        folder = await ensure_installed(pinned, context)
        program = await anyio.to_thread.run_sync(find_program, pinned, folder, self.package.run)
        async with open_process(context, [*program, *arguments], env) as link:
            yield link
