"""Tokens of other issuers: what is checked before one proves an agent, and what is asked of its issuer."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from connectors.base import ConfigError, LinkError
from connectors.fetch import fetch
from hub.app import open_app
from hub.commands.validate import validate
from hub.errors import Unauthorized
from hub.home import Home
from hub.identity import issuer_settings
from hub.identity.claims import Identified, named_by
from hub.identity.identity import Identities
from hub.identity.issuer_settings import OAuth
from hub.identity.issuers import Issuers
from hub.policy import Grants, Rule
from hub.settings import Settings
from hub.store.db import Store
from tests.clocks import Clock
from tests.homes import write
from tests.issuer_room import RESOURCE, Issuer, Key, issuer

pytestmark = pytest.mark.anyio

GRANTS = Grants("me.yaml", (Rule("may[0]", ("*",), 2),))
KEY = Key.make("k1")


@pytest.fixture
async def known() -> AsyncIterator[Issuer]:
    async with issuer() as it:
        it.keys = [KEY.public()]
        yield it


@pytest.fixture
async def identities(known: Issuer, clock: Clock, tmp_path: Path) -> AsyncIterator[Identities]:
    async with Store.open(tmp_path / "hub.db", clock) as store:
        oauth = issuer_settings.read(
            {"resource": RESOURCE, "issuers": [{"issuer": known.url, "jwks": known.jwks}]}
        )
        assert oauth is not None
        identities = Identities(store, clock, Issuers(oauth, fetch, clock, tmp_path))
        identities.replace({"me": GRANTS, "dev": GRANTS}, ways(known.url))
        yield identities


def ways(url: str) -> dict[str, tuple[Identified, ...]]:
    return {
        "me": (Identified(url, (("sub", "ada"),)),),
        "dev": (Identified(url, (("groups", "devs"), ("tenant", "t1"))),),
    }


async def proves(identities: Identities, text: str) -> str | None:
    """The agent's name. A refusal is always in the words that no token at all gets."""
    try:
        return (await identities.prove(f"Bearer {text}")).name
    except Unauthorized as refused:
        with pytest.raises(Unauthorized) as nothing:
            identities.identify(None)
        assert str(refused) == str(nothing.value)
        return None


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_a_token_in_each_allowed_algorithm_proves_its_agent(
    known: Issuer, clock: Clock, tmp_path: Path, algorithm: str
) -> None:
    key = Key.make("k", algorithm)
    known.keys = [key.public()]
    written = {"issuer": known.url, "jwks": known.jwks, "algorithms": [algorithm]}
    oauth = issuer_settings.read({"resource": RESOURCE, "issuers": [written]})
    assert oauth is not None
    checked = await Issuers(oauth, fetch, clock, tmp_path).check(known.token(key))
    assert checked is not None
    assert checked.claims["sub"] == "ada"


async def test_a_checked_token_is_known_from_then_on_without_a_further_look(
    identities: Identities, known: Issuer
) -> None:
    token = known.token(KEY)
    with pytest.raises(Unauthorized):
        identities.identify(f"Bearer {token}")
    assert identities.may_prove(f"Bearer {token}")
    agent = await identities.prove(f"Bearer {token}")
    assert agent.name == "me"
    known.keys = []
    assert identities.identify(f"Bearer {token}") is agent
    assert identities.identify(f"bearer {token}") is agent
    assert known.asked == 1


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(known: Issuer, header: dict[str, Any], sign: Callable[[bytes], bytes] = lambda text: b"") -> str:
    claims = jwt.decode(known.token(KEY), options={"verify_signature": False})
    text = f"{segment(header)}.{segment(claims)}"
    return f"{text}.{base64.urlsafe_b64encode(sign(text.encode())).rstrip(b'=').decode()}"


def hmac_with_public_key(known: Issuer) -> str:
    import hashlib
    import hmac

    pem = KEY.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = {"alg": "HS256", "kid": "k1", "typ": "JWT"}
    return forged(known, header, lambda text: hmac.digest(pem, text, hashlib.sha256))


def turned(token: str) -> str:
    """Another claim under the same signature."""
    head, claims, signature = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    return f"{head}.{segment({**said, 'sub': 'ada', 'admin': True})}.{signature}"


STRANGER = Key.make("k1")
BAD: dict[str, Callable[[Issuer], str]] = {
    "no algorithm": lambda it: forged(it, {"alg": "none", "kid": "k1"}),
    "NONE": lambda it: forged(it, {"alg": "NONE"}),
    "HS256 with the public key": hmac_with_public_key,
    "an algorithm that is not allowed": lambda it: it.token(Key.make("k1", "ES384")),
    "another key under the same id": lambda it: it.token(STRANGER),
    "a key that it brings itself": lambda it: it.token(STRANGER, {"jwk": STRANGER.public()}),
    "a key that it names itself": lambda it: it.token(STRANGER, {"jku": it.jwks, "x5u": it.jwks}),
    "another claim under the signature": lambda it: turned(it.token(KEY)),
    "no signature": lambda it: it.token(KEY).rpartition(".")[0] + ".",
    "an unknown issuer": lambda it: it.token(KEY, iss="https://elsewhere.example"),
    "no issuer": lambda it: it.token(KEY, iss=None),
    "an issuer that only begins so": lambda it: it.token(KEY, iss=it.url + "/"),
    "another audience": lambda it: it.token(KEY, aud="https://other.example/mcp"),
    "other audiences": lambda it: it.token(KEY, aud=["https://other.example", RESOURCE + "/x"]),
    "no audience": lambda it: it.token(KEY, aud=None),
    "over": lambda it: it.token(KEY, exp=int(time.time()) - 61),
    "no end": lambda it: it.token(KEY, exp=None),
    "an end that is no number": lambda it: it.token(KEY, exp=True),
    "not yet": lambda it: it.token(KEY, nbf=int(time.time()) + 300),
    "made in the future": lambda it: it.token(KEY, iat=int(time.time()) + 300),
    "something critical": lambda it: it.token(KEY, {"crit": ["b64"], "b64": True}),
    "another type": lambda it: it.token(KEY, {"typ": "dpop+jwt"}),
    "a key that is not published": lambda it: it.token(Key.make("k9")),
    "claims of no agent": lambda it: it.token(KEY, sub="nobody"),
    "claims of two agents": lambda it: it.token(KEY, groups=["devs"], tenant="t1"),
    "a subject that is a list around": lambda it: it.token(KEY, sub=None, groups="devs"),
    "too long": lambda it: it.token(KEY, filler="x" * 9000),
    "nonsense": lambda it: "a.b.c",
    "dots": lambda it: "..",
}


@pytest.mark.parametrize("what", BAD)
async def test_a_token_proves_nothing_that_has(
    identities: Identities, known: Issuer, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """T10: wrong audience, no algorithm, HS256 with the public key, over, and the rest of RFC 8725."""
    token = BAD[what](known)
    with caplog.at_level(logging.DEBUG):
        assert await proves(identities, token) is None
    assert token not in caplog.text or len(token) < 8
    assert await proves(identities, known.token(KEY)) == "me", "a good one still does"


async def test_a_secret_or_private_key_among_the_published_is_not_used(
    identities: Identities, known: Issuer
) -> None:
    secret = base64.urlsafe_b64encode(b"s" * 32).rstrip(b"=").decode()
    private = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(STRANGER.private))
    known.keys = [
        {"kty": "oct", "k": secret, "kid": "k1", "alg": "HS256"},
        {**private, "kid": "k1"},
        STRANGER.public(use="enc"),
        STRANGER.public(alg="ES384"),
    ]
    claims = jwt.decode(known.token(KEY), options={"verify_signature": False})
    assert await proves(identities, jwt.encode(claims, "s" * 32, "HS256", {"kid": "k1"})) is None
    assert await proves(identities, known.token(STRANGER)) is None


async def test_claims_that_must_be_there_are_all_asked_for(identities: Identities, known: Issuer) -> None:
    assert await proves(identities, known.token(KEY, sub="x", groups=["devs"], tenant="t1")) == "dev"
    assert await proves(identities, known.token(KEY, sub="x", groups=["devs"], tenant="t2")) is None
    assert named_by({"iss": known.url, "sub": "ada"}, {"me": (Identified(known.url, ()),)}) == ()


async def test_a_token_of_another_issuer_ends_a_minute_after_it_says(
    identities: Identities, known: Issuer, clock: Clock
) -> None:
    """Ours: its issuer's clock may be that far behind. RFC 7519, 4.1.4, allows some small leeway."""
    agent = await identities.prove(f"Bearer {known.token(KEY, exp=int(time.time()) + 30)}")
    assert identities.valid(agent)
    clock.ahead = 85
    assert identities.valid(agent)
    clock.ahead = 91
    assert not identities.valid(agent)


async def test_an_issuers_clock_may_be_off_by_a_minute_either_way(
    identities: Identities, known: Issuer
) -> None:
    now = int(time.time())
    assert await proves(identities, known.token(KEY, exp=now - 30)) == "me"
    assert await proves(identities, known.token(KEY, exp=now - 90)) is None
    assert await proves(identities, known.token(KEY, iat=now + 30, nbf=now + 30)) == "me"
    assert await proves(identities, known.token(KEY, iat=now + 90)) is None


async def test_a_manifest_that_no_longer_names_it_ends_it_on_open_connections(
    identities: Identities, known: Issuer
) -> None:
    """T18: and one that names another agent gives it that one's grants only on a new request."""
    token = known.token(KEY)
    agent = await identities.prove(f"Bearer {token}")
    heard: list[bool] = []
    identities.on_change(lambda: heard.append(identities.valid(agent)))
    identities.replace({"me": GRANTS, "dev": GRANTS}, ways(known.url))
    identities.replace({"me": GRANTS, "dev": GRANTS}, {"dev": ways(known.url)["me"]})
    assert heard == [True, False]
    assert await proves(identities, token) == "dev"
    identities.replace({"me": GRANTS, "dev": GRANTS})
    assert await proves(identities, token) is None


async def test_an_issuer_is_asked_once_a_minute_at_most_and_by_one_at_a_time(
    identities: Identities, known: Issuer, clock: Clock
) -> None:
    new = Key.make("k2")
    token = known.token(new)
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(proves, identities, known.token(Key.make(f"x{number}")))
    assert known.asked == 1
    known.keys = [KEY.public(), new.public()]
    assert await proves(identities, token) is None
    clock.ahead = 61
    assert await proves(identities, token) == "me"
    assert known.asked == 2
    assert await proves(identities, known.token(KEY, iss="https://elsewhere.example")) is None
    assert known.asked == 2, "nothing is asked of an issuer that no setting names"


async def test_a_key_that_was_taken_back_counts_no_longer_than_an_hour(
    identities: Identities, known: Issuer, clock: Clock
) -> None:
    assert await proves(identities, known.token(KEY)) == "me"
    known.keys = []
    clock.ahead = 3601
    token = known.token(KEY, exp=int(time.time()) + 9000, jti="another")
    assert await proves(identities, token) is None


async def test_an_issuer_that_is_away_for_a_while_stops_nobody(
    identities: Identities, known: Issuer, clock: Clock
) -> None:
    assert await proves(identities, known.token(KEY)) == "me"
    known.status = b"503 Service Unavailable"
    later = int(time.time()) + 200_000
    clock.ahead = 3601
    assert await proves(identities, known.token(KEY, exp=later, jti="a")) == "me"
    clock.ahead = 25 * 3600
    assert await proves(identities, known.token(KEY, exp=later, jti="b")) is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (b"302 Found", b""),
        (b"500 Oops", b"{}"),
        (b"200 OK", b"<html>"),
        (b"200 OK", b"[]"),
        (b"200 OK", b'{"keys": 5}'),
        (b"200 OK", b'{"keys": [5, {}, {"kty": "EC", "kid": "k1", "crv": "P-256"}]}'),
        (b"200 OK", b" " * 300_000),
    ],
)
async def test_keys_that_cannot_be_used_prove_nothing_and_break_nothing(
    identities: Identities, known: Issuer, status: bytes, body: bytes
) -> None:
    """T15: a redirect is not followed either."""
    known.status, known.body = status, body
    assert await proves(identities, known.token(KEY)) is None
    assert known.asked == 1


async def test_what_is_fetched_has_a_bound_in_time_and_size(known: Issuer) -> None:
    with pytest.raises(LinkError):
        await fetch(known.jwks, bytes_max=10)
    known.answers = False
    with pytest.raises(LinkError, match=r"did not answer within 0\.05 s"):
        await fetch(known.jwks, seconds=0.05)
    with pytest.raises(ConfigError):
        await fetch("ftp://example.com/keys")


async def test_keys_may_be_in_a_file_of_the_hubs_folder(known: Issuer, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [KEY.public()]}))
    written = {"issuer": known.url, "jwks": "keys.json", "audience": "api://hub"}
    oauth = issuer_settings.read({"resource": RESOURCE, "issuers": [written]})
    assert oauth is not None
    issuers = Issuers(oauth, fetch, clock, tmp_path)
    assert await issuers.check(known.token(KEY, aud="api://hub")) is not None
    assert await issuers.check(known.token(KEY)) is None
    assert await issuers.check(known.token(KEY, aud="api://hub", exp=int(time.time()) - 61)) is None
    assert known.asked == 0


GOOD = {"issuer": "https://login.example.com", "jwks": "https://login.example.com/keys"}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([], "must be a mapping"),
        ({"issuers": [GOOD]}, "resource: must be a URL"),
        ({"resource": RESOURCE}, "issuers: must be a list"),
        ({"resource": RESOURCE, "issuers": []}, "issuers: must be a list"),
        ({"resource": RESOURCE + "?a=b", "issuers": [GOOD]}, "without '?'"),
        ({"resource": "http://hub.example.com", "issuers": [GOOD]}, "https://"),
        ({"resource": RESOURCE, "issuers": [{**GOOD, "jwks": "http://login.example.com/keys"}]}, "https://"),
        ({"resource": RESOURCE, "issuers": [{**GOOD, "algorithms": ["HS256"]}]}, "issuers[0].algorithms"),
        ({"resource": RESOURCE, "issuers": [{**GOOD, "algorithms": ["none"]}]}, "issuers[0].algorithms"),
        ({"resource": RESOURCE, "issuers": [{**GOOD, "audiance": "x"}]}, "audiance is not known"),
        ({"resource": RESOURCE, "issuers": [{"issuer": GOOD["issuer"]}]}, "issuers[0].jwks"),
        ({"resource": RESOURCE, "issuers": [GOOD, GOOD]}, "named twice"),
        ({"resource": RESOURCE, "issuers": [{**GOOD, "issuer": "https://u:p@x.example"}]}, "issuer: must be"),
    ],
)
def test_settings_that_would_take_more_than_was_meant_are_refused(written: Any, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        issuer_settings.read(written)
    assert said in str(refused.value)


def test_without_the_setting_nobody_elses_tokens_are_taken() -> None:
    assert issuer_settings.read("none") is None
    read = issuer_settings.read({"resource": RESOURCE, "issuers": [GOOD]})
    assert isinstance(read, OAuth)
    assert read.issuers[0].audience == RESOURCE


def test_an_issuer_that_no_setting_names_is_told_before_anybody_wonders(tmp_path: Path) -> None:
    ways = [
        {"issuer": each, "claims": {"sub": "ada"}} for each in ("https://a.example", "https://a.example/")
    ]
    write(tmp_path, "ada", agent="ada", identify=ways, may=["*"])
    (tmp_path / "keys.json").write_text('{"keys": []}')
    home = Home.at(tmp_path)
    said = validate(home, [])
    assert said["problems"] == []
    assert len(said["notes"]) == 2, "none is taken where there is no setting"
    known = {"issuer": "https://a.example", "jwks": "keys.json"}
    (tmp_path / "hub.yaml").write_text(json.dumps({"oauth": {"resource": RESOURCE, "issuers": [known]}}))
    (note,) = validate(home, [])["notes"]
    assert "ada.yaml: identify: hub.yaml has no issuer 'https://a.example/'" in note


async def test_a_running_hub_says_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "ada", agent="ada", identify=[{"issuer": "https://a.example", "claims": {"sub": "ada"}}])
    async with open_app(Home.at(tmp_path), Settings()) as app:
        await app.reload()
    assert caplog.text.count("hub.yaml has no issuer 'https://a.example'") == 1
