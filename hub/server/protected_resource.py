"""Where agents learn who can give them a token for this hub, where hub.yaml's `oauth` says so.

Source: RFC 9728; specification 2026-07-28, basic/authorization, "Protected Resource Metadata".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from connectors.jsonrpc import encode
from hub.identity.issuer_settings import OAuth

__all__ = ["challenge", "documents"]

_WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


def documents(oauth: OAuth | None) -> Mapping[str, bytes]:
    """What is answered, by path: the same at the root, for `/mcp`, and where the resource's URL puts it."""
    if oauth is None:
        return {}
    document = encode(
        {
            "resource": oauth.resource,
            "authorization_servers": [each.issuer for each in oauth.issuers],
            "bearer_methods_supported": ["header"],
        }
    )
    return {_WELL_KNOWN + path: document for path in ("", "/mcp", _path(oauth))}


def challenge(oauth: OAuth | None) -> bytes:
    """`WWW-Authenticate` of a 401."""
    if oauth is None:
        return b"Bearer"
    parts = urlsplit(oauth.resource)
    url = f"{parts.scheme}://{parts.netloc}{_WELL_KNOWN}{_path(oauth)}"
    return f'Bearer resource_metadata="{url}"'.encode()


def _path(oauth: OAuth) -> str:
    return urlsplit(oauth.resource).path.rstrip("/")
