"""The way to an HTTP server: TLS that is always checked, and the proxies of the environment."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.base import ConfigError, LinkError
from connectors.http_connect import Address, proxy_for
from tests.http_room import Room
from tests.servers.fault_http import (
    Request,
    http,
    modern,
    nobody_at,
    result,
    serve,
    serve_connect_proxy,
)

pytestmark = [pytest.mark.anyio, pytest.mark.both_loops]

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    with anyio.fail_after(30):
        yield Room(tmp_path)


class Authority:
    """A CA made for one test."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        built = self._start(self._name, self._key).add_extension(x509.BasicConstraints(True, None), True)
        certificate = built.add_extension(usage, True).sign(self._key, hashes.SHA256())
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _start(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(NOW - datetime.timedelta(days=1))
        builder = builder.not_valid_after(NOW + datetime.timedelta(days=1))
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(identifier, False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(issuer, False)

    def server(self, *names: str) -> ssl.SSLContext:
        """What a server with these names serves TLS with."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
            for name in names
        ]
        builder = self._start(subject, key).add_extension(x509.SubjectAlternativeName(alternatives), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        file = self.folder / f"{names[0]}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@modern
async def tea(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(http(200, result(request, {"said": request.target})))


async def test_a_server_of_a_named_ca_is_reached(room: Room) -> None:
    authority = Authority(room.home)
    async with serve(tea, tls=authority.server("localhost")) as server:
        async with room.open(server.url, {"ca": "ca.pem"}) as link:
            for _ in range(3):
                assert await link.request("tools/list", {}) == {"said": "/mcp"}
        assert server.connections == 1


async def test_a_server_of_an_unknown_ca_is_refused_with_the_way_out(room: Room) -> None:
    async with serve(tea, tls=Authority(room.home).server("localhost")) as server:
        with pytest.raises(LinkError, match=r"certificate of localhost:\d+ is not trusted.*`ca:`") as failed:
            async with room.open(server.url):
                pass
        assert not failed.value.sent
        Authority(room.home, "other")
        with pytest.raises(LinkError, match="is not trusted"):
            async with room.open(server.url, {"ca": "other.pem"}):
                pass
        assert server.requests == []


async def test_a_certificate_for_another_name_is_refused(room: Room) -> None:
    async with serve(tea, tls=Authority(room.home).server("elsewhere.test")) as server:
        with pytest.raises(LinkError, match=r"is not trusted.*localhost"):
            async with room.open(server.url, {"ca": "ca.pem"}):
                pass
        assert server.requests == []


async def test_a_server_without_tls_is_named_as_such(room: Room) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(http(400))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(LinkError, match=f"no TLS with localhost:{port}: wrong version number") as failed:
            async with room.open(f"https://localhost:{port}/"):
                pass
        assert not failed.value.sent


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "cannot be read"), ("no PEM", "no certificate in PEM")]
)
async def test_a_ca_file_that_cannot_be_used_is_named(room: Room, content: str | None, reason: str) -> None:
    if content is not None:
        (room.home / "ca.pem").write_text(content)
    with pytest.raises(ConfigError, match=f"ca: .*ca.pem .*{reason}|ca: .*ca.pem {reason}"):
        async with room.open("https://localhost:1/mcp", {"ca": "ca.pem"}):
            pass


async def test_an_http_proxy_is_asked_for_the_whole_url(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(tea) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@localhost:{proxy.port}")
        async with room.open("http://server.test:81/mcp?a=b") as link:
            assert await link.request("tools/list", {}) == {"said": "http://server.test:81/mcp?a=b"}
        sent = proxy.requests[0].headers
        assert sent["host"] == "server.test:81"
        assert sent["proxy-authorization"] == "Basic bWU6cEBzcw=="


async def test_an_https_server_is_reached_through_a_tunnel(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its certificate is checked as ever, and it never sees the proxy's password."""
    authority = Authority(room.home)
    async with serve(tea, tls=authority.server("server.test")) as server, serve_connect_proxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://me:secret@localhost:{proxy.port}")
        url = f"https://server.test:{server.port}/mcp"
        async with room.open(url, {"ca": "ca.pem"}) as link:
            assert await link.request("tools/list", {}) == {"said": "/mcp"}
        assert [(each.method, each.target) for each in proxy.requests] == [("CONNECT", url[8:-4])]
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"
        assert all("proxy-authorization" not in request.headers for request in server.requests)
        with pytest.raises(LinkError, match="is not trusted"):
            async with room.open(url.replace("server.test", "other.test"), {"ca": "ca.pem"}):
                pass


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("407 Proxy Authentication Required", "wants a name and password"),
        ("403 Forbidden", "does not let through to server.test: HTTP 403 Forbidden"),
    ],
)
async def test_a_proxy_that_refuses_is_named(
    room: Room, monkeypatch: pytest.MonkeyPatch, status: str, reason: str
) -> None:
    async with serve_connect_proxy(status) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@localhost:{proxy.port}")
        with pytest.raises(LinkError, match=f"the proxy localhost:{proxy.port} {reason}") as failed:
            async with room.open("https://server.test/mcp"):
                pass
        assert not failed.value.sent
        assert "secret" not in str(failed.value)


async def test_a_proxy_that_is_not_there_is_named(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(tea) as proxy:
        pass
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    async with nobody_at(proxy.port):
        with pytest.raises(LinkError, match=f"could not connect to the proxy 127.0.0.1:{proxy.port}"):
            async with room.open("https://server.test/mcp"):
                pass


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("http://server.test/", True),
        ("http://localhost/", False),
        ("http://app.localhost/", False),
        ("http://127.8.9.1/", False),
        ("http://[::1]:8080/", False),
        ("http://inside.corp.test/", False),
        ("http://server.test:8081/", False),
        ("https://server.test/", False),
    ],
)
def test_which_addresses_are_proxied(monkeypatch: pytest.MonkeyPatch, url: str, proxied: bool) -> None:
    monkeypatch.setenv("http_proxy", "proxy.test:3128")
    monkeypatch.setenv("no_proxy", "corp.test,server.test:8081")
    assert (proxy_for(Address.parse(url)) is not None) == proxied


@pytest.mark.parametrize(
    "url", ["socks5://proxy.test:1080", "https://proxy.test", "http://:80", "http://p:x"]
)
def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("ALL_PROXY", url)
    with pytest.raises(ConfigError, match="the proxy in HTTPS_PROXY or ALL_PROXY"):
        proxy_for(Address.parse("https://server.test/"))


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("http://Host", "http://host", "/"),
        ("https://host:443/a b".replace(" ", "%20"), "https://host", "/a%20b"),
        ("http://host:80/ü?q=ä&r=%C3#f", "http://host", "/%C3%BC?q=%C3%A4&r=%C3"),
        ("http://[::1]:8420/mcp", "http://[::1]:8420", "/mcp"),
        ("https://tee.bücher.test/", "https://tee.xn--bcher-kva.test", "/"),
    ],
)
def test_how_a_url_is_read(url: str, origin: str, target: str) -> None:
    address = Address.parse(url)
    assert (address.origin, address.target) == (origin, target)
