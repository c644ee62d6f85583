"""Which network addresses may be connected to (threats T14, T15: SSRF and DNS rebinding).

A name is resolved once, each address is judged, and one that was judged is the one connected to: there
is no second look-up that could answer otherwise. Judged is the number that the system resolved to, never
the spelling, so `0x7f.1` and `2130706433` are what they are: names that lead to this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Final, Literal

from connectors.base import LinkError

if TYPE_CHECKING:
    from connectors.http_connect import Address

__all__ = ["Reach", "addresses_of", "is_public"]

Reach = Literal["public", "named", "any"]
"""`public`: nothing but public addresses, for URLs that some server gave. `named`: beside them the very
address or `localhost` that a person wrote. `any`: a person allowed private ones."""

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

# Not told by `is_global` in every Python that we run on, or public by number and private by use: the
# second is where a large cloud answers its virtual machines.
_INSIDE: Final = tuple(
    ipaddress.ip_network(each)
    for each in ("192.0.0.0/24", "168.63.129.16/32", "192.88.99.0/24", "64:ff9b:1::/48", "100::/64")
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address, as the system writes it, is one of the public internet, with all that it embeds."""
    ip = ipaddress.ip_address(address)
    if any(ip in network for network in _INSIDE if network.version == ip.version):
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        within = _within(ip)
        if within:
            return all(is_public(str(each)) for each in within)
        if ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


def _within(ip: ipaddress.IPv6Address) -> tuple[IP, ...]:
    """The IPv4 addresses that packets to this one are carried to."""
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    if ip.sixtofour is not None:
        return (ip.sixtofour,)
    if ip.teredo is not None:
        return ip.teredo
    if ip in _NAT64:
        return (ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF),)
    return ()


async def addresses_of(address: Address, reach: Reach) -> list[str]:
    """The addresses to connect to, in the order in which to try them; at least one.

    Raises:
        LinkError: all that it has are out of reach; nothing was sent.
        OSError: the name cannot be resolved.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    every = list(dict.fromkeys(str(place[0]) for *_, place in found))
    allowed = [each for each in every if _may(address, each, reach)]
    if not allowed:
        raise LinkError(_refused(address, every[0], reach), sent=False)
    return allowed


def _may(address: Address, resolved: str, reach: Reach) -> bool:
    if reach == "any" or is_public(resolved):
        return True
    if reach == "public":
        return False
    if address.is_literal:
        return True
    return address.is_loopback and ipaddress.ip_address(resolved).is_loopback


def _refused(address: Address, resolved: str, reach: Reach) -> str:
    where = f"{address.host} is at {resolved}" if address.host != resolved else resolved
    what = f"{where}, which is no address of the public internet: not connected"
    if reach == "public":
        return f"{what}. A server named it, so it would need `allow_private: true` in the manifest."
    return f"{what}. If this is meant, write `allow_private: true` below `url` in the manifest."
