"""Secrets: where their values come from, what changes when they change, and where they never turn up."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from connectors.base import ConfigError, RemoteError
from connectors.children import Children
from hub.admin.admin import Admin
from hub.app import App, open_app
from hub.env import SystemEnv
from hub.errors import HomeError
from hub.home import Home
from hub.mask import MASKED, Mask
from hub.secrets import Secrets
from hub.secrets_file import SecretFile
from hub.settings import Settings
from tests.app_room import until
from tests.commands import hub

pytestmark = pytest.mark.anyio

VALUE = "planted-value-1234567890"
LEAKY = """
import json, os, sys
key = os.environ["KEY"]
print("started with", key, file=sys.stderr, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, answer = asked["method"], {}
    if method == "server/discover":
        answer = {"error": {"code": -32601, "message": "no"}}
    elif method == "initialize":
        said = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        answer = {"result": {**said, "serverInfo": {"name": "leaky", "version": "1"}}}
    elif method == "tools/list":
        tools = [{"name": n, "inputSchema": {"type": "object"}} for n in ("refuse", "fail", "length")]
        answer = {"result": {"tools": tools}}
    elif asked["params"]["name"] == "refuse":
        answer = {"error": {"code": -31000, "message": "bad " + key, "data": {"env": [key]}}}
    elif asked["params"]["name"] == "fail":
        answer = {"result": {"isError": True, "content": [{"type": "text", "text": "401 for " + key}]}}
    else:
        answer = {"result": {"content": [{"type": "text", "text": str(len(key))}]}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""


def secrets_at(path: Path, environ: dict[str, str], *command: str, seconds: float = 10) -> Secrets:
    home = Home.at(path)
    return Secrets(SecretFile(home, SystemEnv()), environ, home, command, seconds=seconds)


async def find(secrets: Secrets, name: str) -> str | None:
    with anyio.fail_after(60):
        async with Children() as children:
            return (await secrets.find([name], children)).get(name)


def test_the_file_shows_names_and_no_value_and_is_its_owners_alone(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    file = SecretFile(home, SystemEnv())
    file.set("one", VALUE)
    file.set("two", "line\nline")
    assert (file.names(), file.get("one"), file.get("two")) == (["one", "two"], VALUE, "line\nline")
    assert VALUE.encode() not in home.secrets.read_bytes()
    for path in (home.secrets, home.secrets_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert file.remove("one") and not file.remove("one") and file.get("one") is None


def test_a_sealed_value_opens_under_its_own_name_only(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    file = SecretFile(home, SystemEnv())
    file.set("one", VALUE)
    sealed = json.loads(home.secrets.read_text())
    home.secrets.write_text(json.dumps({"other": sealed["one"]}))
    with pytest.raises(HomeError, match="'other' cannot be opened"):
        file.get("other")
    home.secrets.write_text("[]")
    with pytest.raises(HomeError, match="is damaged"):
        file.names()


async def test_the_environment_counts_before_the_file_and_the_file_before_the_command(tmp_path: Path) -> None:
    environ = {"HUB_SECRET_ONE": "from-environment", "PATH": "/usr/bin:/bin"}
    secrets = secrets_at(tmp_path, environ, "/bin/echo", "asked:{name}")
    secrets.file.set("one", "from-file")
    secrets.file.set("two", "from-file")
    assert await find(secrets, "one") == "from-environment"
    assert await find(secrets, "two") == "from-file"
    assert await find(secrets, "three") == "asked:three"
    assert (secrets.source("one"), secrets.source("two")) == ("environment", "file")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("/bin/sh", "-c", f"echo {VALUE} >&2; exit 3 # {{name}}"), "exit status 3"),
        (("/bin/sleep", "60", "{name}"), "no answer within|exit status 1"),
        (("/bin/sh", "-c", "true {name}"), "nothing was printed"),
        (("no-such-program", "{name}"), "was not found on PATH"),
    ],
)
async def test_a_command_that_gives_nothing_is_named_in_time_and_quoted_never(
    tmp_path: Path, command: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as failed:
        seconds = 0.3 if "no answer" in said else 30
        await find(secrets_at(tmp_path, {"PATH": "/usr/bin:/bin"}, *command, seconds=seconds), "tea")
    assert VALUE not in str(failed.value)


def test_known_values_are_masked_in_every_form_and_short_ones_are_left() -> None:
    mask = Mask()
    mask.learn(["short", "pass word/" + VALUE, "first-line\nsecond-line"])
    assert mask.text(f"a pass word/{VALUE}.") == f"a {MASKED}."
    assert mask.text("pass%20word%2F" + VALUE) == MASKED
    assert mask.text("second-line, short") == f"{MASKED}, short"
    untouched = RemoteError(-1, "short", {"a": [1]})
    assert mask.error(untouched) is untouched


def furnish(home: Path) -> None:
    (home / "leaky.py").write_text(LEAKY)
    (home / "manifests").mkdir()
    connect = {"command": [sys.executable, "leaky.py"], "env": {"KEY": "${secret:key}"}}
    (home / "manifests" / "leaky.yaml").write_text(json.dumps({"server": "leaky", "connect": connect}))
    (home / "manifests" / "me.yaml").write_text('agent: me\nmay: ["*"]\n')


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[tuple[App, Admin]]:
    with anyio.fail_after(60):
        async with open_app(Home.at(home), Settings()) as app:
            yield app, Admin(app)


async def said(admin: Admin, tool: str) -> str:
    try:
        return json.dumps(await admin.tool_call(f"leaky__{tool}", "me", lambda sentence: None))
    except RemoteError as error:
        return f"{error.message} {error.data}"


async def test_t27_what_a_failing_server_repeats_of_a_secret_is_in_no_log_no_row_and_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    furnish(tmp_path)
    SecretFile(Home.at(tmp_path), SystemEnv()).set("key", VALUE)
    async with running(tmp_path) as (app, admin):
        told = [await said(admin, "refuse"), await said(admin, "fail")]
        told += [json.dumps(await admin.server("leaky")), json.dumps(await admin.secrets())]
        assert all(VALUE not in each for each in told)
        assert MASKED in told[0] and MASKED in told[1]
        assert any(MASKED in line for line in app.fleet.upstreams["leaky"].stderr)
    files = [path for path in (tmp_path / ".hub").rglob("*") if path.is_file()]
    assert any(path.name.startswith("hub.db") for path in files)
    assert [path.name for path in files if VALUE.encode() in path.read_bytes()] == []
    assert VALUE not in caplog.text


async def test_a_secret_that_is_set_or_changed_counts_for_the_next_call(tmp_path: Path) -> None:
    furnish(tmp_path)
    async with running(tmp_path) as (app, admin):
        upstream = await until(app, "leaky", "failed")
        assert "hub secrets set key" in (upstream.reason or "")
        assert (await admin.secret_set("key", VALUE))["servers"] == ["leaky"]
        assert str(len(VALUE)) in await said(admin, "length")
        await admin.secret_set("key", VALUE + "!")
        assert str(len(VALUE) + 1) in await said(admin, "length")
        [shown] = await admin.secrets()
        assert shown == {"name": "key", "source": "file", "servers": ["leaky"]}


def test_the_command_line_takes_a_value_from_stdin_and_shows_none(tmp_path: Path) -> None:
    furnish(tmp_path)
    done = hub(tmp_path, "secrets", "set", "key", stdin=VALUE + "\n")
    assert (done.code, VALUE in done.out + done.err) == (0, False)
    assert SecretFile(Home.at(tmp_path), SystemEnv()).get("key") == VALUE
    listed = hub(tmp_path, "secrets", "list", "--json")
    assert listed.json == [{"name": "key", "source": "file", "servers": ["leaky"]}]
    assert hub(tmp_path, "secrets", "set", "--", "-x", stdin=VALUE).code == 2
    assert hub(tmp_path, "secrets", "rm", "key").code == 0
    assert hub(tmp_path, "secrets", "rm", "key").code == 5
