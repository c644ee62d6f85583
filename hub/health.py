"""How the hub that serves is: what `/ready` and `hub status` tell, without a name.

With it how late the event loop is, which is how long whatever happens has to wait until the hub looks at
it. A task that sleeps a twentieth of a second and looks by how much it woke too late: 20 us of CPU each
time, 0.04 % in all. What is late for one is late for all, so that is the hub's own health in one number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import anyio

from hub.env import Env
from hub.model import Json

__all__ = ["Health"]

_STEP_SECONDS: Final = 0.05
_KEPT: Final = 1200
"""The last minute."""


class Health:
    """Called, it says whether the hub is ready, and counts.

    Args:
        ready: The same of the servers and the store.
    """

    def __init__(self, env: Env, ready: Callable[[], tuple[bool, Json]]) -> None:
        self.ending = False
        """Whether the hub takes no more calls."""
        self._env = env
        self._ready = ready
        self._late: deque[float] = deque(maxlen=_KEPT)

    async def run(self) -> None:
        """Measure, until cancelled."""
        while True:
            began = self._env.monotonic()
            await anyio.sleep(_STEP_SECONDS)
            self._late.append(max(0.0, self._env.monotonic() - began - _STEP_SECONDS))

    def __call__(self) -> tuple[bool, Json]:
        ready, counts = self._ready()
        if self.ending:
            ready, counts = False, {**counts, "status": "ending"}
        return ready, {**counts, "loop_lag_ms": self._lag()}

    def _lag(self) -> Json:
        """Of the last minute, in milliseconds: half of all, 99 of 100, and the latest."""
        late = sorted(self._late) or [0.0]
        p50, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
        return {"p50": round(p50 * 1e3, 1), "p99": round(p99 * 1e3, 1), "max": round(late[-1] * 1e3, 1)}
