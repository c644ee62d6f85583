"""What happens to a call on its way to the server, in order, outermost first. One file each.

once        outermost: what is answered again with what came of it before is no call
shorten     outside of record, which keeps what a tool said; its agent gets a handle of what is too long
fallback    outside of record, as what stands in for a call is a call of its own; shortened as the first is
record      outside of all that may refuse, so that refusals and timeouts are recorded too
deadline    outside authorize: whatever a call waits for counts
refer       before authorize, so that rules judge what is filled in
authorize   nothing below it sees a call that may not be
check       judges arguments, so it must not run for what is refused
limit       after check, so that what a tool would refuse by its schema uses nothing up
approve     after limit, so that an agent that is over it asks nobody; before anything is counted as sent
spend       what a token's number of calls counts is what goes out, so after all that may refuse
retry       what was approved and counted is the call, not its tries; the breaker is each server's own, in
            `upstream.send`
tasks       a task is a use of the tool that made it: asked for anew, it is authorized anew
questions   innermost: a repeated call has been authorized anew before its state is opened

`trace` will stand outside of all: see ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from hub.middleware.approve import Approve
from hub.middleware.authorize import Authorize
from hub.middleware.check import Check
from hub.middleware.deadline import Deadline
from hub.middleware.fallback import Fallback
from hub.middleware.limit import Limit
from hub.middleware.once import Once
from hub.middleware.questions import Questions
from hub.middleware.record import Record
from hub.middleware.refer import Refer
from hub.middleware.retry import Retries
from hub.middleware.shorten import Shorten
from hub.middleware.spend import Spend
from hub.middleware.tasks import Tasks
from hub.model import Middleware

__all__ = ["ordered"]


def ordered(
    once: Once,
    shorten: Shorten,
    fallback: Fallback,
    record: Record,
    deadline: Deadline,
    refer: Refer,
    authorize: Authorize,
    check: Check,
    limit: Limit,
    approve: Approve,
    spend: Spend,
    retries: Retries,
    tasks: Tasks,
    questions: Questions,
) -> Sequence[Middleware]:
    outer = (once, shorten, fallback, record, deadline, refer, authorize, check)
    return (*outer, limit, approve, spend, retries, tasks, questions)
