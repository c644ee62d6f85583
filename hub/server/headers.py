"""The headers of a request: who may be asking from where, and whether they say what the body says.

Works on the pairs of lower-cased name and raw value that the wire gives.

Source: specification 2026-07-28, basic/transports/streamable-http, "Security & Endpoint",
"Request Metadata", "Server Validation"; SEP-2663, "Routing Headers"; RFC 9110.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Final

from connectors.http_headers import NAMED, decode_value, is_value
from connectors.jsonrpc import HEADER_MISMATCH
from connectors.mirror import Mirrored, at, is_whole
from hub.model import Json
from hub.server.errors import Fault

__all__ = ["Allowed", "Facts", "check_mirrored", "check_routing", "text"]

Headers = Mapping[bytes, bytes]

_ROUTING: Final = frozenset({b"mcp-protocol-version", b"mcp-method", b"mcp-name"})
_ONCE: Final = _ROUTING | {
    b"host", b"origin", b"authorization", b"content-type", b"mcp-session-id", b"hub-session",
}  # fmt: skip
_PARAM: Final = b"mcp-param-"
REPEATED: Final = b"\0repeated"
"""Under this name (which no header can have): the names, joined by commas, that came more than once."""

_SEEN_MAX: Final = 256


def gather(pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
    """All headers by name. Lists are joined; what may come once only is kept once and noted."""
    pairs = list(pairs)
    headers = dict(pairs)
    if len(headers) == len(pairs):
        return headers
    headers, repeated = {}, []
    for name, value in pairs:
        if name not in headers:
            headers[name] = value
        elif name in _ONCE or name.startswith(_PARAM):
            repeated.append(name)
        else:
            headers[name] += b", " + value
    headers[REPEATED] = b",".join(repeated)
    return headers


def text(headers: Headers, name: bytes) -> str | None:
    """A header's value without the white space around it (which httptools leaves there)."""
    value = headers.get(name)
    return None if value is None else value.strip(b" \t").decode("latin-1")


def accepts(headers: Headers) -> tuple[bool, bool]:
    """Whether the client takes JSON, and whether it takes a stream. No header means both."""
    value = headers.get(b"accept")
    if value is None:
        return True, True
    value = value.lower()
    anything = b"*/*" in value
    return (
        anything or b"application/json" in value or b"application/*" in value,
        anything or b"text/event-stream" in value or b"text/*" in value,
    )


def prefers_stream(headers: Headers) -> bool:
    """Whether the client names the stream before JSON: then it gets one, also where JSON would do."""
    value = headers.get(b"accept", b"").lower()
    return 0 <= value.find(b"text/event-stream") < value.find(b"application/json")


class Allowed:
    """Which `Host` and `Origin` may be asked for: this machine's own, and what a setting adds.

    Args:
        hosts: Further names, with a port or for any port (`hub.example.com`, `10.0.0.5:8420`).
        origins: Further origins, exactly as browsers send them (`https://console.example.com`).
    """

    def __init__(self, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._hosts_seen: set[bytes] = set()

    def host(self, value: bytes | None) -> bool:
        if value is None:
            return False
        if value in self._hosts_seen:
            return True
        host = value.strip(b" \t").decode("latin-1").lower()
        name = _host_name(host)
        if name is None or not (host in self._hosts or name in self._hosts or _is_loopback(name)):
            return False
        if len(self._hosts_seen) < _SEEN_MAX:
            self._hosts_seen.add(value)
        return True

    def origin(self, value: bytes) -> bool:
        origin = value.strip(b" \t").decode("latin-1").lower()
        if origin in self._origins:
            return True
        scheme, _, host = origin.partition("://")
        name = _host_name(host)
        return scheme in ("http", "https") and name is not None and _is_loopback(name)


_host = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")


def _host_name(host: str) -> str | None:
    """The name or address in `host[:port]`; `None` for anything else."""
    found = _host.fullmatch(host)
    return None if found is None else found[1]


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


class Facts:
    """What the headers of a request say by themselves, found out once for equal heads: it takes 3 us.

    Who asks, and whether from a place that may, is not among it: `admission` says so, anew each time.
    """

    __slots__ = (
        "agreed", "agreed_with", "headers", "is_json", "method", "name", "named", "prefers_stream",
        "repeated", "session", "takes_json", "takes_stream", "version",
    )  # fmt: skip

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.headers = headers = gather(pairs)
        self.agreed: Any = None
        """What a body said that these were found to agree with, whatever its arguments, by that catalog."""
        self.agreed_with: Any = None
        self.repeated = frozenset(headers.get(REPEATED, b"").split(b",")) - {b""}
        self.version = text(headers, b"mcp-protocol-version")
        self.method = text(headers, b"mcp-method")
        self.name = text(headers, b"mcp-name")
        self.session = text(headers, b"mcp-session-id")
        self.named = text(headers, b"hub-session")
        kind = headers.get(b"content-type", b"").partition(b";")[0]
        self.is_json = kind.strip(b" \t").lower() == b"application/json"
        self.takes_json, self.takes_stream = accepts(headers)
        self.prefers_stream = prefers_stream(headers)


def check_routing(facts: Facts, version: Any, method: str, params: Json) -> None:
    """Whether the headers of a modern request say what its body says.

    Args:
        version: What the body's `_meta` gives as protocol version.

    Raises:
        Fault: -32020.
    """
    if facts.repeated:
        for name in sorted(facts.repeated & _ROUTING):
            raise Fault(HEADER_MISMATCH, f"Header mismatch: {name.decode()} came more than once")
    if facts.version != version:
        raise _mismatch("MCP-Protocol-Version", facts.version, "_meta")
    if facts.method != method:
        raise _mismatch("Mcp-Method", facts.method, "method")
    key = NAMED.get(method)
    if key is None or params.get(key) is None:
        return
    said = facts.name
    if said is None or _decoded("Mcp-Name", said) != params[key]:
        raise _mismatch("Mcp-Name", said, f"params.{key}")


def _mismatch(name: str, said: str | None, where: str) -> Fault:
    if said is None:
        return Fault(HEADER_MISMATCH, f"Header mismatch: {name} is missing")
    return Fault(
        HEADER_MISMATCH, f"Header mismatch: {name} {said!r:.100} is not what the body has in {where}"
    )


def _decoded(name: str, said: str) -> str:
    if said and not is_value(said):
        raise Fault(HEADER_MISMATCH, f"Header mismatch: {name} holds invalid characters")
    try:
        return decode_value(said)
    except ValueError as error:
        raise Fault(HEADER_MISMATCH, f"Header mismatch: {name}: {error}") from None


def check_mirrored(facts: Facts, wanted: Iterable[Mirrored], arguments: Json) -> None:
    """Whether each `Mcp-Param-*` header says what the arguments say.

    Raises:
        Fault: -32020.
    """
    for one in wanted:
        name = one.header.encode()
        if name in facts.repeated:
            raise Fault(HEADER_MISMATCH, f"Header mismatch: {one.header} came more than once")
        said, value = text(facts.headers, name), at(arguments, one.path)
        if value is None and said is None:
            continue
        where = "params.arguments." + ".".join(one.path)
        # An argument of a type that no header can say is left to whoever judges arguments.
        if said is None and type(value) not in (str, int, bool) and not is_whole(value):
            continue
        if said is None or value is None or not _same(_decoded(one.header, said), value, one.type):
            raise _mismatch(one.header, said, where)


_decimal = re.compile(r"-?[0-9]{1,400}(?:\.0{1,400})?")


def _same(said: str, value: Any, type_: str) -> bool:
    if isinstance(value, bool):
        return said == ("true" if value else "false")
    if isinstance(value, str):
        return said == value
    if type_ == "integer" and _decimal.fullmatch(said) and (isinstance(value, int) or is_whole(value)):
        return int(said.partition(".")[0]) == (value if isinstance(value, int) else int(float(value)))
    return said == str(value)
