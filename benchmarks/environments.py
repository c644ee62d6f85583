"""Environments of their own for what is measured beside the hub: its dependencies are not the hub's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Failed

__all__ = ["Environment"]

CACHE = Path(__file__).parent.parent / ".cache"


@dataclass(frozen=True, slots=True)
class Environment:
    """Installed once, into `.cache`."""

    name: str
    """As people write it; in small letters its folder's."""
    package: str
    """As PyPI calls it."""
    versions: str
    seconds: float = 120.0
    """How long installing may take."""

    @property
    def folder(self) -> Path:
        return CACHE / self.name.lower()

    def python(self) -> Path:
        """Its Python, once all is installed. Raises `Failed`."""
        python = self.folder / "bin" / "python"
        if (self.folder / "installed").exists():
            return python
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        for command in (
            [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(self.folder)],
            [uv, "pip", "install", "--quiet", "--python", str(python), f"{self.package}{self.versions}"],
        ):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=self.seconds)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise Failed(f"{self.name} could not be installed: {error}") from None
            if done.returncode:
                raise Failed(f"{self.name} could not be installed: {done.stderr.strip()[-300:]}")
        (self.folder / "installed").touch()
        return python

    def version(self) -> str:
        file = self.package.replace("-", "_")
        found = list(self.folder.glob(f"lib/*/site-packages/{file}-*.dist-info"))
        return found[0].name.split("-")[1].removesuffix(".dist") if found else "not installed"
