"""`oauth:` in hub.yaml: whose tokens the hub takes besides its own, and for which resource they must be.

Only what was written, checked. Who reads tokens by it is `hub/identity/issuers.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from hub.manifests.manifest import AgentManifest

__all__ = ["ALGORITHMS", "Issuer", "OAuth", "read", "unknown"]

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Those with a public key. With one secret for both sides (HS256), whoever can check could also sign."""

_DEFAULT: Final = ("RS256", "ES256", "EdDSA")
_ISSUERS_MAX: Final = 16
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_EXAMPLE: Final = "Write {issuer: https://login.example.com, jwks: https://login.example.com/keys}."


@dataclass(frozen=True, slots=True)
class Issuer:
    issuer: str
    """Exactly as its tokens have it in `iss`."""
    jwks: str
    """Where its public keys are: a URL, or a file (relative to the hub's home)."""
    audience: str
    """What its tokens must have in `aud`."""
    algorithms: tuple[str, ...] = _DEFAULT

    @property
    def is_fetched(self) -> bool:
        return self.jwks.startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class OAuth:
    resource: str
    """The URL that agents know the hub by (RFC 9728)."""
    issuers: tuple[Issuer, ...]


def unknown(agents: Iterable[AgentManifest], oauth: OAuth | None) -> list[str]:
    """What is to be said of agents whose manifests name an issuer that is not taken."""
    known = {each.issuer for each in oauth.issuers} if oauth is not None else frozenset()
    return [
        f"{agent.file}: identify: hub.yaml has no issuer {way.issuer!r:.200}, so none of its tokens is taken "
        f"for {agent.name}. Add it to `issuers` of `oauth` there, exactly so, or correct it here."
        for agent in agents
        for way in agent.identified
        if way.issuer not in known
    ]


def read(written: Any) -> OAuth | None:
    """`none` takes no others. Raises `ValueError` with a sentence."""
    if written in (None, "none"):
        return None
    said = _mapping(written, "", ("resource", "issuers"))
    resource = _url(said.get("resource"), "resource")
    if urlsplit(resource).query:
        raise ValueError("resource: must be a URL without '?', such as https://hub.example.com/mcp.")
    issuers = said.get("issuers")
    if not isinstance(issuers, list) or not 0 < len(issuers) <= _ISSUERS_MAX:
        raise ValueError(f"issuers: must be a list of 1 to {_ISSUERS_MAX}. {_EXAMPLE}")
    read = tuple(_issuer(each, f"issuers[{at}]", resource) for at, each in enumerate(issuers))
    if len({each.issuer for each in read}) < len(read):
        raise ValueError("issuers: one is named twice. Keep one of the two.")
    return OAuth(resource, read)


def _issuer(written: Any, where: str, resource: str) -> Issuer:
    said = _mapping(written, f"{where}: ", ("issuer", "jwks", "audience", "algorithms"))
    jwks = said.get("jwks")
    if not isinstance(jwks, str) or not jwks:
        raise ValueError(f"{where}.jwks: must say where the public keys are: a URL or a file. {_EXAMPLE}")
    if "://" in jwks:
        jwks = _url(jwks, f"{where}.jwks")
    audience = said.get("audience", resource)
    if not isinstance(audience, str) or not audience:
        raise ValueError(f"{where}.audience: must be text: what the tokens have in `aud`.")
    algorithms = said.get("algorithms", list(_DEFAULT))
    if not isinstance(algorithms, list) or not algorithms or not set(map(str, algorithms)) <= {*ALGORITHMS}:
        raise ValueError(f"{where}.algorithms: must be a list of some of {', '.join(ALGORITHMS)}.")
    return Issuer(_url(said.get("issuer"), f"{where}.issuer"), jwks, audience, tuple(algorithms))


def _mapping(written: Any, where: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(written, dict):
        raise ValueError(f"{where}must be a mapping with {', '.join(keys)}.")
    unknown = [str(key) for key in written if key not in keys]
    if unknown:
        raise ValueError(f"{where}{unknown[0]:.60} is not known here. There are: {', '.join(keys)}.")
    return written


def _url(written: Any, where: str) -> str:
    parts = urlsplit(written) if isinstance(written, str) else None
    try:
        host = None if parts is None else parts.hostname
    except ValueError:
        host = None
    if (
        parts is None
        or not host
        or parts.scheme not in ("https", "http")
        or "@" in parts.netloc
        or parts.fragment
    ):
        raise ValueError(f"{where}: must be a URL, such as https://login.example.com.")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ValueError(
            f"{where}: must begin with https://; only this machine itself may be reached by http://."
        )
    return str(written)
