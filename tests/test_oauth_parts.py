"""What a login is made of: challenges as servers write them, and what a manifest may say of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from connectors.base import LoginTooNarrow
from connectors.http_answer import refusal_of
from connectors.http_response import Response
from connectors.jsonrpc import Budget
from connectors.oauth import Client, authorization_url
from connectors.oauth_challenge import Challenge, challenge_of, scopes_of
from connectors.oauth_metadata import Issuer, Sites
from hub.manifests import manifest

URL = "https://tea.example.com/.well-known/oauth-protected-resource"


def answer(header: str, status: int = 401) -> Response:
    return Response(status, {b"www-authenticate": header.encode("latin-1")})


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Bearer", Challenge()),
        (f'Bearer resource_metadata="{URL}"', Challenge(URL)),
        (f"bearer resource_metadata={URL}", Challenge(URL)),
        (
            f'Basic realm="x, Bearer y", Bearer scope="a b", resource_metadata="{URL}"',
            Challenge(URL, ("a", "b")),
        ),
        (f'Bearer realm="a \\"b\\", c" , resource_metadata = "{URL}"', Challenge(URL)),
        (f'Bearer scope="a", DPoP resource_metadata="{URL}"', Challenge(None, ("a",))),
        (
            'Bearer error="insufficient_scope", scope="a a b"',
            Challenge(None, ("a", "b"), "insufficient_scope"),
        ),
        ('Basic realm="x"', None),
        ("Bearers x=y", None),
        ("", None),
    ],
)
def test_a_challenge_is_read_as_it_may_be_written(header: str, said: Challenge | None) -> None:
    assert challenge_of(answer(header)) == said


@pytest.mark.parametrize("header", ["Bearer " + "a" * 60_000, "Bearer " + 'a="' * 20_000, "," * 60_000])
def test_no_header_takes_long_to_read(header: str) -> None:
    began = time.process_time()
    challenge_of(answer(header))
    assert time.process_time() - began < 2


def test_what_can_be_no_scope_is_none() -> None:
    assert scopes_of(["a", 'b"', "c d", 3, "a"]) == ("a",)
    assert scopes_of(None) == ()


def test_a_login_that_lacks_a_scope_is_told_with_the_scope() -> None:
    refused = answer('Bearer error="insufficient_scope", scope="tea:write"', 403)
    error = refusal_of(refused, Budget(1024, 64), ())
    assert isinstance(error, LoginTooNarrow)
    assert error.scopes == ("tea:write",)


def test_the_address_of_a_login_keeps_what_its_page_has_in_its_own() -> None:
    issuer = Issuer("https://x", "https://x/token", "https://x/authorize?tenant=1")
    made = authorization_url(
        issuer, Client("a b"), redirect="http://127.0.0.1:1/callback", resource="https://tea/mcp",
        scopes=("offline_access",), state="s", verifier="v" * 43,
    )  # fmt: skip
    assert made.startswith("https://x/authorize?tenant=1&response_type=code&client_id=a+b&")
    assert "resource=https%3A%2F%2Ftea%2Fmcp" in made and made.endswith("&prompt=consent")
    assert "v" * 43 not in made


def test_what_a_server_names_is_reached_as_far_as_its_manifest_says() -> None:
    sites = Sites("http://127.0.0.1:1/mcp")
    assert [sites.reach(url) for url in ("http://127.0.0.1:9/x", "https://x.example")] == ["named", "public"]
    assert Sites("https://tea.example", True).reach("https://10.0.0.1") == "any"


@pytest.mark.parametrize(
    ("oauth", "said"),
    [
        ("{client_secret: open, client_id: x, issuer: 'https://x'}", "must not stand here itself"),
        ("{client_secret: '${secret:x}', issuer: 'https://x'}", "no `client_id`"),
        ("{client_secret: '${secret:x}', client_id: x}", "Add `issuer`, the URL of"),
        ("{grant: client_credentials}", "needs `issuer`, `client_id` and `client_secret`"),
        ("{issuer: 'http://x.example'}", "must begin with https://"),
        ("{issuer: 'https://x.example/?a'}", "without '?' and '#'"),
        ("{scopes: ['a b']}", "oauth.scopes"),
        ("{port: 0}", "oauth.port"),
        ("{clientid: x}", "Did you mean 'client_id'?"),
    ],
)
def test_what_a_manifest_says_wrong_of_a_login_is_told(oauth: str, said: str) -> None:
    text = f"server: tea\nconnect:\n  url: https://tea.example.com\n  oauth: {oauth}\n"
    [problem] = manifest.load_text(Path("tea.yaml"), text).problems
    assert said in str(problem)


def test_a_header_of_the_manifest_and_a_login_do_not_go_together() -> None:
    text = "server: tea\nconnect: {url: 'https://tea.example.com', headers: {authorization: x}, oauth: {}}\n"
    [problem] = manifest.load_text(Path("tea.yaml"), text).problems
    assert "has both `oauth` and a header `Authorization`" in str(problem)
