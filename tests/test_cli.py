"""The command line where no hub runs: what it prints, how it exits, what it writes."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import hub.cli
from tests.commands import COMMAND, DESK, Done, environment, furnish
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


@pytest.fixture
def hub_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """`hub ARGUMENTS --home HOME` in this process, which spares its start."""
    monkeypatch.delenv("HUB_HOME", raising=False)

    def run(home: Path, *arguments: str) -> Done:
        cut = arguments.index("--") if "--" in arguments else len(arguments)
        code = hub.cli.run([*arguments[:cut], "--home", str(home), *arguments[cut:]])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


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
    heavy = ("mcp", "uvicorn", "starlette", "cryptography", "jsonschema_rs", "jwt", "httpx", "hub.admin")
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


def test_init_makes_a_home_that_is_valid_and_leaves_what_is_there(hub_here: Any, tmp_path: Path) -> None:
    made = hub_here(tmp_path / "new", "init", "--json")
    assert made.code == 0
    names = {Path(file).relative_to(tmp_path / "new").as_posix() for file in made.json["files"]}
    assert names == {"manifests/me.yaml", "manifests/time.yaml", ".gitignore", ".hub/manifest.schema.json"}
    assert (tmp_path / "new" / ".gitignore").read_text() == ".hub/\n"
    assert stat.S_IMODE((tmp_path / "new" / ".hub").stat().st_mode) == 0o700
    assert hub_here(tmp_path / "new", "validate").code == 0
    (tmp_path / "new" / "manifests" / "me.yaml").write_text("agent: me\nmay: []\n")
    (tmp_path / "new" / "manifests" / "time.yaml").unlink()
    again = hub_here(tmp_path / "new", "init", "--json")
    assert [Path(file).name for file in again.json["files"]] == ["manifest.schema.json"]
    assert hub_here(tmp_path / "new", "agents", "show", "me", "--json").json["may"] == []


def test_init_adds_to_a_gitignore_without_a_last_line_break(hub_here: Any, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.pyc")
    assert hub_here(tmp_path, "init").code == 0
    assert (tmp_path / ".gitignore").read_text() == "*.pyc\n.hub/\n"


def test_validate_points_at_file_line_and_key_and_exits_2(hub_here: Any, home: Path) -> None:
    bad = home / "manifests" / "bad.yaml"
    bad.write_text("server: bad\nconnect:\n  command: [x]\n  env: {A: '${HUB_TEST_UNSET}'}\ncolour: red\n")
    unset = home / "manifests" / "unset.yaml"
    unset.write_text(
        "server: unset\nconnect:\n  command: [x]\n  env: {A: '${HUB_TEST_UNSET}', B: '${X_Y:-1}'}\n"
    )
    done = hub_here(home, "validate")
    assert done.code == 2
    lines = done.out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{bad}:5: colour: ")
    assert lines[1].startswith(f"{unset}:4: connect.env.A: ") and "HUB_TEST_UNSET" in lines[1]
    found = hub_here(home, "validate", "--json").json
    assert found["servers"] == ["desk", "unset"]
    assert [problem["line"] for problem in found["problems"]] == [5, 4]
    assert hub_here(home, "validate", str(home / "manifests" / "desk.yaml")).code == 0
    assert hub_here(home, "validate", str(home / "none.yaml")).code == 2
    (home / "hub.yaml").write_text("prot: 1\n")
    assert "hub.yaml:1: prot" in hub_here(home, "validate").out


def test_the_schema_is_one_json_document(hub_here: Any, home: Path) -> None:
    assert hub_here(home, "validate").code == 0
    document = json.loads(run_hub(home, "schema").out)
    assert document["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize(
    ("arguments", "connect"),
    [
        (["--", "npx", "-y", "some-server"], {"command": ["npx", "-y", "some-server"]}),
        (["--env", "A=b=c", "--", "./run"], {"command": ["./run"], "env": {"A": "b=c"}}),
        (
            ["https://h.example/mcp", "--header", "X-A: b:c"],
            {"url": "https://h.example/mcp", "headers": {"X-A": "b:c"}},
        ),
        (["pypi:some-server@1.10"], {"package": {"pypi": "some-server", "version": "1.10"}}),
        (
            ["npm:@scope/name@2.0.0", "--", "--flag"],
            {"package": {"npm": "@scope/name", "version": "2.0.0", "args": ["--flag"]}},
        ),
    ],
)
def test_add_writes_a_manifest_that_says_what_was_typed(
    hub_here: Any, home: Path, arguments: list[str], connect: Any
) -> None:
    from ruamel.yaml import YAML

    cut = arguments.index("--") if "--" in arguments else len(arguments)
    done = hub_here(home, "add", "new", *arguments[:cut], "--json", *arguments[cut:])
    assert done.code == 0, done.err
    file = Path(done.json["file"])
    assert file == home / "manifests" / "new.yaml"
    assert file.read_text().startswith("# yaml-language-server: $schema=")
    assert YAML(typ="safe").load(file) == {"server": "new", "connect": connect}
    assert hub_here(home, "validate").code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Bad_Name", "--", "x"], "lower-case"),
        (["desk", "--", "x"], "already"),
        (["new", "pypi:some-server"], "names no version"),
        (["new", "https://h.example/mcp", "more"], "one word too many"),
        (["new", "--header", "A=b", "--", "x"], "--header is for a URL"),
        (["new", "--env", "A", "--", "x"], "K=V"),
        (["new"], "Missing argument"),
    ],
)
def test_add_refuses_what_makes_no_manifest_and_writes_nothing(
    hub_here: Any, home: Path, arguments: list[str], says: str
) -> None:
    before = sorted((home / "manifests").iterdir())
    done = hub_here(home, "add", *arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert sorted((home / "manifests").iterdir()) == before


def test_add_warns_of_a_secret_in_plain_text_without_repeating_it(hub_here: Any, home: Path) -> None:
    done = hub_here(home, "add", "new", "http://h.example/", "--header", "Authorization=Bearer abcdef")
    assert "${secret:NAME}" in done.err and "abcdef" not in done.err + done.out
    assert stat.S_IMODE((home / "manifests" / "new.yaml").stat().st_mode) == 0o600


def test_agents_are_added_asked_about_and_removed(hub_here: Any, home: Path) -> None:
    added = hub_here(home, "agents", "add", "ci", "--may", "desk__*", "--never", "desk__die", "--json")
    assert added.code == 0, added.err
    assert set(added.json) == {"agent", "token"} and added.json["agent"] == "ci"
    assert added.json["token"].startswith("hub_")
    yes, no, other = (
        hub_here(home, "agents", "can", "ci", f"{name}") for name in ("desk__a", "desk__die", "x__y")
    )
    assert (yes.code, no.code, other.code) == (0, 6, 6)
    assert yes.out == "yes: manifests/ci.yaml:4: may[0] 'desk__*'\n"
    assert no.out.startswith("no: manifests/ci.yaml:") and "never[0] 'desk__die'" in no.out
    assert other.out == "no: no rule of manifests/ci.yaml allows it\n"
    assert hub_here(home, "agents", "can", "ci", "desk__die", "--json").json["rule"] == "never[0]"
    assert hub_here(home, "agents", "add", "ci").code == 2
    assert hub_here(home, "agents", "list", "-q").out.split() == ["ci", "me", "reader"]
    assert hub_here(home, "agent", "remove", "ci").code == 0
    assert hub_here(home, "agents", "can", "ci", "desk__a").code == 5


def test_tokens_are_issued_listed_rotated_and_revoked_without_a_hub(hub_here: Any, home: Path) -> None:
    first = hub_here(home, "agents", "token", "reader", "--json").json
    second = hub_here(home, "agents", "token", "reader", "--json").json
    assert set(first) == {"agent", "id", "token"} and first["token"] != second["token"]
    listed = hub_here(home, "agents", "token", "reader", "--list", "--json").json
    assert [token["revoked"] for token in listed] == [None, None]
    assert first["token"] not in json.dumps(listed)
    assert hub_here(home, "agents", "token", "reader", "--revoke", listed[0]["id"]).code == 0
    assert hub_here(home, "agents", "token", "reader", "--revoke", listed[0]["id"]).code == 5
    assert hub_here(home, "agents", "token", "me", "--revoke", listed[1]["id"]).code == 5
    hub_here(home, "agents", "token", "reader", "--rotate", "--json")
    listed = hub_here(home, "agents", "token", "reader", "--list", "--json").json
    assert [token["revoked"] is None for token in listed] == [True, False, False]
    assert hub_here(home, "agents", "token", "reader", "--rotate", "--list").code == 2


def test_a_token_can_be_narrower_end_and_have_a_parent_without_a_hub(hub_here: Any, home: Path) -> None:
    def token(*arguments: str) -> Done:
        done: Done = hub_here(home, "agents", "token", "reader", "--json", *arguments)
        return done

    rule = "{use: desk__a, with: {x: {const: 1}}}"
    first = token("--expires", "30d", "--may", "desk__*", "--may", rule, "--never", "desk__b", "--calls", "5")
    child = token("--parent", first.json["id"], "--expires", "90d", "--calls", "9")
    listed = {each["id"]: each for each in hub_here(home, "agents", "tokens", "reader", "--json").json}
    above, below = listed[first.json["id"]], listed[child.json["id"]]
    assert above["scope"] == {
        "may": ["desk__*", {"use": "desk__a", "with": {"x": {"const": 1}}}],
        "never": ["desk__b"],
    }
    assert (above["calls"], above["calls_made"], above["parent"]) == (5, 0, None)
    assert (below["parent"], below["calls"], below["scope"]) == (above["id"], 5, {})
    assert below["expires"] == above["expires"], "never later than its parent"
    shown = hub_here(home, "agents", "tokens", "reader").out
    assert "desk__a {...}" in shown and "!desk__b" in shown and "0/5" in shown
    assert hub_here(home, "agents", "token", "reader", "--revoke", above["id"]).code == 0
    listed = {each["id"]: each for each in hub_here(home, "agents", "tokens", "reader", "--json").json}
    assert listed[below["id"]]["revoked"] is not None
    assert token("--parent", above["id"]).code == 5
    for wrong in (["--expires", "3y"], ["--expires", "0s"], ["--calls", "0"], ["--may", "{uses: x}"]):
        assert token(*wrong).code == 2, wrong
    assert token("--rotate", "--calls", "3").code == 2


def test_a_client_s_configuration_has_a_token_only_where_one_is_kept(hub_here: Any, home: Path) -> None:
    hub_here(home, "agents", "token", "me")
    without = hub_here(home, "agents", "show", "me", "--config")
    assert "<a token of me" in without.json["mcpServers"]["hub"]["headers"]["Authorization"]
    path = home / ".hub" / "tokens" / "me"
    path.write_text("hub_abc\n")
    kept = hub_here(home, "agents", "show", "me", "--config").json["mcpServers"]["hub"]
    assert kept["headers"] == {"Authorization": "Bearer hub_abc"}
    assert kept["url"].endswith("/mcp")
    piped = hub_here(home, "agents", "show", "me", "--config", "--stdio").json["mcpServers"]["hub"]
    assert piped["args"][-6:] == ["serve", "--stdio", "--agent", "me", "--home", str(home)]


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


def test_an_agent_whose_manifest_is_broken_is_named_with_what_is_wrong(hub_here: Any, home: Path) -> None:
    (home / "manifests" / "reader.yaml").write_text("agent: reader\nmight: []\n")
    done = hub_here(home, "agents", "show", "reader", "--json")
    assert done.code == 2
    assert "reader.yaml:2: might" in done.error["message"]


def test_lists_are_empty_and_not_wrong_where_no_hub_has_ever_run(hub_here: Any, tmp_path: Path) -> None:
    for command in ("calls list", "sessions list", "servers list", "agents list"):
        done = hub_here(tmp_path, *command.split(), "--json")
        assert (done.code, done.json) == (0, [])
    assert not (tmp_path / ".hub").exists()


def test_a_tool_is_called_without_a_hub_and_then_remembered(hub_here: Any, home: Path) -> None:
    called = hub_here(home, "tools", "call", "desk__typed", "text=012", "count=012", "tags=a", "--json")
    assert called.code == 0, called.err
    assert called.json["structuredContent"] == {"text": "012", "count": 12, "tags": ["a"]}
    listed = hub_here(home, "tools", "list", "--json").json
    assert [set(tool) for tool in listed] == [{"name", "server", "description", "inputSchema"}] * 7
    assert hub_here(home, "tools", "list", "--agent", "reader", "-q").out.split() == ["desk__typed"]
    table = hub_here(home, "tools", "list")
    assert table.out.splitlines()[0] == "NAME\tSERVER\tDESCRIPTION"
    assert "\x1b" not in table.out and "Writes red end" in table.out
    assert "No hub runs" in table.err
    server = hub_here(home, "servers", "list", "--json").json[0]
    assert (server["name"], server["status"], server["tools"], server["protocol"]) == (
        "desk", "not running", 7, "2026-07-28",
    )  # fmt: skip
    call = hub_here(home, "calls", "list", "--json").json[0]
    assert set(call) >= {"id", "session", "agent", "tool", "state", "started", "duration_ms"}
    assert (call["agent"], call["tool"], call["state"]) == ("me", "desk__typed", "done")
    shown = hub_here(home, "calls", "show", call["id"][:12], "--json").json
    assert shown["params"]["arguments"]["count"] == 12
    assert hub_here(home, "calls", "show", call["id"][:3]).code == 2
    assert (
        hub_here(home, "sessions", "show", call["session"], "--json").json["last_calls"][0]["id"]
        == call["id"]
    )
    assert hub_here(home, "servers", "logs", "desk").out == "desk is up\n"
    # What was learnt from one command does not count for another.
    manifest = {"server": "desk", "connect": {"command": [*DESK, "--other"]}}
    (home / "manifests" / "desk.yaml").write_text(json.dumps(manifest))
    assert hub_here(home, "tools", "list", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "code", "word", "says"),
    [
        (["desk__fail"], 5, "tool_error", "It did not work."),
        (["desk__nothing"], 5, "not_found", "desk__nothing"),
        (["desk__pid", "--agent", "reader"], 6, "denied", "manifests/reader.yaml:5: never[0] 'desk__pid'"),
        (["desk__fail", "--agent", "reader"], 6, "denied", "no rule of manifests/reader.yaml allows it"),
        (["desk__typed", "count=many"], 2, "invalid_params", "count: 'many' is not of type integer"),
        (["broken__tool"], 4, "upstream_down", "no-such-program-here"),
    ],
)
def test_a_call_that_comes_to_nothing_says_why(
    hub_here: Any, home: Path, arguments: list[str], code: int, word: str, says: str
) -> None:
    (home / "manifests" / "broken.yaml").write_text(
        "server: broken\nconnect: {command: [no-such-program-here]}\n"
    )
    done = hub_here(home, "tools", "call", *arguments, "--json")
    assert (done.code, done.error["code"]) == (code, word), done.err
    assert says in done.error["message"] + done.error["hint"]


def test_a_server_that_does_not_start_is_exit_code_4_with_its_reason(hub_here: Any, home: Path) -> None:
    (home / "manifests" / "broken.yaml").write_text(
        "server: broken\nconnect: {command: [no-such-program-here]}\n"
    )
    done = hub_here(home, "servers", "check", "broken", "--json")
    assert done.code == 4, done.err
    assert "no-such-program-here" in done.error["message"]
    assert hub_here(home, "servers", "check", "desk", "--json").json["status"] == "ready"


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
    reader = IMPORTS.replace("'rich'", "'ruamel.yaml', 'hub.manifest'").format(
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
