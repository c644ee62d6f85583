"""The course of one run: agents that call, what goes wrong meanwhile, and the calm after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

from tests.sim.agents import GRANTED, Agent
from tests.sim.servers import Moods
from tests.sim.world import World

__all__ = ["go", "go_well", "until"]

_CALM_SECONDS: Final = 900.0
_WAKES_MAX: Final = 30
"""Turns of the event loop in a second in which nobody asks for anything: ten of them look at deadlines."""


async def go(world: World, random: Random, tokens: dict[str, str]) -> None:
    """From a hub's first start to its orderly end, with all that may go wrong on the way."""
    rate = random.choice((0.0, 0.02, 0.05, 0.15))
    for server in world.servers.values():
        names = (
            "refuses",
            "unsent",
            "dies_before",
            "dies_after",
            "hangs",
            "garbage",
            "fails",
            "slow",
            "changes",
        )
        server.moods = Moods(**{name: random.choice((0.0, rate, rate)) for name in names})
    world.variant = random.randrange(2)
    world.synchronous = random.choice(("normal", "normal", "normal", "full"))
    requests = [random.randrange(3, 10) for _ in range(2 * len(GRANTED))]
    await _go(world, tokens, requests, _trouble(world, random))


async def go_well(world: World, random: Random, tokens: dict[str, str]) -> None:
    """The same for a hub that is well, apart from kill -9: what fails of it is one of `Operations`."""
    world.synchronous = random.choice(("normal", "full"))
    world.operations.counts = True
    await _go(world, tokens, [3] * len(GRANTED), _errands(world))
    world.operations.counts = False
    # What could not be written at its end is written at the next.
    world.begin()
    await until(lambda: world.life is None or world.life.app is not None or world.life.main.done())
    await _end(world)


async def _go(
    world: World, tokens: dict[str, str], requests: list[int], meanwhile: Coroutine[Any, Any, None]
) -> None:
    """
    Args:
        requests: How many, of each line of an agent.
    """
    world.begin()
    keeper = world.time.world.create_task(world.keep_up())
    agents = [Agent(world, name, tokens[name]) for name in GRANTED]
    lines = [
        world.time.world.create_task(agents[number % len(agents)].live(number // len(agents), count))
        for number, count in enumerate(requests)
    ]
    trouble = world.time.world.create_task(meanwhile)
    for line in lines:
        await line
    await trouble
    await _calm(world, agents)
    keeper.cancel()
    await _quiet(world)
    await _end(world)


async def _end(world: World) -> None:
    """The hub is told to end, and leaves nothing."""
    life = world.life
    if life is None or life.main.done():
        world.wrong("life", "it has ended by itself")
        return
    life.stop()
    await until(life.main.done)
    await asyncio.sleep(1)
    left = [task for task in life.loop.open_tasks() if not task.done()]
    if left:
        world.wrong("I7", f"tasks are left after the hub's end: {[str(task)[:200] for task in left[:5]]}")
    links = [link for server in world.servers.values() for link in server.links]
    if links or life.loop.listeners:
        world.wrong("I7", f"{len(links)} links are left after the hub's end")
    world.bury(life)


async def _trouble(world: World, random: Random) -> None:
    """What goes wrong beside the servers: the process, the disk, the clock, the network, and people."""
    for _ in range(random.randrange(0, 9)):
        await asyncio.sleep(random.choice((0.01, 0.3, 2.0, 5.0)) * random.random())
        what = random.choice(
            ("kill", "kill", "stop", "full", "locked", "flaky", "clock", "reload", "die", "cut", "restart")
        )
        if what in ("full", "locked", "flaky"):
            world.note(f"the disk is {what}")
            world.disk_was_bad = world.time.now + 1e6
            setattr(world.disk, what, 0.3 if what == "flaky" else True)
            await asyncio.sleep(random.choice((0.05, 1.0, 4.0)))
            world.disk.heal()
            world.disk_was_bad = world.time.now
            world.note("the disk is well")
        elif what == "clock":
            # Less than the day for which keys of calls count, by the wall clock.
            jump = random.choice((-40_000.0, -3600.0, -0.5, 0.5, 3600.0, 40_000.0))
            world.skew = max(-40_000.0, min(40_000.0, world.skew + jump))
            world.note(f"the clock is off by {world.skew:g} s")
        elif what == "die":
            random.choice(list(world.servers.values())).die("died")
        else:
            _do(world, what)


async def _errands(world: World) -> None:
    """What a hub lives through that is well."""
    for what in ("reload", "restart", "kill", "cut", "stop", "reload"):
        await asyncio.sleep(0.7)
        await until(lambda: world.life is not None and world.life.app is not None)
        _do(world, what)


def _do(world: World, what: str) -> None:
    life = world.life
    if life is None:
        return
    if what == "kill":
        world.kill()
    elif what == "stop":
        life.stop()
    elif what == "reload":
        world.variant = 1 - world.variant
        world.note("the manifests change")
        life.do(lambda app: app.reload())
    elif what == "restart":
        name = world.random.choice(list(world.servers))
        world.note(f"a person restarts {name}")
        life.do(lambda app: app.fleet.upstreams[name].restart())
    elif what == "cut":
        world.note("the network is cut")
        for client in life.clients:
            client.close()


async def _calm(world: World, agents: list[Agent]) -> None:
    """Nothing goes wrong any more: all that is granted has to work again, within a while."""
    world.note("calm")
    world.calm = True
    world.disk.heal()
    for server in world.servers.values():
        server.moods = Moods()
    await until(lambda: world.life is not None and world.life.app is not None)
    assert world.life is not None
    # What was said to be of no use to try again, a person has mended.
    for name in world.servers:
        world.life.do(lambda app, name=name: app.fleet.upstreams[name].check())  # type: ignore[misc]
    began = world.time.now
    number = 0
    for agent in agents:
        for tool in GRANTED[agent.name]:
            if tool.endswith("__extra"):
                continue
            while True:
                number += 1
                client = await agent._connected()
                ack = await agent.call(client, tool, f"n-{agent.name}-99-{number}.", None)
                client.close()
                if ack.kind == "result":
                    break
                if world.time.now - began > _CALM_SECONDS:
                    world.wrong(
                        "recovery", f"{tool} does not work again: {ack.kind} {ack.reason} {ack.said[:200]}"
                    )
                    break
                await asyncio.sleep(5)


async def _quiet(world: World) -> None:
    """Nobody asks for anything: a hub that waits does next to nothing."""
    await asyncio.sleep(30)
    before, began = world.time.steps, world.time.now
    await asyncio.sleep(10)
    often = (world.time.steps - before) / (world.time.now - began)
    if often > _WAKES_MAX:
        world.wrong("quiet", f"it wakes {often:.0f} times a second while nobody asks for anything")


async def until(condition: Callable[[], bool]) -> None:
    """Simulated time costs nothing."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
