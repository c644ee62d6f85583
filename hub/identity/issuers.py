"""Checks the tokens of other issuers (JWTs). Says what one claims, or nothing; never why not, to who sent it.

A token must be signed by a key that its issuer publishes, in an algorithm that the settings allow for
that issuer, be for this hub, and be of now. Keys that a token brings or names itself are not looked at.
Nothing that a token says is believed, or even fetched by, before its issuer is one of the settings'.

Source: RFC 7519, RFC 8725 (best practice), RFC 9068; specification 2026-07-28, basic/authorization.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio

from connectors.base import ConfigError, LinkError
from connectors.jsonrpc import Budget, Malformed, parse
from hub.env import Env
from hub.errors import NoThread
from hub.identity.issuer_settings import Issuer, OAuth
from hub.threads import in_thread

__all__ = ["Checked", "Fetch", "Issuers"]

Fetch = Callable[[str], Awaitable[bytes]]
"""What is at a URL, whole and bounded. Raises `ConfigError` or `LinkError`."""

JWT_LENGTH_MAX: Final = 8 * 1024
KEYS_MAX: Final = 64
_JWKS_BUDGET: Final = Budget(256 * 1024, 20_000)
_KEPT_SECONDS: Final = 3600.0
"""After this, keys are asked for again: one that its issuer took back must not count for ever."""
_KEPT_MOST_SECONDS: Final = 24 * 3600.0
"""How long they count while its issuer cannot be asked."""
_AGAIN_SECONDS: Final = 60.0
"""How often an issuer is asked at most, whatever is sent to the hub."""
_LEEWAY_SECONDS: Final = 60.0
"""How far an issuer's clock may be off, either way."""
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_CURVES: Final[Mapping[str, tuple[str, str | None]]] = {
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"), "EdDSA": ("OKP", "Ed25519"),
}  # fmt: skip

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checked:
    claims: Mapping[str, Any]
    ends: float
    """When it counts no longer, in seconds since 1970: a minute after what it says."""


class Issuers:
    def __init__(self, settings: OAuth, fetch: Fetch, env: Env, home: Path) -> None:
        """
        Args:
            home: Where a relative file of keys is.
        """
        self._env = env
        self._keys = {each.issuer: _Keys(each, fetch, env, home) for each in settings.issuers}

    async def check(self, text: str) -> Checked | None:
        """What a token claims; `None` where it does not count. Logs why not, without the token.

        About 100 us of CPU, and at most a few seconds of waiting for its issuer's keys.
        """
        try:
            return await self._check(text)
        except _Refused as refused:
            log.info("a token of another issuer was refused: %s", refused)
            return None

    async def _check(self, text: str) -> Checked:
        import jwt  # 0.2 s: only where it is needed

        if len(text) > JWT_LENGTH_MAX:
            raise _Refused("it is too long")
        try:
            header = jwt.get_unverified_header(text)
            unchecked = jwt.decode(text, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _Refused("it cannot be read") from None
        algorithm, issuer = header.get("alg"), unchecked.get("iss")
        keys = self._keys.get(issuer) if isinstance(issuer, str) else None
        if keys is None:
            raise _Refused("its issuer is none of hub.yaml's")
        allowed = keys.issuer.algorithms
        if not isinstance(algorithm, str) or algorithm not in allowed:
            raise _Refused("its algorithm is not allowed for its issuer")
        # A floor's PyJWT ignores `crit`.
        if "crit" in header or str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise _Refused("it is of another type, or asks for what is not known here")
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise _Refused("its kid is no text")
        found = [key for key in await keys.find(kid) if _fits(key, algorithm)]
        return self._signed(text, found, algorithm, keys.issuer)

    def _signed(
        self, text: str, keys: Sequence[Mapping[str, Any]], algorithm: str, issuer: Issuer
    ) -> Checked:
        import jwt

        why = "its issuer has no such key"
        for each in keys:
            try:
                key = jwt.PyJWK.from_dict(dict(each), algorithm).key
                claims = jwt.decode(
                    text, key, algorithms=[algorithm], audience=issuer.audience, issuer=issuer.issuer,
                    # Its times are looked at below: the clock is the hub's, as everywhere.
                    options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True,
                             "verify_exp": False, "verify_nbf": False, "verify_iat": False},
                )  # fmt: skip
            except (jwt.PyJWTError, ValueError, TypeError) as error:
                why = type(error).__name__
                continue
            return Checked(claims, self._end(claims))
        raise _Refused(why)

    def _end(self, claims: Mapping[str, Any]) -> float:
        now, ends = self._env.now(), _moment(claims["exp"]) + _LEEWAY_SECONDS
        if ends <= now:
            raise _Refused("it is over")
        for name in ("nbf", "iat"):
            if name in claims and _moment(claims[name]) > now + _LEEWAY_SECONDS:
                raise _Refused("it does not count yet")
        return ends


class _Refused(Exception):
    """Why, for people: never what was sent."""


class _Keys:
    """The public keys of one issuer."""

    def __init__(self, issuer: Issuer, fetch: Fetch, env: Env, home: Path) -> None:
        self.issuer = issuer
        self._fetch = fetch
        self._env = env
        self._home = home
        self._keys: Sequence[Mapping[str, Any]] = ()
        self._learnt = -math.inf
        self._asked = -math.inf
        self._asking = anyio.Lock()

    async def find(self, kid: str | None) -> Sequence[Mapping[str, Any]]:
        """The keys that may have signed a token that names this one, or none."""
        found = self._named(kid)
        if not found or self._env.monotonic() - self._learnt > _KEPT_SECONDS:
            async with self._asking:
                found = self._named(kid)
                now = self._env.monotonic()
                if (not found or now - self._learnt > _KEPT_SECONDS) and now - self._asked >= _AGAIN_SECONDS:
                    await self._learn()
                    found = self._named(kid)
        return found

    def _named(self, kid: str | None) -> Sequence[Mapping[str, Any]]:
        if self._env.monotonic() - self._learnt > _KEPT_MOST_SECONDS:
            return ()
        return self._keys if kid is None else [key for key in self._keys if key.get("kid") == kid]

    async def _learn(self) -> None:
        self._asked = self._env.monotonic()
        try:
            if self.issuer.is_fetched:
                data = await self._fetch(self.issuer.jwks)
            else:
                data = await in_thread(_read, self._home / self.issuer.jwks)
            said = parse(data, _JWKS_BUDGET)
        except (ConfigError, LinkError, Malformed, NoThread, OSError) as error:
            log.warning("the keys of issuer %s cannot be had: %s", self.issuer.issuer, error)
            return
        keys = said.get("keys") if isinstance(said, dict) else None
        if not isinstance(keys, list):
            log.warning(
                "the keys of issuer %s cannot be used: what came is no JSON Web Key Set", self.issuer.issuer
            )
            return
        self._keys = [key for key in keys[:KEYS_MAX] if isinstance(key, dict)]
        self._learnt = self._asked


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Whether a key may be used so: of the right type, to check signatures, public."""
    kty, curve = _CURVES.get(algorithm, ("RSA", None))
    return (
        key.get("kty") == kty
        and (curve is None or key.get("crv") == curve)
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and "d" not in key
    )


def _moment(claim: Any) -> float:
    if isinstance(claim, bool) or not isinstance(claim, int | float) or not math.isfinite(claim):
        raise _Refused("one of its times is no number")
    return float(claim)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_JWKS_BUDGET.bytes_max + 1)
