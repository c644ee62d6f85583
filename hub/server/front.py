"""What every way in shares: the hub, who asks, their sessions, and what is under way for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hub.hub import Hub
from hub.identity.identity import Identities
from hub.model import Agent, Json
from hub.server.capabilities import OWN
from hub.server.changes import Changes
from hub.server.lines import Lines
from hub.server.questions import Questions
from hub.server.running import Running
from hub.server.voices import Voices
from hub.sessions import Sessions
from hub.upstreams.parking import QUESTION_SECONDS

__all__ = ["STREAMS_MAX", "VALUES_MAX", "Front"]

STREAMS_MAX: Final = 8
"""How many streams of change notes one agent may have open; one more is refused, so that no two
clients that both reconnect keep closing each other's."""

VALUES_MAX: Final = 100_000
"""How many JSON values one message of an agent may hold."""


class Front:
    """The hub as agents reach it.

    Args:
        ready: Whether the hub is, and counts without names.
        instructions: What an agent is told about the use of its tools, or `None`.
        capabilities: What an agent is told that it can do here.
        question_seconds: How long a legacy client may take to answer a question.
        message_bytes_max: How large one message over a pipe may be. (HTTP has its settings.)
    """

    def __init__(
        self,
        hub: Hub,
        identities: Identities,
        sessions: Sessions,
        *,
        ready: Callable[[], tuple[bool, Json]],
        instructions: Callable[[Agent], str | None] = lambda agent: None,
        capabilities: Callable[[Agent], Json] = lambda agent: OWN,
        question_seconds: float = QUESTION_SECONDS,
        message_bytes_max: int = 4 * 1024 * 1024,
    ) -> None:
        self.hub = hub
        self.identities = identities
        self.sessions = sessions
        self.ready = ready
        self.instructions = instructions
        self.capabilities = capabilities
        self.questions = Questions(hub.env, question_seconds)
        self.message_bytes_max = message_bytes_max
        self.running = Running()
        self.changes = Changes(hub, self.current)
        self.lines = Lines(hub.env)
        self.voices = Voices(self.changes, self.lines, hub.env)
        identities.on_change(self._identities_changed)

    def current(self, agent: Agent) -> Agent | None:
        """The same agent with the grants of now; `None` once its token is revoked or it is removed."""
        return self.identities.current(agent)

    def close(self) -> None:
        """End all open streams gracefully, and all that are still to be opened.

        Calls may still finish, but for those that wait for their agent's answer.
        """
        self.questions.close()
        self.changes.close()

    def _identities_changed(self) -> None:
        """End what revoked tokens and removed agents still have open; tell the others what they may use."""
        self.running.revoke(lambda agent: self.current(agent) is not None)
        self.changes.settle()
