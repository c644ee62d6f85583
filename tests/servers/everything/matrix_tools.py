"""Tools beyond those that the conformance suite asks for: what else can get lost between an agent and us."""

from __future__ import annotations

from typing import cast

import anyio
from mcp_types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestURLParams,
    ElicitResult,
    ServerNotification,
)

from tests.servers.everything.changes import Notification
from tests.servers.everything.eras import is_modern
from tests.servers.everything.offers import OfferedTool, Use, offer, text

SIGN_IN = "https://example.com/sign-in?for=tests"


async def ask_url(use: Use) -> CallToolResult:
    # Only the older era gives such a question an id.
    id = None if is_modern(use.context) else "sign-in-1"
    question = ElicitRequest(
        params=ElicitRequestURLParams(message="Please sign in", url=SIGN_IN, elicitation_id=id)
    )
    answer = (await use.ask({"sign_in": question}))["sign_in"]
    assert isinstance(answer, ElicitResult)
    if id is not None:
        done = Notification(method="notifications/elicitation/complete", params={"elicitationId": id})
        await use.context.session.send_notification(cast(ServerNotification, done), use.context.request_id)
    return text(f"The user did: {answer.action}")


async def hang(use: Use) -> CallToolResult:
    state = use.context.lifespan_context
    try:
        await use.report(0)
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        state.cancelled += 1
        raise
    raise AssertionError("never reached")


async def cancellations(use: Use) -> CallToolResult:
    return text(str(use.context.lifespan_context.cancelled))


MATRIX_TOOLS: tuple[OfferedTool, ...] = (
    offer("ask_url", "Asks the user to open an address", ask_url),
    offer("hang", "Reports that it began, and goes on until it is cancelled", hang),
    offer("cancellations", "How many calls of `hang` were cancelled so far", cancellations),
)
