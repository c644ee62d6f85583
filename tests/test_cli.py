"""The command line where no hub runs: what it prints, how it exits, what it costs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import hub
from tests.commands import COMMAND, environment, furnish
from tests.commands import hub as run_hub

IMPORTS = (
    "import sys; sys.argv[1:] = {arguments!r}\n"
    "from hub.cli import run\n"
    "code = run(sys.argv[1:])\n"
    "heavy = [name for name in ('mcp', 'mcp_types', 'uvicorn', 'starlette', 'rich') if name in sys.modules]\n"
    "sys.exit(repr(heavy) if heavy or code else 0)"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return furnish(tmp_path / "home")


@pytest.mark.parametrize("command", [["--help"], ["tools", "list"], ["calls", "list"], ["servers", "list"]])
def test_help_and_lists_do_not_import_what_is_slow(home: Path, command: list[str]) -> None:
    """Ours: `import mcp` costs 1.4 s, and these are to answer within 300 ms."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(arguments=command)],
        capture_output=True, text=True, timeout=30, cwd=home, env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stderr if done.returncode else "") == (0, "")


def test_a_hub_that_starts_does_not_load_what_it_may_never_use() -> None:
    """Ours: 0.6 s to its first answer, 70 MiB idle. The admin plane comes with the first who asks for it."""
    heavy = (
        "mcp",
        "uvicorn",
        "starlette",
        "cryptography",
        "jsonschema_rs",
        "jwt",
        "httpx",
        "hub.admin.admin",
    )
    script = f"import sys, hub.cli, hub.serve; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=30, env=environment(),
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr


def test_the_home_may_stand_before_or_behind_the_command_or_in_the_environment(
    home: Path, tmp_path: Path
) -> None:
    expected = ["me", "reader"]
    other = str(tmp_path / "other")
    for arguments, more in (
        (["--home", str(home), "agents", "list", "-q"], {}),
        (["agents", "list", "-q", "--home", str(home)], {"HUB_HOME": other}),
        (["agents", "list", "-q"], {"HUB_HOME": str(home)}),
        (["--home", other, "agents", "list", "-q", "--home", str(home)], {}),
    ):
        done = subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, timeout=30, env=environment(**more)
        )
        assert done.stdout.split() == expected, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["tools", "list", "--agent", "nobody", "--json"], 5, "not_found"),
        (["tools", "show", "nothing", "--json"], 5, "not_found"),
        (["servers", "show", "nothing", "--json"], 5, "not_found"),
        (["servers", "restart", "desk", "--json"], 1, "unexpected"),
        (["calls", "show", "01m7yr4mx001d3hzjk5y1mv1tb", "--json"], 5, "not_found"),
        (["calls", "list", "--since", "3", "--json"], 2, "invalid_params"),
        (["calls", "list", "--limit", "0", "--json"], 2, "usage"),
        (["sessions", "show", "nothing", "--json"], 5, "not_found"),
        (["agents", "add", "../x", "--json"], 2, "manifest"),
        (["serve", "--agent", "me", "--json"], 2, "usage"),
        (["nonsense", "--json"], 2, "usage"),
        (["tools", "call", "desk__typed", "novalue", "--json"], 2, "invalid_params"),
        (["tools", "call", "desk__typed", "--args-json", "[]", "--json"], 2, "invalid_params"),
    ],
)
def test_a_failure_exits_with_its_code_and_says_it_in_json_last(
    hub_here: Any, home: Path, arguments: list[str], code: int, word: str
) -> None:
    done = hub_here(home, *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.error["code"] == word
    assert set(done.error) == {"code", "message", "hint"} and done.error["message"]


def test_a_failure_without_json_is_a_sentence_and_the_fix(hub_here: Any, home: Path) -> None:
    done = hub_here(home, "tools", "list", "--agent", "nobody")
    assert done.out == ""
    assert done.err == (
        "hub: There is no agent 'nobody'. Those there are: me, reader.\n"
        "`hub agents add nobody --may 'SERVER__*'` makes one.\n"
    )


def test_lists_are_empty_and_not_wrong_where_no_hub_has_ever_run(hub_here: Any, tmp_path: Path) -> None:
    for command in ("calls list", "sessions list", "servers list", "agents list"):
        done = hub_here(tmp_path, *command.split(), "--json")
        assert (done.code, done.json) == (0, [])
    assert not (tmp_path / ".hub").exists()


def test_a_folder_that_is_no_hubs_is_said_to_be_none_and_stays_as_it_is(
    hub_here: Any, tmp_path: Path
) -> None:
    """Most often somebody is in another folder than they think."""
    for command in (
        "tools list",
        "tools call desk__pid",
        "servers list",
        "agents show me",
        "servers check x",
    ):
        done = hub_here(tmp_path, *command.split())
        assert f"{tmp_path} is no hub's folder" in done.err and "HUB_HOME" in done.err, command
    assert list(tmp_path.iterdir()) == []


def test_a_home_whose_name_was_mistyped_is_not_made(tmp_path: Path) -> None:
    for command in ("servers list", "serve --port 0", "serve --stdio", "add x -- ls", "agents add x"):
        done = run_hub(tmp_path / "hom", *command.split())
        assert (done.code, f"{tmp_path / 'hom'} is no folder" in done.err) == (1, True), command
    assert not (tmp_path / "hom").exists()


@pytest.mark.parametrize(
    ("name", "meant"), [("typed", "desk__typed"), ("desk__tpyed", "desk__typed"), ("kettle", None)]
)
def test_a_tool_whose_name_was_mistyped_is_named(
    hub_here: Any, home: Path, name: str, meant: str | None
) -> None:
    hub_here(home, "servers", "check", "desk")
    done = hub_here(home, "tools", "show", name, "--json")
    message = f"There is no tool '{name}'." + (f" Did you mean '{meant}'?" if meant else "")
    assert (done.code, done.error["message"]) == (5, message)


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("servers show d", ["desk"]),
        ("agents show re", ["reader"]),
        ("tools call desk__t", ["desk__typed"]),
        ("tools call --agent r", ["reader"]),
        ("agents can me desk__t", ["desk__typed"]),
        ("servers show z", []),
    ],
)
def test_a_shell_completes_the_names_that_there_are(
    hub_here: Any, home: Path, typed: str, names: list[str]
) -> None:
    hub_here(home, "servers", "check", "desk")
    words = f"hub {typed}"
    done = subprocess.run(
        COMMAND,
        capture_output=True, text=True, timeout=30,
        env=environment(
            HUB_HOME=str(home), _HUB_COMPLETE="complete_bash", COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        ),
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (names, "")


def test_help_is_a_command_too(home: Path) -> None:
    assert run_hub(home, "help", "tools", "call").out == run_hub(home, "tools", "call", "--help").out
    assert run_hub(home, "-V").out == f"{hub.__version__}\n"


def test_what_is_said_and_what_is_printed_keep_their_order_in_one_file(home: Path) -> None:
    command = " ".join([*COMMAND, "--home", str(home), "agents", "can", "reader", "desk__pid", "2>&1"])
    both = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=30, env=environment()
    ).stdout
    assert both.startswith("no: ") and "\nto allow it: " in both


def on_a_terminal(home: Path, *arguments: str, **more: str) -> str:
    """What a terminal of 200 columns gets of stdout and stderr."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "--home", str(home), *arguments],
        stdin=follower, stdout=follower, stderr=follower,
        env=environment(COLUMNS="200", TERM="xterm", **more),
    ) as process:  # fmt: skip
        os.close(follower)
        seen = b""
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:
                break
            if not chunk:
                break
            seen += chunk
        process.wait(30)
    os.close(leader)
    return seen.decode()


def test_what_a_server_wrote_cannot_steer_a_terminal(hub_here: Any, home: Path) -> None:
    """Threat: names, descriptions and results are the server's words."""
    assert "half done" in on_a_terminal(home, "tools", "call", "desk__work")
    rude = on_a_terminal(home, "tools", "call", "desk__rude")
    assert rude.rstrip().endswith("red end") and "title" not in rude and "\x1b[31m" not in rude
    assert hub_here(home, "tools", "call", "desk__rude").out == "\x1b[31mred\x1b[0m \x1b]0;title\x07end\x08\n"
    table = on_a_terminal(home, "tools", "list", NO_COLOR="1")
    assert "Writes red end" in table and "\t" not in table
    assert "\x1b[31m" not in table and "\x1b]" not in table
    document = on_a_terminal(home, "tools", "call", "desk__rude", "--json")
    assert "\\u001b]0;title" in document and "\x1b]" not in document


def test_output_survives_a_terminal_that_is_not_unicode_and_a_reader_that_leaves(home: Path) -> None:
    (home / "manifests" / "me.yaml").write_text('agent: me\ntitle: "Žofie"\nmay: ["*"]\n')
    done = run_hub(home, "agents", "show", "me", PYTHONIOENCODING="ascii")
    assert done.code == 0 and "title: \\u017dofie" in done.out
    command = " ".join([*COMMAND, "schema", "|", "true"])
    piped = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30, env=environment())
    assert (piped.returncode, piped.stderr) == (0, "")


def test_a_list_costs_little_without_a_hub_and_is_never_out_of_date(hub_here: Any, home: Path) -> None:
    """Reading manifests takes longest, so answers are kept while nothing changes, and no reader is loaded."""
    hub_here(home, "tools", "call", "desk__pid")
    end = time.monotonic() + 30
    while not (home / ".hub" / "answers.json").exists():  # what has just changed is not kept yet
        assert time.monotonic() < end
        assert len(hub_here(home, "tools", "list", "-q").out.split()) == 7
    reader = IMPORTS.replace("'rich'", "'ruamel.yaml', 'hub.manifests.manifest'").format(
        arguments=["tools", "list", "-q"]
    )
    kept = subprocess.run(
        [sys.executable, "-c", reader],
        capture_output=True, text=True, timeout=30, cwd=home, env=environment(),
    )  # fmt: skip
    assert (kept.returncode, kept.stderr if kept.returncode else "") == (0, "")
    assert len(kept.stdout.split()) == 7
    (home / "manifests" / "me.yaml").write_text("agent: me\nmay: [desk__pid]\nresults: whole\n")
    assert hub_here(home, "tools", "list", "-q").out.split() == ["desk__pid"]
    (home / "manifests" / "me.yaml").unlink()
    assert hub_here(home, "tools", "list").code == 5
    (home / ".hub" / "answers.json").write_text('{"inputs": 1, "answers": []}')
    assert hub_here(home, "tools", "list", "--agent", "reader", "-q").out.split() == ["desk__typed"]


def test_doctor_finds_what_is_wrong_and_says_the_fix(hub_here: Any, home: Path) -> None:
    hub_here(home, "agents", "token", "me")
    healthy = hub_here(home, "doctor", "--json")
    assert healthy.code == 0, healthy.out
    token = home / ".hub" / "tokens" / "me"
    token.write_text("x")
    token.chmod(0o644)
    (home / "manifests" / "bad.yaml").write_text("sever: x\n")
    (home / ".hub" / "hub.db").write_text("this is not a database, whatever else it may be")
    ill = hub_here(home, "doctor", "--json")
    assert ill.code == 1
    wrong = {finding["check"]: finding for finding in ill.json if finding["state"] == "wrong"}
    assert set(wrong) == {"manifests", "record", "tokens"}
    assert wrong["tokens"]["hint"] == f"chmod 600 {token}"
    assert "bad.yaml:1" in wrong["manifests"]["message"]


def test_nothing_shows_a_traceback_but_with_hub_debug(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = run_hub(file, "init")
    assert done.code == 1 and str(file) in done.err
    assert run_hub(home, "version").out == run_hub(home, "--version").out == f"{hub.__version__}\n"
