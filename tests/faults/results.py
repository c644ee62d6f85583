"""The figures that are kept, and the page that shows them."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.figures import Figures, Row, Scale
from tests.faults.others import versions
from tests.faults.table import TABLE
from tests.sources import ROOT

__all__ = ["PAGE", "RESULTS", "keep", "load", "rendered"]

RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "reliability.md"

_measured = re.compile(r"(<!-- faults: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def load() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def keep(row: Row, word: str, scale: Scale, found: Figures, busy: float) -> None:
    """Write down what was found, and render the page anew."""
    kept = load()
    kept.setdefault("rows", {}).setdefault(row.id, {})[word] = {
        "said": found.said,
        "broken": found.broken,
        "tier": "smoke" if scale.smoke else "long",
        "busy": round(busy, 1),
    }
    kept["machine"] = {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
    kept["versions"] = {**kept.get("versions", {}), **versions()}
    RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    if PAGE.exists():
        PAGE.write_text(rendered(PAGE.read_text(), kept))


def rendered(page: str, kept: Mapping[str, Any]) -> str:
    """`page` with its measured parts as `kept` has them."""
    return _measured.sub(lambda part: f"{part[1]}{_PARTS[part[2]](kept)}\n{part[3]}", page)


def _table(kept: Mapping[str, Any]) -> str:
    rows = [f"| {row.id} | {row.fault} | {row.promise} | {_cell(kept, row.id, 'hub')} |" for row in TABLE]
    return "\n".join(["| | fault | promised | measured |", "|---|---|---|---|", *rows])


def _others(kept: Mapping[str, Any]) -> str:
    words = ("hub", "FastMCP proxy", "FastMCP, anew", "ContextForge")
    lines = ["| | fault | the hub | FastMCP, connected | FastMCP, anew | ContextForge |", "|---" * 6 + "|"]
    for row in TABLE:
        if row.others:
            cells = " | ".join(_cell(kept, row.id, word) for word in words)
            lines.append(f"| {row.id} | {row.fault} | {cells} |")
    return "\n".join(lines)


def _cell(kept: Mapping[str, Any], id: str, word: str) -> str:
    found = kept.get("rows", {}).get(id, {}).get(word)
    if found is None:
        return "not measured"
    said = [f"**{each}**" if each in found["broken"] else each for each in found["said"]]
    return "; ".join(said).replace("|", "\\|") + (" (smoke tier)" if found["tier"] == "smoke" else "")


def _machine(kept: Mapping[str, Any]) -> str:
    on = kept.get("machine", {})
    busy = [each["busy"] for row in kept.get("rows", {}).values() for each in row.values()]
    load = (
        f"; it was busy with other work (load {min(busy)} to {max(busy)})" if busy and max(busy) > 1 else ""
    )
    return f"Measured on {on.get('cores')} cores, {on.get('system')}, Python {on.get('python')}{load}."


def _versions(kept: Mapping[str, Any]) -> str:
    return f"Versions: {', '.join(f'{name} {it}' for name, it in sorted(kept.get('versions', {}).items()))}."


_PARTS = {"table": _table, "others": _others, "machine": _machine, "versions": _versions}
