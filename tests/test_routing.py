"""Times, retries, the breaker: what is made again is safe, nothing outlives its time, and the ill rest."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from connectors.base import RemoteError
from hub.admin.admin import Admin
from hub.errors import InvalidParams, UpstreamDown, UpstreamError, UpstreamFailed, UpstreamTimeout
from hub.route import Breaking
from hub.upstreams.breaker import Breaker
from tests.clocks import Clock
from tests.servers.fault_http import nobody_at
from tests.shop import (
    House,
    breaks,
    errs,
    hangs,
    house,
    said,
    says,
    shop,
    status,
    tells,
    write,
)

pytestmark = pytest.mark.anyio

RETRY = {"attempts": 3, "wait": "1ms"}
TRUST = {"trust": "annotations"}


# Times


async def test_a_tool_s_own_limit_counts_instead_of_its_server_s(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", hangs)
        write(tmp_path, "one", one, tools={"override": {"look": {"limits": {"call": "100ms"}}}})
        async with house(tmp_path) as hub:
            with pytest.raises(UpstreamTimeout, match=r"within 0\.1 s"):
                await hub.use("one__look")


async def test_a_call_of_which_nothing_is_heard_is_given_up_and_one_that_goes_on_is_not(
    tmp_path: Path,
) -> None:
    async with shop() as one:
        one.does("look", tells(8, 0.16, "done"), tells(1, 0.0, None))
        write(tmp_path, "one", one, limits={"silence": "1s"})
        async with house(tmp_path) as hub:
            assert said(await hub.use("one__look")) == "done"
            with pytest.raises(UpstreamTimeout, match="said nothing for 1 s"):
                await hub.use("one__look")
            assert [row.state for row in await hub.rows()] == ["done", "unknown"]


async def test_who_asked_for_no_progress_gets_none_though_the_hub_listens(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", tells(2, 0.0, "done"))
        write(tmp_path, "one", one, limits={"silence": "5s"})
        async with house(tmp_path) as hub:
            told: list[object] = []
            notify = lambda method, params: told.append((method, params["progressToken"]))  # noqa: E731
            await hub.use("one__look", notify=notify)
            assert told == []
            await hub.use("one__look", meta={"progressToken": "mine"}, notify=notify)
            assert told == [("notifications/progress", "mine")] * 2


async def test_an_agent_may_want_its_answer_sooner_and_its_server_hears_of_it(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", hangs, says("ok"))
        write(tmp_path, "one", one, limits={"call": "5s"})
        async with house(tmp_path) as hub:
            with pytest.raises(UpstreamTimeout, match=r"within 0\.1 s"):
                await hub.use("one__look", meta={"hub/deadline-seconds": 0.1})
            await hub.use("one__look", meta={"hub/deadline-seconds": 1000})
            sent = [each["_meta"]["hub/deadline-seconds"] for each in one.calls]
            assert sent == [0.1, 5.0]
            for wrong in (0, -1, "soon", True):
                with pytest.raises(InvalidParams):
                    await hub.use("one__look", meta={"hub/deadline-seconds": wrong})


# Retries


async def test_a_call_that_reads_only_is_made_again_and_its_row_says_how_often(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", breaks, breaks, says("third"))
        write(tmp_path, "one", one, **TRUST, retry=RETRY)
        async with house(tmp_path) as hub:
            assert said(await hub.use("one__look")) == "third"
            assert [(row.state, row.attempts) for row in await hub.rows()] == [("done", 3)]
            assert one.count("look") == 3


@pytest.mark.parametrize(
    ("manifest", "times"),
    [
        ({"trust": "annotations", "retry": RETRY}, 1),
        ({"retry": RETRY}, 1),
        ({"retry": RETRY, "tools": {"override": {"act": {"annotations": {"idempotentHint": True}}}}}, 3),
        ({"tools": {"override": {"act": {"annotations": {"readOnlyHint": True}, "retry": RETRY}}}}, 3),
        ({**TRUST, "tools": {"override": {"act": {"retry": RETRY}}}}, 1),
    ],
    ids=["its-server-says-nothing", "nothing-says-so", "idempotent", "reads-only", "only-trusted"],
)
async def test_what_may_have_been_done_is_made_again_only_where_that_is_known_to_be_safe(
    tmp_path: Path, manifest: dict[str, object], times: int
) -> None:
    async with shop() as one:
        one.does("act", breaks)
        write(tmp_path, "one", one, **manifest)
        async with house(tmp_path) as hub:
            with pytest.raises(UpstreamFailed) as failed:
                await hub.use("one__act")
            assert failed.value.sent
            assert one.count("act") == times
            assert [row.attempts for row in await hub.rows()] == [times]


async def test_the_server_s_own_word_is_not_enough_where_the_manifest_does_not_trust_it(
    tmp_path: Path,
) -> None:
    async with shop() as one:
        one.does("look", breaks)
        write(tmp_path, "one", one, retry=RETRY)
        async with house(tmp_path) as hub:
            with pytest.raises(UpstreamFailed):
                await hub.use("one__look")
            assert one.count("look") == 1


async def test_what_never_left_is_made_again_whatever_it_does(tmp_path: Path) -> None:
    async with shop() as one:
        write(tmp_path, "one", one, retry=RETRY, breaker="off")
        async with house(tmp_path) as hub:
            await hub.use("one__act")
            url, port = one.url, one.at.port
        assert str(port) in url
    async with nobody_at(port), house(tmp_path) as hub:
        with pytest.raises(UpstreamError) as failed:
            await hub.use("one__act")
        assert not failed.value.sent
        assert [row.attempts for row in await hub.rows()][-1] > 1


async def test_after_a_try_that_may_have_done_something_it_is_not_said_that_nothing_was_done(
    tmp_path: Path,
) -> None:
    async with shop() as one:
        one.does("act", breaks)
        override = {"override": {"act": {"annotations": {"idempotentHint": True}}}}
        breaker = {"failures": 1, "wait": "10s"}
        retry = {"attempts": 2, "wait": "1ms"}
        write(tmp_path, "one", one, retry=retry, tools=override, breaker=breaker)
        async with house(tmp_path) as hub:
            # The second try is not sent, as the server is left alone by then.
            with pytest.raises(UpstreamFailed, match="what an earlier try did is not known") as failed:
                await hub.use("one__act")
            assert failed.value.sent
            assert one.count("act") == 1
            assert [row.state for row in await hub.rows()] == ["unknown"]


async def test_an_answer_is_an_answer_and_is_not_asked_for_again(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", says({"resultType": "complete", "content": [], "isError": True}))
        write(tmp_path, "one", one, **TRUST, retry=RETRY)
        async with house(tmp_path) as hub:
            assert (await hub.use("one__look"))["isError"] is True
            assert one.count("look") == 1


async def test_a_server_that_asks_for_time_gets_it_and_what_would_be_too_late_is_not_waited_for(
    tmp_path: Path,
) -> None:
    async with shop() as one:
        one.does("look", status(429, "Retry-After: 30"))
        write(tmp_path, "one", one, **TRUST, retry=RETRY, limits={"call": "10s"})
        async with house(tmp_path) as hub:
            with anyio.fail_after(10), pytest.raises(UpstreamFailed, match="left alone for 30 s") as failed:
                await hub.use("one__look")
            assert failed.value.retry_seconds == 30
            # No call before, of any tool; and at once afterwards.
            with pytest.raises(UpstreamDown, match="as it asked for") as down:
                await hub.use("one__act")
            assert down.value.retry_seconds is not None
            assert 25 < down.value.retry_seconds <= 30
            assert len(one.calls) == 1
            one.does("look", says("ok"))
            hub.clock.ahead += 31
            assert said(await hub.use("one__look")) == "ok"
            assert said(await hub.use("one__act")) == "ok"


async def test_a_server_that_asks_for_time_when_it_is_connected_to_gets_it_too(tmp_path: Path) -> None:
    async with shop() as one:
        write(tmp_path, "one", one)
        async with house(tmp_path) as hub:
            upstream = hub.app.fleet.upstreams["one"]
            one.does("server/discover", status(503, "Retry-After: 30"))
            with pytest.raises(UpstreamDown):
                await upstream.restart()
            with pytest.raises(UpstreamDown) as down:
                await hub.use("one__look")
            assert down.value.retry_seconds is not None
            assert 25 < down.value.retry_seconds <= 30
            assert len(one.at.of("server/discover")) == 2


async def test_a_server_that_is_left_alone_is_not_waited_for(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", breaks)
        retry = {"attempts": 5, "wait": "1ms", "most": "1s"}
        write(tmp_path, "one", one, **TRUST, retry=retry, breaker={"failures": 2, "wait": "20s"})
        async with house(tmp_path) as hub:
            with anyio.fail_after(10), pytest.raises(UpstreamFailed, match="left alone"):
                await hub.use("one__look")
            assert one.count("look") == 2


async def test_tries_end_with_the_time_of_the_call(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", breaks)
        retry = {"attempts": 10, "wait": "800ms", "most": "800ms"}
        write(tmp_path, "one", one, **TRUST, retry=retry, limits={"call": "1500ms"}, breaker="off")
        async with house(tmp_path) as hub:
            with pytest.raises(UpstreamFailed):
                await hub.use("one__look")
            assert 1 < one.count("look") < 6


async def test_a_further_round_of_a_call_is_never_sent_twice(tmp_path: Path) -> None:
    async with shop() as one:
        question = {"method": "elicitation/create", "params": {"message": "sure?"}}
        asks = {"resultType": "input_required", "inputRequests": {"q": question}, "requestState": "s"}
        one.does("look", says(asks), breaks)
        write(tmp_path, "one", one, **TRUST, retry=RETRY)
        async with house(tmp_path) as hub:
            state = (await hub.use("one__look", capabilities={"elicitation": {}}))["requestState"]
            agent = hub.app.identities.local("me")
            session = await hub.app.sessions.current(agent, {})
            params = {
                "name": "one__look",
                "arguments": {},
                "requestState": state,
                "inputResponses": {"q": {"action": "accept"}},
            }
            with pytest.raises(UpstreamFailed):
                await hub.app.hub.call(hub.app.hub.new_call(agent, session.id, "tools/call", params))
            assert one.count("look") == 2


# The breaker


def state(breaker: Breaker) -> str:
    return breaker.state


async def fail(hub: House, times: int) -> None:
    for _ in range(times):
        with pytest.raises(UpstreamFailed):
            await hub.use("one__look")


async def test_a_server_that_fails_again_and_again_is_left_alone_and_one_call_tries_it(
    tmp_path: Path,
) -> None:
    async with shop() as one, shop() as two:
        one.does("look", breaks)
        write(tmp_path, "one", one, breaker={"failures": 3, "wait": "10s"})
        write(tmp_path, "two", two)
        async with house(tmp_path) as hub:
            breaker = hub.app.fleet.upstreams["one"].breaker
            await fail(hub, 3)
            assert state(breaker) == "open"
            with pytest.raises(UpstreamDown, match="left alone") as down:
                await hub.use("one__act")
            assert not down.value.sent
            assert len(one.calls) == 3
            shown = await Admin(hub.app).servers()
            assert [(each["status"], each["breaker"]) for each in shown] == [
                ("degraded", "open"),
                ("ready", "closed"),
            ]
            assert "3 calls in a row failed; no call before" in shown[0]["note"]
            assert hub.app.ready() == (True, {"status": "ready", "servers": {"degraded": 1, "ready": 1}})
            assert said(await hub.use("two__look")) == "ok"
            hub.clock.ahead += 11
            assert state(breaker) == "half-open"
            await fail(hub, 1)
            assert state(breaker) == "open"
            hub.clock.ahead += 21
            one.does("look", says("well again"))
            assert said(await hub.use("one__look")) == "well again"
            assert state(breaker) == "closed"


async def test_only_one_call_at_a_time_tries_a_server_that_failed(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", breaks)
        write(tmp_path, "one", one, breaker={"failures": 1, "wait": "10s"})
        async with house(tmp_path) as hub:
            await fail(hub, 1)
            hub.clock.ahead += 11
            one.does("look", hangs)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hub.use, "one__look")
                await one.at.until(lambda: one.count("look") == 2)
                with pytest.raises(UpstreamDown, match="being tried"):
                    await hub.use("one__act")
                tasks.cancel_scope.cancel()
            # That nobody waited for it says nothing of the server.
            assert said(await hub.use("one__act")) == "ok"


async def test_calls_that_are_not_answered_in_time_open_it(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", hangs)
        write(tmp_path, "one", one, limits={"call": "50ms"}, breaker={"failures": 2, "wait": "10s"})
        async with house(tmp_path) as hub:
            for _ in range(2):
                with pytest.raises(UpstreamTimeout):
                    await hub.use("one__look")
            with pytest.raises(UpstreamDown):
                await hub.use("one__look")


async def test_an_error_of_the_server_s_own_is_an_answer(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", breaks)
        one.does("act", errs(-32603))
        write(tmp_path, "one", one, breaker={"failures": 3, "wait": "10s"})
        async with house(tmp_path) as hub:
            await fail(hub, 2)
            with pytest.raises(RemoteError):
                await hub.use("one__act")
            await fail(hub, 2)
            assert state(hub.app.fleet.upstreams["one"].breaker) == "closed"


def test_what_a_breaker_says_is_of_its_state() -> None:
    clock = Clock()
    breaker = Breaker("one", clock, Breaking(2, 10))
    assert (state(breaker), breaker.sentence()) == ("closed", None)
    breaker.failed(False)
    breaker.answered()
    breaker.failed(False)
    assert state(breaker) == "closed"
    breaker.failed(False)
    assert state(breaker) == "open"
    assert "2 calls in a row failed; no call before" in str(breaker.sentence())
    clock.ahead += 11
    assert state(breaker) == "half-open"
    assert "the next call tries it again" in str(breaker.sentence())
    assert breaker.admit()
    breaker.answered()
    assert not breaker.held


def test_a_time_that_a_server_asked_for_is_kept_though_a_late_answer_comes() -> None:
    clock = Clock()
    breaker = Breaker("one", clock, None)
    breaker.failed(False, 30)
    breaker.answered()
    assert state(breaker) == "open"
    clock.ahead += 31
    assert breaker.admit()
    breaker.failed(True)
    assert state(breaker) == "closed"
