"""R4: servers that say what they must not: garbage, 300 MB in a line, floods, forged and repeated answers."""

from __future__ import annotations

from pathlib import Path

from tests.faults.agents import Others, lag, opened
from tests.faults.figures import MEGABYTE, Figures, Row, Scale, at, milliseconds
from tests.faults.places import WORKER, Start, misbehaving

__all__ = ["ROW"]

MODES = ("garbage", "utf8", "json", "wrong_id", "twice", "string_id", "changes", "stderr", "torrent")
CALL_SECONDS = 15.0


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, calls = Figures(), scale(200, 2000)
    servers = {"good": WORKER, **{mode.replace("_", "-"): misbehaving(mode) for mode in MODES}}
    limits = {"limits": {"message": "8MiB", "call": "5s"}}
    more = {name: limits for name in servers if name != "good"}
    async with start(folder, servers, more=more) as place, opened(place, "me", "me") as (agent, other):
        before = Others()
        await before.measure(other, "good", calls)
        place.forget()
        memory = place.memory()
        worst, forged, silent = ("", 0.0), 0, []
        for mode in MODES:
            others = Others()
            async with others.calling(other, "good", calls):
                for _ in range(scale(2, 10)):
                    said = await agent.call(mode.replace("_", "-"), "act", CALL_SECONDS)
                    forged += said.good and said.text != "good"
                    if said.status <= 0 and mode not in silent:
                        silent.append(mode)
            p99 = at(others.times, 99)
            if p99 > worst[1]:
                worst = (mode, p99)
            if others.errors:
                found.say(f"{mode}: {others.errors} errors of others", False)
        most, after = place.memory("VmHWM") - memory, place.memory() - memory
        late = await lag(place) if place.hub is not None else None
    ratio = worst[1] / at(before.times, 99)
    found.say(f"{len(MODES)} modes; forged answers that arrived: {forged}", forged == 0)
    found.say(f"without an answer in {CALL_SECONDS:g} s: {', '.join(silent) or 'none'}", not silent)
    found.say(
        f"others' p99 {milliseconds(at(before.times, 99))}, at worst {milliseconds(worst[1])} "
        f"(x{ratio:.1f}, {worst[0]})",
        ratio < 2 or (scale.smoke and worst[1] < 1),
    )
    found.say(
        f"memory +{most / MEGABYTE:.0f} MB at most, +{after / MEGABYTE:.0f} MB after", most < 40 * MEGABYTE
    )
    if late is not None:
        found.say(f"event loop late by {late['p99']:.0f} ms (p99)", late["p99"] < scale.bound(50))
    return found


ROW = Row(
    "R4",
    "garbage, 300 MB in one line, floods, forged answers",
    "nothing forged arrives; others' p99 < 2x; memory +< 32 MB beside the message limit (8 MB); loop < 50 ms",
    run,
    others=True,
)
