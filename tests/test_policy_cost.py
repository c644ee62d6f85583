"""What a rule about arguments costs a call, counted in steps of the interpreter: nothing else disturbs these.

15 us of CPU are the bound (ours). On a quiet machine a step is 8 to 10 ns: 0.6 us of a call where no
rule says anything of arguments, 6 to 9 us more with the rules below.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.catalog import Catalog, Offer
from hub.env import SystemEnv
from hub.manifests import manifest
from hub.middleware.authorize import Authorize
from hub.model import Agent, Call, Entry, Json, Result
from hub.policy import decide

STEPS_MAX = 1_500
PLAIN_MAX = 120
TOOL: Json = {
    "name": "write",
    "inputSchema": {
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "mode": {"enum": ["a", "w"]},
            "text": {"type": "string"},
            "count": {"type": "integer"},
        },
    },
}
GIVEN: Json = {"path": "/srv/in/a", "mode": "a", "text": "hello", "count": 3}


def steps(rules: list[str], arguments: Json) -> int:
    """How many the decision about one call takes, when such a call was decided before."""
    text = "agent: me\nmay:\n" + "".join(f"  - {rule}\n" for rule in rules)
    grants = manifest.load_text(Path("me.yaml"), text).agents["me"].grants()
    entry: Entry = Catalog.build([Offer("files", definitions={"tool": (TOOL,)})], 1).entries["tool"][0]
    params = {"name": entry.name, "arguments": arguments}
    held = decide(grants, entry).rules
    call = Call("1", Agent("me", grants), "1", "tools/call", "tool", entry.name, entry, params, rules=held)
    authorize, count = Authorize(SystemEnv(), {}), 0

    async def sent(call: Call) -> Result:
        return {}

    def count_step(frame: Any, event: str, about: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return count_step

    authorize(call, sent).close()  # type: ignore[attr-defined]
    before = sys.gettrace()
    gc.collect()
    gc.disable()  # what others have left behind may end with steps of its own
    sys.settrace(count_step)
    try:
        decided = authorize(call, sent)
    finally:
        sys.settrace(before)
        gc.enable()
    decided.close()  # type: ignore[attr-defined]
    return count


UNDER = 'path: {pattern: "^/srv/"}'
SPELT = 'path: {format: path, pattern: "^/srv/"}'


@pytest.mark.parametrize(
    ("withs", "only", "given"),
    [
        ([f"{SPELT}, mode: {{enum: [a]}}"], "false", GIVEN),
        ([UNDER, "mode: {enum: [a]}"], "false", GIVEN),
        ([f"{UNDER}, mode: {{const: a}}, count: {{maximum: 4}}"], "true", {"path": "/srv/x", "count": 1}),
    ],
)
def test_a_rule_about_arguments_costs_a_call_no_more_than_its_bound(
    withs: list[str], only: str, given: Json
) -> None:
    rules = [f"{{use: files__*, with: {{{each}}}, only: {only}}}" for each in withs]
    plain = steps(["files__*"], GIVEN)
    assert plain <= PLAIN_MAX
    assert plain < steps(rules, given) <= plain + STEPS_MAX
