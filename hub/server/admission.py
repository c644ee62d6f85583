"""Who may come in over HTTP: which `Host` and `Origin` may be asked for, then who asks. Reads no body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hub.errors import Unauthorized
from hub.identity.identity import Identities
from hub.identity.issuer_settings import OAuth
from hub.model import Agent
from hub.server import protected_resource
from hub.server.headers import REPEATED, Allowed, Headers, text
from hub.server.replies import refused, unauthorized

__all__ = ["Admission", "AdmissionSettings"]


class AdmissionSettings(Protocol):
    @property
    def allowed_hosts(self) -> Sequence[str]: ...
    @property
    def allowed_origins(self) -> Sequence[str]: ...
    @property
    def oauth(self) -> OAuth | None: ...


class Admission:
    def __init__(self, identities: Identities, settings: AdmissionSettings) -> None:
        self._identities = identities
        self._allowed = Allowed(settings.allowed_hosts, settings.allowed_origins)
        self._challenge = protected_resource.challenge(settings.oauth)
        self.documents: Mapping[str, bytes] = protected_resource.documents(settings.oauth)
        """What anybody may read, by path: where a token can be had."""

    def admit(self, headers: Headers) -> Agent | None:
        """Who asks; `None` where that takes a closer look (`prove`). Raises `Rejection`: 403, 400, 401."""
        if not self._allowed.host(headers.get(b"host")):
            raise refused(403, "Forbidden: this Host is not served here")
        origin = headers.get(b"origin")
        if origin is not None and not self._allowed.origin(origin):
            raise refused(403, "Forbidden: this Origin may not ask here")
        repeated = headers.get(REPEATED)
        if repeated is not None:
            for name in (b"host", b"origin", b"authorization", b"mcp-session-id", b"content-type"):
                if name in repeated.split(b","):
                    raise refused(400, f"Invalid request: {name.decode()} came more than once")
        authorization = text(headers, b"authorization")
        try:
            return self._identities.identify(authorization)
        except Unauthorized:
            if self._identities.may_prove(authorization):
                return None
            raise unauthorized(self._challenge) from None

    async def prove(self, headers: Headers) -> Agent:
        """Who asks with a token of another issuer that is not known yet. Raises `Rejection`: 401."""
        try:
            return await self._identities.prove(text(headers, b"authorization"))
        except Unauthorized:
            raise unauthorized(self._challenge) from None
