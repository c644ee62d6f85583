"""The project's own source files, parsed: what the tests of its structure look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["ROOT", "Import", "Module", "modules"]

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Import:
    target: str
    """The full name imported: `hub.model`, or `hub.model.Entry`, for which `hub.model` is imported too."""
    line: int
    lazy: bool
    """Inside a function: imported only when that runs."""
    typing: bool
    """Under `if TYPE_CHECKING:`: never imported at run time."""


@dataclass(frozen=True)
class Module:
    name: str
    source: str
    package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, self.name)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(self._imports(self.tree, lazy=False, typing=False))

    def within(self, *names: str) -> bool:
        """Whether this is one of those modules, or stands inside one of them."""
        return any(self.name == name or self.name.startswith(f"{name}.") for name in names)

    def _imports(self, node: ast.AST, *, lazy: bool, typing: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, lazy, typing)
            elif isinstance(child, ast.ImportFrom):
                base = self._base(child)
                for alias in child.names:
                    yield Import(f"{base}.{alias.name}", child.lineno, lazy, typing)
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                yield from self._imports(ast.Module(child.body, []), lazy=lazy, typing=True)
                yield from self._imports(ast.Module(child.orelse, []), lazy=lazy, typing=typing)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from self._imports(child, lazy=lazy or function, typing=typing)

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + self.package]
        return ".".join([*kept, *([node.module] if node.module else [])])


def modules(*folders: str) -> list[Module]:
    """Every module of those top-level folders, by name."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            package = parts[-1] == "__init__"
            found.append(Module(".".join(parts[:-1] if package else parts), path.read_text("utf-8"), package))
    return found
