"""Agree with a server on an era, and stamp what is sent in it. Shared by all kinds.

Modern servers (2026-07-28) are found by `server/discover`; what answers it with anything but a
result or a modern error is legacy, and gets the `initialize` handshake. What was agreed last
time is tried first: a legacy server that stays silent on the probe costs its wait only once.

Source: specification 2026-07-28, basic/versioning and basic/transports, "Backward Compatibility".
"""

from __future__ import annotations

from typing import Final, Protocol

import anyio

from connectors.base import (
    CLIENT_CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    LEGACY_VERSIONS,
    LOG_LEVEL_KEY,
    MODERN_VERSIONS,
    PROTOCOL_VERSION_KEY,
    SERVER_INFO_KEY,
    Context,
    Json,
    LinkError,
    Peer,
    RemoteError,
)
from connectors.jsonrpc import HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY, UNSUPPORTED_VERSION

__all__ = ["PROBE_SECONDS", "Wire", "negotiate", "stamp"]

PROBE_SECONDS: Final = 10.0
"""How long a server may stay silent on the modern probe before it is taken for a legacy one."""

_MODERN_ERRORS: Final = frozenset({UNSUPPORTED_VERSION, HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY})


class Wire(Protocol):
    """A channel that is open but has agreed on nothing yet."""

    async def ask(self, method: str, params: Json, version: str) -> Json:
        """Send as it is and return the result. `version` is for the transport's own headers.

        Raises:
            RemoteError: an error answer, or a status that means as much.
            LinkError: the channel failed.
        """
        ...

    async def tell(self, method: str, params: Json, version: str) -> None:
        """Send a notification."""
        ...


def stamp(
    params: Json, version: str, client: Json, capabilities: Json | None, log_level: str | None = None
) -> Json:
    """Params as a modern server wants them: with the protocol's own keys in `_meta`."""
    meta = {
        **params.get("_meta", {}),
        PROTOCOL_VERSION_KEY: version,
        CLIENT_INFO_KEY: client,
        CLIENT_CAPABILITIES_KEY: capabilities or {},
    }
    if log_level is not None:
        meta[LOG_LEVEL_KEY] = log_level
    return {**params, "_meta": meta}


async def negotiate(wire: Wire, context: Context) -> Peer:
    """Find out what the server speaks, within the caller's time limit.

    Raises:
        LinkError: it cannot be agreed upon; the reason says what was tried.
    """
    if context.era == "legacy" or (context.era == "auto" and context.version in LEGACY_VERSIONS):
        return await _initialize(wire, context, context.version)
    try:
        return await _discover(wire, context, PROBE_SECONDS)
    except _SpeaksLegacy as answer:
        if context.era == "modern":
            raise LinkError(f"`era: modern`, but it does not speak {MODERN_VERSIONS[-1]}: {answer}") from None
        try:
            return await _initialize(wire, context, answer.version)
        except _SpeaksModern:
            if not answer.silent:
                raise
    # It started so slowly that it read the probe when nobody waited for its answer any longer.
    try:
        return await _discover(wire, context, None)
    except _SpeaksLegacy as answer:
        raise LinkError(
            f"it refused initialize, and does not speak {MODERN_VERSIONS[-1]}: {answer}"
        ) from None


class _SpeaksLegacy(Exception):
    def __init__(self, why: str, version: str | None = None, *, silent: bool = False) -> None:
        super().__init__(why)
        self.version = version
        self.silent = silent


class _SpeaksModern(LinkError):
    """It refused the older handshake for the version."""


async def _discover(wire: Wire, context: Context, seconds: float | None) -> Peer:
    version = MODERN_VERSIONS[-1]
    params = stamp({}, version, context.client, {})
    result: Json | None = None
    try:
        with anyio.move_on_after(seconds):
            result = await wire.ask("server/discover", params, version)
    except RemoteError as error:
        if error.code not in _MODERN_ERRORS:
            raise _SpeaksLegacy(f"server/discover: {error}") from None
        supported = error.data.get("supported") if isinstance(error.data, dict) else None
        common = _newest(LEGACY_VERSIONS, supported)
        if error.code == UNSUPPORTED_VERSION and common is not None:
            raise _SpeaksLegacy(f"it supports {supported}", common) from None
        raise LinkError(f"it refused server/discover: {error}") from None
    if result is None:
        raise _SpeaksLegacy(f"no answer to server/discover in {seconds:g} s", silent=True)
    versions = result.get("supportedVersions")
    if not isinstance(versions, list):
        # Some servers of the older era answer whatever they do not know with an empty result.
        raise _SpeaksLegacy("its answer to server/discover names no versions")
    if _newest(MODERN_VERSIONS, versions) is None:
        common = _newest(LEGACY_VERSIONS, versions)
        if common is None:
            raise LinkError(f"no protocol version in common: it supports {versions}")
        raise _SpeaksLegacy(f"it supports {versions}", common)
    meta = result.get("_meta")
    info = meta.get(SERVER_INFO_KEY) if isinstance(meta, dict) else None
    return _peer(version, info, result)


async def _initialize(wire: Wire, context: Context, version: str | None) -> Peer:
    offered = version if version in LEGACY_VERSIONS else LEGACY_VERSIONS[-1]
    params = {"protocolVersion": offered, "capabilities": context.capabilities, "clientInfo": context.client}
    try:
        result = await wire.ask("initialize", params, offered)
    except RemoteError as error:
        refusal = f"it refused initialize: {error}"
        raise (_SpeaksModern if error.code == UNSUPPORTED_VERSION else LinkError)(refusal) from None
    agreed = result.get("protocolVersion")
    if agreed not in LEGACY_VERSIONS:
        raise LinkError(f"no protocol version in common: it answered initialize with {agreed!r:.40}")
    await wire.tell("notifications/initialized", {}, agreed)
    return _peer(agreed, result.get("serverInfo"), result)


def _peer(version: str, info: object, result: Json) -> Peer:
    capabilities = result.get("capabilities")
    instructions = result.get("instructions")
    meta = result.get("_meta")
    return Peer(
        version,
        info if isinstance(info, dict) else {},
        capabilities if isinstance(capabilities, dict) else {},
        instructions if isinstance(instructions, str) else None,
        meta if isinstance(meta, dict) else {},
    )


def _newest(ours: tuple[str, ...], theirs: object) -> str | None:
    if not isinstance(theirs, list):
        return None
    return next((version for version in reversed(ours) if version in theirs), None)
