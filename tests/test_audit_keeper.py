"""A running hub keeps its chain whole: signed in time, over kill -9, and with what is old deleted."""

from __future__ import annotations

import json
import random
import stat
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from hub import cli
from hub.app import open_app
from hub.audit.chain import Report, verify
from hub.audit.keeper import CHECKPOINT_ENTRIES, Keeper
from hub.audit.report import exported, public_key, verified
from hub.audit.settings import Retention, redaction, retention
from hub.audit.sources import FileSource, database, export
from hub.env import SystemEnv
from hub.home import Home
from hub.model import Agent
from hub.policy import Grants
from hub.settings import Settings
from hub.store import approvals, audit, sessions, tokens
from hub.store.calls import CallFilter, Calls
from hub.store.db import Store
from tests.audit_room import SIGNER, intent, opened, report_of, result
from tests.clocks import SetEnv
from tests.store_killed import run_and_kill
from tests.store_room import store_with_session

pytestmark = pytest.mark.anyio

DAY = 24 * 3600


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with store_with_session(path) as store:
        yield store


async def record(store: Store, first: int, last: int) -> None:
    for number in range(first, last):
        for waits in (
            Calls(store).intend(intent(number)),
            Calls(store).record(intent(number), result(number)),
        ):
            if waits is not None:
                await waits
    await store.read(audit.head)


async def signed(store: Store) -> list[int]:
    return [each.seq for each in await store.read(lambda connection: list(audit.checkpoints(connection, 0)))]


async def until_signed(store: Store, count: int) -> None:
    with anyio.fail_after(20):
        while len(await signed(store)) < count:  # noqa: ASYNC110 - it is the clock that is waited for
            await anyio.sleep(0.05)


async def test_it_signs_each_thousand_entries_and_what_is_older_than_a_minute(
    store: Store, path: Path
) -> None:
    clock = SetEnv(seconds=1000.0)
    keeper = Keeper(store, SIGNER, clock, Retention())
    await keeper.start()
    assert await signed(store) == [1]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keeper.run)
        await anyio.wait_all_tasks_blocked()
        await record(store, 0, CHECKPOINT_ENTRIES)
        await until_signed(store, 2)
        await record(store, 5000, 5001)
        clock.seconds += 61
        await until_signed(store, 3)
        tasks.cancel_scope.cancel()
    await record(store, 6000, 6001)
    await keeper.stop()
    report = report_of(path)
    assert report.broken is None
    assert report.signed_through == report.last


async def test_what_is_deleted_when_it_is_old_is_told_from_what_was_tampered_with(
    store: Store, path: Path
) -> None:
    clock = SetEnv(seconds=1000.0)
    keeper = Keeper(store, SIGNER, clock, Retention(calls=20 * DAY, payloads=10 * DAY))
    await record(store, 0, 1200)  # call n began at second n
    clock.seconds = 10 * DAY + 700
    await keeper.sweep()
    report = report_of(path)
    assert report.broken is None
    assert (report.first, report.payloads_deleted) == (1, 2 * 700)
    row = await Calls(store).get("call000699")
    assert row is not None
    assert (row.params, row.result, row.state) == (None, None, "done")
    assert (await Calls(store).get("call000700") or row).params is not None

    clock.seconds = 20 * DAY + 600
    await keeper.sweep()
    report = report_of(path)
    assert report.broken is None
    assert (report.first, report.entries_deleted) == (2 * 600 + 2, 2 * 600 + 1)
    assert len(await Calls(store).list(CallFilter(limit=1000))) == 600
    assert report.payloads_deleted == 1200, "the rest is older than ten days, too"
    before = await store.read(audit.head)
    await keeper.sweep()
    assert await store.read(audit.head) == before, "nothing to delete, nothing to say"
    await record(store, 9_000_000, 9_000_001)

    file = path.with_suffix(".jsonl")
    with database(path) as connection, file.open("wb") as out:
        export(connection, out)
    assert verify(FileSource(file)).broken is None

    with opened(path) as connection:
        connection.execute("UPDATE calls SET params = NULL, result = NULL WHERE id = 'call9000000'")
    assert found(report_of(path)) == ("payload", "call9000000")
    with opened(path) as connection:
        connection.execute("DELETE FROM audit WHERE seq < 1300")
    assert found(report_of(path))[0] == "missing"


def found(report: Report) -> tuple[str, str | None]:
    assert report.broken is not None
    return report.broken.what, report.broken.call


async def test_a_hub_that_ended_while_it_deleted_goes_on_with_it(store: Store, path: Path) -> None:
    clock, kept = SetEnv(seconds=1000.0), Retention(calls=DAY, payloads=None)
    await record(store, 0, 900)
    clock.seconds = DAY + 800.0
    keeper = Keeper(store, SIGNER, clock, kept)
    with anyio.move_on_after(0.05):  # in the middle, or before, or behind: each is well
        await keeper.sweep()
    assert report_of(path).broken is None
    await Keeper(store, SIGNER, clock, kept).sweep()
    report = report_of(path)
    assert report.broken is None
    assert (report.first, report.last) == (1602, 1802)


async def test_events_of_tokens_and_approvals_are_entries(store: Store, path: Path) -> None:
    token = tokens.NewToken("t9", "me", bytes(32), 5)
    asked = approvals.ApprovalRow(
        id="a" * 26,
        agent="me",
        token=None,
        session="s1",
        method="tools/call",
        tool="x",
        server="git",
        params="{}",
        sealed="",
        digest=bytes(32),
        definition=bytes(32),
        rule="me.yaml:3",
        asked=5,
        until=99,
    )
    await store.write(partial(tokens.add, token=token))
    await store.write(partial(approvals.ask, new=asked, most=5))
    await store.write(
        partial(approvals.decide, id=asked.id, state="approved", decider="ann", reason="ü", now=6, until=99)
    )
    await store.write(partial(approvals.claim, wanted=asked, call="c1", now=7))
    await store.write(partial(tokens.revoke, id="t9", when=8))
    report = report_of(path)
    assert report.broken is None

    with opened(path) as connection:
        kinds = [kind for (kind,) in connection.execute("SELECT kind FROM audit ORDER BY seq")]
    assert kinds[1:] == [
        "token.made",
        "approval.asked",
        "approval.approved",
        "approval.used",
        "token.revoked",
    ]
    with opened(path) as connection:
        connection.execute("UPDATE audit SET body = replace(body, 'ann', 'bob')")
    assert report_of(path).broken is not None


async def test_after_kill_9_the_chain_is_whole_and_holds_all_that_was_acknowledged(path: Path) -> None:
    chance = random.Random(5)
    for _ in range(5):
        acknowledged = await anyio.to_thread.run_sync(run_and_kill, path, chance.randrange(1, 1500))
        assert report_of(path).broken is None, "as it lies there"
        async with Store.open(path, SystemEnv()) as store:
            calls = Calls(store)
            await calls.recover()
            await Keeper(store, SIGNER, SystemEnv(), Retention()).start()
            for id, word in acknowledged.items():
                row = await calls.get(id) if word == "d" else None
                assert row is None or row.seq is not None
        report = report_of(path)
        assert report.broken is None
        assert report.signed_through == report.last


# The whole hub, and the commands


async def a_hub(home: Home) -> str:
    """Runs once, with one refused call whose arguments hold a secret; its id."""
    async with open_app(home, Settings(redact=redaction({"names": ["pin"]}))) as app:
        row = sessions.SessionRow("s1", "me", "modern", "2026-07-28", "{}", "{}", 1, 1)
        await app.store.write(partial(sessions.insert, row=row))
        params = {"name": "x__y", "arguments": {"password": "hunter2", "pin": "1234", "n": 1}}
        call = app.hub.new_call(Agent("me", Grants("me.yaml")), "s1", "tools/call", params)
        with pytest.raises(Exception, match="Unknown tool"):
            await app.hub.call(call)
        return call.id


def run(home: Home, *arguments: str) -> int:
    return cli.run(["audit", *arguments, "--home", str(home.path)])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def test_a_hub_signs_redacts_and_is_verified_by_its_commands(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "key") == 5, "there is none before a hub has run"
    id = anyio.run(a_hub, home)
    assert stat.S_IMODE(home.audit_key.stat().st_mode) == 0o600
    capsys.readouterr()
    assert run(home, "key") == 0
    key = capsys.readouterr().out.strip()
    assert key == public_key(home)
    assert run(home, "verify", "--json", "--key", key) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["signed_with"], said["signed_through"]) == (True, [key], said["last"])
    assert cli.run(["calls", "show", id, "--json", "--home", str(home.path)]) == 0
    call = json.loads(capsys.readouterr().out)
    assert call["audit_entry"] > 1
    assert call["params"]["arguments"] == {
        "password": "[redacted: password]",
        "pin": "[redacted: pin]",
        "n": 1,
    }
    assert b"hunter2" not in home.database.read_bytes()
    out = home.path / "audit.jsonl"
    assert run(home, "export", "--out", str(out), "--since", "1d") == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert run(home, "verify", str(out), "--key", key) == 0
    assert run(home, "verify", "--head", said["head"], "--from", "2") == 0

    with opened(home.database) as connection:
        connection.execute("UPDATE calls SET agent = 'you'")
    capsys.readouterr()
    assert run(home, "verify") == 1
    assert f"The row of call {id} was changed" in capsys.readouterr().err
    assert run(home, "verify", str(out)) == 0, "the export is as it was"
    text = out.read_text()
    out.write_text(text.replace("hunter", "x").replace('"method":"tools/call"', '"method":"prompts/get"'))
    assert run(home, "verify", str(out), "--json") == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["broken"]["call"] == id


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["verify", "--key", "x"], 2),
        (["verify", "--head", "x"], 2),
        (["verify", "--from", "0"], 2),
        (["verify", "nowhere.jsonl"], 2),
        (["verify"], 1),
        (["export", "--out", "/nowhere/x"], 1),
        (["export", "--out", "x", "--since", "7"], 2),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(home: Home, arguments: list[str], code: int) -> None:
    assert run(home, *arguments) == code


def test_retention_and_redaction_are_settings() -> None:
    assert retention({"calls": "90d", "payloads": "30d"}) == Retention(90 * DAY, 30 * DAY)
    assert retention({}) == Retention()
    assert redaction({"names": ["pin"], "patterns": ["CASE-[0-9]+"]}) == (("pin",), ("CASE-[0-9]+",))
    wrong: object
    for wrong in ([], {"call": "1d"}, {"calls": 90}, {"calls": "90"}):
        with pytest.raises(ValueError, match=r"Write|Did you mean|\."):
            retention(wrong)
    for wrong in ([], {"name": []}, {"names": "pin"}, {"patterns": ["(a"]}, {"patterns": ["a*"]}):
        with pytest.raises(ValueError, match=r"Write|Rust"):
            redaction(wrong)


def test_the_key_is_only_read_where_it_is(home: Home) -> None:
    with pytest.raises(Exception, match="not there yet"):
        public_key(home)
    assert not home.audit_key.exists()
    with pytest.raises(Exception, match="no hub has run here"):
        exported(home, home.path / "x", None)
    with pytest.raises(Exception, match="no hub has run here"):
        verified(home, None, None, None, None)
