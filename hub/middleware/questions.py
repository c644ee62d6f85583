"""A server's question goes out with its state sealed, and the answer is let in only where it was asked.

`requestState` is a server's own memory in a client's hands. Every agent of the hub is one and the same
client to the server, so the hub seals it for the agent, the entry and the arguments that it was given
for, and for a time: another agent's state, or one from another call, is worth nothing.

Innermost, so that what is repeated has been authorized anew.

Source: specification 2026-07-28, basic/patterns/mrtr, "Server Requirements" 4 and 5.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, Final

from connectors.jsonrpc import encode_sorted
from hub.errors import InvalidParams
from hub.model import Call, Handler, Json, Result
from hub.seal import Broken, Seal

__all__ = ["Questions"]

_PURPOSE: Final = "requestState"
_SECONDS: Final = 3600.0


class Questions:
    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    async def __call__(self, call: Call, inner: Handler) -> Result:
        state = call.params.get("requestState")
        if state is not None:
            call = replace(call, params={**call.params, "requestState": self._opened(call, state)})
        result = await inner(call)
        if result.get("resultType") != "input_required" or "requestState" not in result:
            return result
        words = [*_bound(call), result["requestState"]]
        return {**result, "requestState": self._seal.close(_PURPOSE, words, seconds=_SECONDS)}

    def _opened(self, call: Call, state: Any) -> Any:
        try:
            if type(state) is not str:
                raise Broken("not a string")
            *bound, opened = self._seal.open(_PURPOSE, state)
            if bound != _bound(call):
                raise Broken("given for another call")
        except Broken:
            raise InvalidParams(
                "Invalid requestState: it is not one that was given for this call, or its time is over; "
                "call again without it"
            ) from None
        return opened


def _bound(call: Call) -> list[str]:
    """Whose it is, and of which call: what a repetition has in common with the first."""
    assert call.entry is not None
    salient = {key: call.params[key] for key in ("name", "uri", "arguments") if key in call.params}
    # Clients may write the keys of the same arguments in another order.
    digest = hashlib.sha256(encode_sorted(salient)).hexdigest()
    return [call.agent.name, call.method, call.entry.grant, digest]


def answers(params: Json) -> Json:
    """The `inputResponses` of a repeated call; empty where there are none."""
    responses = params.get("inputResponses")
    return responses if isinstance(responses, dict) else {}
