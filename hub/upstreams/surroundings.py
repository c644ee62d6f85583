"""What every upstream is given by the fleet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio

from connectors.base import Context
from hub.env import Env
from hub.manifests.manifest import ServerManifest
from hub.mask import Mask
from hub.model import Call
from hub.parts import Parts
from hub.upstreams.learn import Known

if TYPE_CHECKING:
    from hub.upstreams.upstream import Upstream

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    env: Env
    context: Callable[[ServerManifest, str | None, dict[str, Any]], Awaitable[Context]]
    """Makes the connector's context: of a manifest, with the account of an agent where it has one of its own,
    and with the given fields replaced. Raises `ConfigError` where a secret cannot be had."""
    accounts: Callable[[str], frozenset[str] | None]
    """The agents with an account of their own at a server."""
    mask: Mask
    """Takes secrets out of what servers say when something went wrong."""
    starts: anyio.CapacityLimiter
    """How many servers may be starting at once."""
    changed: Callable[[Upstream, Known], None]
    """Called when a server has been learnt. Must not block."""
    stderr: Callable[[str, str], None]
    """`(server, line)`: keeps what a process wrote for people."""
    parts: Parts
    """Keeps what happens within calls."""
    check: Callable[[Call], None]
    """Called before a call goes to a server that had to be started for it. Raises `Denied`."""
    late: Callable[[], bool]
    """Whether the call of this task is being ended because its time is over."""
    hub: str
    """The name that this hub tells its agents' clients."""
