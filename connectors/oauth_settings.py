"""`oauth:` below `url:` in a manifest: what a login to that server needs besides what the server says itself.

Most servers need nothing of this. Only what was written, checked.
"""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from connectors.http_connect import Address

__all__ = ["OAuth"]

Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,256}$")]


class OAuth(BaseModel):
    """What the hub is, to the server's authorization server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grant: Literal["login", "client_credentials"] = "login"
    """`login`: a person logs in once. `client_credentials`: the hub itself is who asks."""
    issuer: str | None = None
    """The authorization server, where it is to be this one, whatever the server names."""
    client_id: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    """As which client the hub is known there, or the URL of a client's metadata."""
    client_secret: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = None
    """`${secret:NAME}`."""
    scopes: tuple[Scope, ...] = Field(default=(), max_length=100)
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = None
    """Of this machine, to which a login comes back; left out: any that is free."""

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, issuer: str | None) -> str | None:
        if issuer is None:
            return None
        address = Address.parse(issuer)
        if address.scheme != "https" and not address.is_loopback:
            raise ValueError("must begin with https://; only this machine itself may be reached by http://")
        if urlsplit(issuer).query or urlsplit(issuer).fragment:
            raise ValueError("is a URL without '?' and '#'")
        return issuer

    @field_validator("client_secret")
    @classmethod
    def _check_secret(cls, secret: str | None) -> str | None:
        if secret is not None and "${" not in secret:
            raise ValueError("must not stand here itself. Write ${secret:NAME}, and `hub secrets set NAME`.")
        return secret

    @model_validator(mode="after")
    def _fits(self) -> OAuth:
        if self.client_secret is not None and self.client_id is None:
            raise ValueError(
                "has a `client_secret` and no `client_id`. Add the one that it is the secret of."
            )
        if self.client_secret is not None and self.issuer is None:
            raise ValueError(
                "has a `client_secret` and no `issuer`: the server could have it sent to whom it likes. "
                "Add `issuer`, the URL of the authorization server that gave it."
            )
        if self.grant == "client_credentials" and self.client_secret is None:
            raise ValueError("needs `issuer`, `client_id` and `client_secret` for `client_credentials`.")
        return self
