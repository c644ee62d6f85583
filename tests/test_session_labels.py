"""What a person calls a session decides what may be done in it; people can ask beforehand, and look back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.commands import hub
from tests.homes import done, running, write
from tests.sources import ROOT

WORKER = [sys.executable, str(ROOT / "tests" / "servers" / "worker.py")]
LABELLED = {"use": "good__*", "when": {"labels": {"customer": "acme"}}}


def furnish(home: Path) -> Path:
    write(home, "good", server="good", connect={"command": WORKER})
    write(home, "me", agent="me", may=["hub__*", LABELLED])
    return home


@pytest.mark.parametrize(
    ("more", "allowed"),
    [
        (["--label", "customer=acme"], True),
        (["--label", "customer=acme", "--label", "other=1"], True),
        (["--label", "customer=else"], False),
        (["text=x", "--label", "customer=acme"], True),
        (["text=x"], False),
    ],
)
def test_can_is_asked_of_a_session_that_would_be_labelled_so(
    more: list[str], allowed: bool, tmp_path: Path
) -> None:
    said = hub(furnish(tmp_path), "agents", "can", "me", "good__echo", *more)
    assert said.code == (0 if allowed else 6), said.err
    assert allowed or "in sessions labelled customer=acme" in said.out


def test_rules_see_the_labels_of_a_session_live_and_looked_back_at(tmp_path: Path) -> None:
    home = furnish(tmp_path)
    call = ("tools", "call", "good__echo", "text=x")
    with running(home):
        opened = done(home, "tools", "call", "hub__session", "action=open", "name=job", "--json").json
        assert hub(home, *call).code == 6
        assert hub(home, "agents", "can", "me", "good__echo", "--session", "job").code == 6
        done(home, "sessions", "label", "job", "customer=acme")
        assert done(home, *call).out == "x\n"
        assert hub(home, "agents", "can", "me", "good__echo", "--session", "job").code == 0
        assert hub(home, "agents", "can", "me", "good__echo", "--session", "none").code == 5
    # What was refused before the label is let through by the session as it is called now.
    found = hub(home, "policy", "test", "--json")
    assert [(each["was"], each["would_be"]) for each in found.json["changes"]] == [("refused", "allowed")]
    write(home, "me", agent="me", may=["hub__*", {**LABELLED, "when": {"labels": {"customer": "else"}}}])
    changes = hub(home, "policy", "test", "--json").json["changes"]
    assert [(each["was"], each["would_be"], each["calls"]) for each in changes] == [("allowed", "refused", 1)]
    assert opened["structuredContent"]["session"] in done(home, "sessions", "list").out


def test_when_a_session_was_last_used_is_known_at_once_and_after_the_end(tmp_path: Path) -> None:
    """Regression: it was noted once a minute, and not at the end."""
    home = furnish(tmp_path)

    def used_after(before: str) -> str:
        """It is known to a second, and a command takes some tenths of one."""
        for _ in range(50):
            done(home, "tools", "call", "hub__memory", "action=search")
            used: str = done(home, "sessions", "show", session["id"], "--json").json["last_used"]
            if used > before:
                return used
        raise AssertionError(f"still last used at {before}")

    with running(home):
        done(home, "tools", "call", "hub__memory", "action=search")
        (session,) = done(home, "sessions", "list", "--json").json
        assert session["started"] <= session["last_used"]
        used = used_after(session["last_used"])
        last = used_after(used)
    assert done(home, "sessions", "show", session["id"], "--json").json["last_used"] >= last
