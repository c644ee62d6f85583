"""Installs one pinned package into an environment of its own, once; finds the program in it.

Not a package manager: uv or pip and npm do the work. What it adds is that a half-done install is
never used (a marker is written last), that two that want the same install do it once (a file
lock), and that nothing of an install goes on when nobody waits for it any longer.

Installing runs other people's code for Python packages that are built from source. npm's
lifecycle scripts are not run: of 25 servers measured none needs them, and they are how a
poisoned package acts first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final, Literal

import anyio
import anyio.to_thread

from connectors.base import ConfigError, Context, LinkError
from connectors.stderr import harmless, is_chatter

__all__ = [
    "INSTALL_SECONDS",
    "Pinned",
    "ensure_installed",
    "find_program",
    "install_with_pip",
    "installers_environment",
]

INSTALL_SECONDS: Final = 600.0
"""How long one install may take, waiting for another's included."""
NODE_LEAST: Final = 18

_LOCK_POLL_SECONDS: Final = 0.1
_LINES_KEPT: Final = 8
_MARKER: Final = "installed.json"
_INHERITED: Final = frozenset(
    {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
    | {"NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    | {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
)
_INHERITED_PREFIXES: Final = ("LC_", "XDG_", "UV_", "PIP_", "NPM_CONFIG_", "npm_config_")
"""Where packages come from is the machine's to say; nothing else of ours is an installer's business."""

_MACHINES_AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Where Debian and its kin, Alpine and Arch keep them."""

_credentials = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Pinned:
    """Exactly what is to be installed. Names and versions have been checked: none is an option."""

    kind: Literal["pypi", "npm"]
    name: str
    version: str
    constraints: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def folder(self, data: Path) -> Path:
        """Its environment's folder: another one for each version, constraint and Python."""
        told = [self.kind, self.name, self.version, *self.constraints]
        told += [str(sys.implementation.cache_tag)] if self.kind == "pypi" else []
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.kind}-{self.name}-{self.version}").strip("-")
        return data / "packages" / f"{plain[:100]}-{digest}"


async def ensure_installed(pinned: Pinned, context: Context) -> Path:
    """The folder in which it is installed; installs it first where it is not.

    Raises:
        ConfigError: this machine lacks what an install needs.
        LinkError: it did not install, with the installer's last words.
    """
    folder = pinned.folder(context.data)
    if _is_usable(folder, pinned):
        return folder
    with anyio.move_on_after(INSTALL_SECONDS):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            async with _locked(folder.parent / f"{folder.name}.lock", pinned, context):
                if not _is_usable(folder, pinned):
                    context.on_progress(f"installing {pinned} (first time only)")
                    await anyio.to_thread.run_sync(_clear, folder)
                    await (_install_pypi if pinned.kind == "pypi" else _install_npm)(pinned, folder, context)
                    _mark(folder, pinned)
        except OSError as error:
            raise ConfigError(
                f"{pinned} cannot be installed into '{error.filename or folder}': {error.strerror}."
            ) from None
        return folder
    raise LinkError(f"{pinned} was not installed within {INSTALL_SECONDS:g} s", sent=False)


def find_program(pinned: Pinned, folder: Path, run: str | None) -> list[str]:
    """How to start what was installed: `run`, else what is named like the package, else the only program.

    Raises:
        ConfigError: there is no such program, or there are several.
    """
    found = _scripts_pypi(pinned, folder) if pinned.kind == "pypi" else _scripts_npm(pinned, folder)
    names = sorted(found)
    listed = ", ".join(names) or "none"
    if run is not None:
        if run not in found:
            raise ConfigError(f"{pinned} has no program '{run}'; it has: {listed}. Correct `run`.")
        return found[run]
    like_package = [name for name in names if _plain(name) == _plain(pinned.name.rpartition("/")[2])]
    chosen = like_package or names
    if len(chosen) != 1:
        raise ConfigError(f"{pinned} has no program of its own name; it has: {listed}. Name one with `run`.")
    return found[chosen[0]]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# Python packages


async def _install_pypi(pinned: Pinned, folder: Path, context: Context) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
    if uv is None:
        await install_with_pip(pinned, folder, context)
        return
    await _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], pinned, context)
    python = str(folder / "bin" / "python")
    await _run([uv, "pip", "install", "--quiet", "--python", python, *_wanted(pinned)], pinned, context)


async def install_with_pip(pinned: Pinned, folder: Path, context: Context) -> None:
    """Make the environment with nothing but Python itself: slower than uv, and always there."""
    await _run([sys.executable, "-m", "venv", str(folder)], pinned, context)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    await _run([*pip, "--no-input", *_wanted(pinned)], pinned, context)


def _wanted(pinned: Pinned) -> list[str]:
    return [f"{pinned.name}=={pinned.version}", *pinned.constraints]


def _scripts_pypi(pinned: Pinned, folder: Path) -> dict[str, list[str]]:
    distribution = _distribution(pinned, folder)
    points = distribution.entry_points.select(group="console_scripts") if distribution is not None else ()
    # Through its Python, not by the script's first line: that names the folder it was installed into, which
    # has another name once the hub's folder has been moved.
    python = str(folder / "bin" / "python")
    return {point.name: [python, str(folder / "bin" / point.name)] for point in points}


def _distribution(pinned: Pinned, folder: Path) -> Distribution | None:
    places = [str(place) for place in folder.glob("lib/python*/site-packages")]
    return next(
        (found for found in distributions(path=places) if _plain(found.name) == _plain(pinned.name)), None
    )


# npm packages


async def _install_npm(pinned: Pinned, folder: Path, context: Context) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise ConfigError(f"needs node {NODE_LEAST} or newer, and npm; not found on PATH. Install Node.js.")
    version = (await _run([node, "--version"], pinned, context)).strip()
    major = re.match(r"v([0-9]+)\.", version)
    if major is None or int(major[1]) < NODE_LEAST:
        raise ConfigError(
            f"needs node {NODE_LEAST} or newer; {node} is {version[:20]}. Install a newer Node.js."
        )
    folder.mkdir()
    quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts", "--loglevel=error"]
    wanted = f"{pinned.name}@{pinned.version}"
    await _run([npm, "install", "--prefix", str(folder), *quiet, wanted], pinned, context)


def _scripts_npm(pinned: Pinned, folder: Path) -> dict[str, list[str]]:
    package = folder / "node_modules" / pinned.name
    try:
        told = json.loads((package / "package.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    programs = told.get("bin", {})
    if isinstance(programs, str):
        programs = {pinned.name.rpartition("/")[2]: programs}
    node = shutil.which("node") or "node"
    return {name: [node, str(package / file)] for name, file in programs.items() if isinstance(file, str)}


# Both


def _is_usable(folder: Path, pinned: Pinned) -> bool:
    # A link to a Python that has been uninstalled does not exist.
    lives = pinned.kind == "npm" or (folder / "bin" / "python").exists()
    return lives and (folder / _MARKER).is_file()


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _mark(folder: Path, pinned: Pinned) -> None:
    told = {"kind": pinned.kind, "name": pinned.name, "version": pinned.version, "with": pinned.constraints}
    half = folder / f"{_MARKER}.part"
    half.write_text(json.dumps(told), "utf-8")
    half.replace(folder / _MARKER)


@asynccontextmanager
async def _locked(file: Path, pinned: Pinned, context: Context) -> AsyncIterator[None]:
    """One install of the same at a time, also among processes; the lock ends with its holder."""
    with file.open("ab") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    context.on_progress(f"waiting for {pinned}, which is being installed already")
                told = True
                # The system wakes nobody who waits without blocking.
                await anyio.sleep(_LOCK_POLL_SECONDS)
        yield


async def _run(argv: Sequence[str], pinned: Pinned, context: Context) -> str:
    """Run one step and return the end of its output. Raises `LinkError` where it fails."""
    output, lines = bytearray(), deque[str](maxlen=_LINES_KEPT)

    def keep(data: bytes) -> None:
        output.extend(data)
        del output[:-4096]

    def hear(line: str) -> None:
        if not is_chatter(line):
            lines.append(line.removeprefix("npm error "))

    child = await context.children.start(
        argv, env=installers_environment(os.environ), cwd=context.data, on_stdout=keep, on_stderr=hear
    )
    try:
        child.close_input()
        status = await child.wait()
    finally:
        await child.aclose()
    text = output.decode(errors="replace")
    if status != "exit status 0":
        words = [
            harmless(line.strip()) for line in (*text.splitlines()[-_LINES_KEPT:], *lines) if line.strip()
        ]
        said = _credentials.sub("//...@", " | ".join(words[-_LINES_KEPT:]))
        raise LinkError(f"{pinned} did not install ({status}). {said}", sent=False)
    return text


def installers_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What an installer gets of ours; and to trust whom this machine trusts, where we say nothing of it.

    Companies have certificate authorities of their own, which uv (two names, old and new) and node pass over.
    """
    trust = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    if os.path.exists(_MACHINES_AUTHORITIES):
        trust["NODE_EXTRA_CA_CERTS"] = _MACHINES_AUTHORITIES
    return trust | {
        name: value
        for name, value in ours.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
