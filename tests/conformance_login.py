"""The hub as the client of an authorization server that the conformance suite examines.

As `tests/conformance_client.py`, for its scenarios `auth/...`: a real `hub login`, with a browser that says
yes to everything, then the hub that uses the server, and again a login where it says that it needs one.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from tests.commands import COMMAND, environment, hub
from tests.homes import running, write

SECONDS = 60
LOGINS_MAX = 3
CIMD = "https://conformance-test.local/client-metadata.json"


def main(url: str) -> int:
    """Log in at the server at `url`, and use it; 1 if that does not work."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        furnish(home, url, json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}"))
        with running(home):
            for _ in range(LOGINS_MAX):
                said = use(home)
                if said is None:
                    return 0
                if "hub login" not in said or not log_in(home, re.findall(r"--scope ([^ `]+)", said)):
                    return 1
    return 1


def furnish(home: Path, url: str, context: dict[str, Any]) -> None:
    oauth: dict[str, Any] = {}
    connect: dict[str, Any] = {"url": url}
    if "client_id" in context:
        oauth = {"client_id": context["client_id"]}
    if "client_secret" in context:
        at = httpx.URL(url).copy_with(path="/.well-known/oauth-protected-resource/mcp")
        metadata = httpx.get(at, timeout=SECONDS).json()
        oauth |= {"client_secret": "${CLIENT_SECRET}", "issuer": metadata["authorization_servers"][0]}
        os.environ["CLIENT_SECRET"] = context["client_secret"]
        if os.environ["MCP_CONFORMANCE_SCENARIO"].startswith("auth/client-credentials"):
            oauth["grant"] = "client_credentials"
    if os.environ["MCP_CONFORMANCE_SCENARIO"] == "auth/basic-cimd":
        # Where it is known by a document, as its manifest says.
        oauth = {"client_id": CIMD}
    if oauth:
        connect["oauth"] = oauth
    write(home, "me", agent="me", may=["*"])
    write(home, "server", server="server", connect=connect, names="bare")


def use(home: Path) -> str | None:
    """Why a use of the server did not work; `None` if all did."""
    checked = hub(home, "servers", "check", "server")
    if checked.code:
        sys.stdout.write(checked.err)
        return checked.err
    for tool in hub(home, "tools", "list", "--server", "server", "-q").out.split():
        called = hub(home, "tools", "call", tool)
        sys.stdout.write(called.out + called.err)
        if called.code:
            return called.err + hub(home, "servers", "show", "server").out
    return None


def log_in(home: Path, scopes: list[str]) -> bool:
    asked = [part for scope in scopes for part in ("--scope", scope)]
    with subprocess.Popen(
        [*COMMAND, "login", "server", "--no-browser", "--home", str(home), *asked],
        stdin=subprocess.DEVNULL, stdout=sys.stdout, stderr=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            sys.stdout.write(line)
            if line.startswith("http"):
                page = httpx.get(line.strip(), follow_redirects=True, timeout=SECONDS)
                sys.stdout.write(f"{page.status_code}\n")
        return process.wait(SECONDS) == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
