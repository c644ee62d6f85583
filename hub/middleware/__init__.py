"""What happens to a call on its way to the server, in order, outermost first. One file each.

record      outermost of those that stand, so that refusals and timeouts are recorded too
deadline    outside authorize: whatever a call waits for counts
authorize   nothing below it sees a call that may not be
check       judges arguments, so it must not run for what is refused
limit       after check, so that what a tool would refuse by its schema uses nothing up
approve     after limit, so that an agent that is over it asks nobody; before anything is counted as sent
spend       what a token's number of calls counts is what goes out, so after all that may refuse
tasks       a task is a use of the tool that made it: asked for anew, it is authorized anew
questions   innermost: a repeated call has been authorized anew before its state is opened

`trace` and `fallback` will stand outside record, `limit`, `approve`, `retry` and `breaker` after
authorize: see ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from hub.middleware.approve import Approve
from hub.middleware.authorize import Authorize
from hub.middleware.check import Check
from hub.middleware.deadline import Deadline
from hub.middleware.limit import Limit
from hub.middleware.questions import Questions
from hub.middleware.record import Record
from hub.middleware.spend import Spend
from hub.middleware.tasks import Tasks
from hub.model import Middleware

__all__ = ["ordered"]


def ordered(
    record: Record,
    deadline: Deadline,
    authorize: Authorize,
    check: Check,
    limit: Limit,
    approve: Approve,
    spend: Spend,
    tasks: Tasks,
    questions: Questions,
) -> Sequence[Middleware]:
    return (record, deadline, authorize, check, limit, approve, spend, tasks, questions)
