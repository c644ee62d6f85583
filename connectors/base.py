"""What a kind of connection fills in: `Connector` opens a `Link`, a `Link` carries requests.

Everything here speaks raw JSON-RPC dicts. Of the protocol it knows only what every kind needs:
which era a server speaks, and how a request is stamped for it. It knows nothing of agents,
grants, names or storage: whoever opens a link hands in what it needs as a `Context`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from connectors.large import Large

if TYPE_CHECKING:
    from connectors.children import Children

__all__ = [
    "LEGACY_VERSIONS",
    "LET_GO",
    "MODERN_VERSIONS",
    "Access",
    "Bearer",
    "ConfigError",
    "Connector",
    "Context",
    "Era",
    "Json",
    "Link",
    "LinkError",
    "LoginNeeded",
    "LoginTooNarrow",
    "Notify",
    "OnRequest",
    "Peer",
    "RemoteError",
]

Json = dict[str, Any]
Notify = Callable[[str, Json], None]
"""`(method, params)` of a notification. Must not block and must not raise."""

OnRequest = Callable[[str, Json], Awaitable[Json]]
"""`(method, params)` of a legacy server's own question -> its answer. Raises `RemoteError` to refuse."""

Era = Literal["auto", "modern", "legacy"]

MODERN_VERSIONS: tuple[str, ...] = ("2026-07-28",)
"""Newest last. Each request says its version; there is no handshake."""

LEGACY_VERSIONS: tuple[str, ...] = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""Newest last. Negotiated once by `initialize`."""

PROTOCOL_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO_KEY = "io.modelcontextprotocol/clientInfo"
CLIENT_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL_KEY = "io.modelcontextprotocol/logLevel"
SERVER_INFO_KEY = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID_KEY = "io.modelcontextprotocol/subscriptionId"

LET_GO = "connection/let-go"
"""No notification of any server. `on_notify` gets it when a server of the older era has ended, on
purpose, the connection of a request's stream, to be asked for the rest later: after `retry`
milliseconds, if it said so."""


class ConfigError(Exception):
    """What a manifest says cannot be used here: an unset variable, a missing program or file.

    `str()` is a sentence with the fix, without any secret.
    """


class RemoteError(Exception):
    """The server answered with a JSON-RPC error. Passed on to whoever asked, unchanged."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> Json:
        """The error object of a JSON-RPC response."""
        said: Json = {"code": self.code, "message": self.message}
        return said if self.data is None else {**said, "data": self.data}


class LinkError(Exception):
    """The link failed: the process ended, the connection broke, what came was no JSON-RPC.

    Args:
        reason: A sentence for the person who runs the hub; may quote the server's own words.
        sent: Whether the request may have reached the server. `False` is a promise: nothing
            left, so sending it again cannot run it twice.
        retry_seconds: How long the server itself asked to be left alone, where it said so.
        too_large: Whether what it sent was more at once than its manifest lets it.
    """

    def __init__(
        self,
        reason: str,
        *,
        sent: bool = True,
        retry_seconds: float | None = None,
        too_large: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.retry_seconds = retry_seconds
        self.too_large = too_large


class LoginNeeded(LinkError):
    """The server wants a token that only a person's login can get; what was asked was not done.

    Trying again is useless until somebody has logged in.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class LoginTooNarrow(LinkError):
    """The server wants a login for more than there is one for; what was asked was not done.

    Args:
        scopes: What it asks for, where it said so; safe to show.
    """

    def __init__(self, reason: str, scopes: tuple[str, ...]) -> None:
        super().__init__(reason, sent=False)
        self.scopes = scopes


@dataclass(frozen=True, slots=True)
class Bearer:
    """An access token, and for how long it is sure to count."""

    token: str
    """Secret. Fit for a header."""
    seconds: float | None
    """After so many it is to be asked for again; `None`: its issuer did not say."""


class Access(Protocol):
    """Where a link gets its access token from. Shared by all links that use the same account."""

    async def current(self) -> Bearer | None:
        """The token to send now, made anew where it is nearly over; `None` to send none.

        Raises:
            LoginNeeded: there was one, and only a new login can give another.
            LinkError: it could not be had this time.
            ConfigError: it cannot be had as the manifest is written.
        """
        ...

    async def renewed(self, refused: str) -> Bearer | None:
        """Another token, after the server has refused this one; `None` where there is no other.

        Raises: as `current`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """What a server said of itself when the link was opened."""

    version: str
    """The protocol version in use on the link, one of the two tuples above."""
    info: Json
    """Its `serverInfo`, raw; `{}` where it gave none."""
    capabilities: Json
    instructions: str | None = None
    meta: Json = field(default_factory=dict)
    """The `_meta` beside it, raw."""

    @property
    def modern(self) -> bool:
        return self.version in MODERN_VERSIONS


@dataclass(frozen=True, slots=True)
class Context:
    """What a connector may know and use while it opens one link."""

    name: str
    """The server's name, for messages and folder names: `[a-z][a-z0-9-]{0,23}`."""
    home: Path
    """Where relative paths of the manifest start, and where a command runs by default."""
    data: Path
    """A folder shared by all servers of this hub, for installed packages (`data/packages/...`)."""
    children: Children
    """Starts processes that do not outlive this one."""
    expand: Callable[[str], str]
    """Fills in `${VAR}`, `${VAR:-default}`, `${secret:NAME}`. Raises `ConfigError`, naming what is unset."""
    client: Json
    """Our `clientInfo`, as sent to the server."""
    cwd: Path | None = None
    access: Access | None = None
    """Where a kind that sends tokens gets them from; `None`: it sends none but what its manifest has."""
    era: Era = "auto"
    version: str | None = None
    """The version agreed on last time, if any: tried first, so that silent servers cost no probe."""
    capabilities: Json = field(default_factory=dict)
    """The client capabilities that a legacy link declares, once and for all of its requests."""
    message_bytes_max: int = 64 * 1024 * 1024
    large: Large = field(default_factory=Large)
    """The room that large messages take, shared by all links."""
    concurrent_max: int | None = None
    """How many requests may be under way on the link at once; `None` leaves it to the kind."""
    memory_bytes_max: int | None = None
    files_max: int | None = None
    processes_max: int | None = None
    """What a server's process, and each that it starts, may have of its own (`children.Bounds`)."""
    on_notify: Notify = lambda method, params: None
    """Notifications that belong to no request of ours (`notifications/tools/list_changed`)."""
    on_request: OnRequest | None = None
    """A legacy server's question that belongs to no request. `None`: answered -32601 by the link."""
    on_stderr: Callable[[str], None] = lambda line: None
    """One line that the server's process wrote for people, without its newline, at most 4096 characters."""
    on_progress: Callable[[str], None] = lambda sentence: None
    """What opening is doing right now, for people who wait: "installing mcp-server-git 2026.10.19"."""


class Link(Protocol):
    """One open connection to one server.

    Safe for many requests at once. Cancelling the task that awaits `request` tells the server,
    and drops a late answer.
    """

    peer: Peer

    @property
    def closed(self) -> bool:
        """Whether it has ended, so that nothing can be sent on it any more."""
        ...

    async def request(
        self,
        method: str,
        params: Json,
        *,
        capabilities: Json | None = None,
        log_level: str | None = None,
        on_notify: Notify | None = None,
        on_request: OnRequest | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """Ask, and return the `result` object as it came.

        Has no time limit of its own: cancel it.

        Args:
            params: Sent as they are, but for `_meta`: protocol keys are stamped on a modern
                link, and a `progressToken` is replaced by one that is unique on the link (the
                caller's comes back in what `on_notify` gets). Never modified in place.
            capabilities: The client capabilities that this request declares (modern links).
            log_level: Ask for the server's log messages of this request (modern links).
            on_notify: Gets the notifications that belong to this request, before the result.
            on_request: Gets a legacy server's questions that belong to this request, or may.
            headers: Further HTTP headers (`Mcp-Param-*`); other kinds ignore them.

        Raises:
            RemoteError: the server answered with an error.
            LinkError: there was no usable answer.
        """
        ...

    async def notify(self, method: str, params: Json) -> None:
        """Send a notification. Raises `LinkError` if it surely did not leave."""
        ...

    async def wait_closed(self) -> str:
        """Return why the link ended, once it has; kinds without a lasting connection may wait for ever."""
        ...


class Connector(Protocol):
    """One way to reach a server: its configuration, checked, with the means to open it.

    Implementations are frozen pydantic models with `extra="forbid"`, so that the manifest's
    `connect:` mapping *is* the connector (caddy's rule: a module is its configuration).
    """

    lasting: ClassVar[bool]
    """Whether a link holds a process or object that should be closed when idle (stdio), or not (HTTP)."""

    def describe(self) -> str:
        """One line for people, without secrets: "npx -y some-server", "https://host/mcp"."""
        ...

    def missing(self) -> str | None:
        """What this machine lacks to use it at all ("needs node 18 or newer; ..."), or `None`.

        Cheap: looks, starts nothing, expands no variable.
        """
        ...

    async def prepare(self, context: Context) -> None:
        """What must be there before the first start, such as an installed package. Most kinds: nothing.

        May take minutes: it is bounded by its own limit, not by `limits.connect`. Doing it twice is harmless.

        Raises:
            ConfigError: it cannot be had as it is written.
            LinkError: it did not work this time.
        """
        ...

    def open(self, context: Context) -> AbstractAsyncContextManager[Link]:
        """Connect and negotiate. Leaving the context ends the link and all it started.

        Bounded by the caller's cancel scope (the manifest's `limits.connect`).

        Raises:
            ConfigError: the configuration cannot work as it stands; retrying is useless.
            LinkError: it did not work this time.
        """
        ...
