"""Small manifests for tests, and how their problems read."""

from __future__ import annotations

from pathlib import Path

from hub.manifests import manifest

ROOT = Path(__file__).parent.parent
TEA = "server: tea\nconnect: {command: [tea]}\n"

WHOLE = """
server: git
title: Git repositories
connect:
  package: {pypi: mcp-server-git, version: 2026.10.19, args: [--repository, "${REPO:-.}"], with: ["mcp>=2"]}
  env: {TEA: "${POT}"}
era: legacy
start: eager
share: session
cwd: sub
trust: annotations
results: whole
names: bare
check: arguments
limits: {connect: 1.5s, call: 500ms, idle: 2h, concurrent: 3, message: 64KiB}
tools:
  allow: ["git_*"]
  deny: [git_reset]
  override: {git_status: {description: "Look", title: T}, "git_log*": {annotations: {readOnlyHint: true}}}
"""


def problems(folder: Path, text: str | bytes, name: str = "tea.yaml") -> list[str]:
    """What is said of one file, without the folder's name."""
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [str(problem).replace(f"{folder}/", "") for problem in manifest.load(folder).problems]
