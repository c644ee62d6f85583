"""`hub login`: how a login is got, from whom, and what is not believed on the way."""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import anyio
import anyio.to_thread
import httpx
import pytest
from anyio.abc import Process

from hub.commands.login import Ask, log_in, log_out
from hub.env import SystemEnv
from hub.failure import Failure
from hub.home import Home
from hub.secrets_file import SecretFile, logins_file
from tests.commands import COMMAND, Done, environment, serving
from tests.commands import hub as run_hub
from tests.login_room import furnish, kept, logged_in, started
from tests.oauth_room import Authority, Guarded, authority, browse
from tests.sources import ROOT

pytestmark = pytest.mark.anyio


async def refused(home: Home, **more: Any) -> str:
    """Why a login was not done."""
    try:
        await logged_in(home, **more)
    except* Failure as failures:
        [failure] = failures.exceptions
    assert logins_file(home, SystemEnv()).names() == []
    return str(failure)


@asynccontextmanager
async def hub(home: Home, *arguments: str) -> AsyncIterator[Process]:
    """The real command, while it runs."""
    command = [*COMMAND, "--home", str(home.path), *arguments]
    async with await anyio.open_process(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    ) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def url_said(process: Process) -> str:
    assert process.stderr is not None
    said = ""
    while True:
        said += (await process.stderr.receive()).decode()
        found = re.search(r"^(http\S+)\n", said, re.MULTILINE)
        if found is not None:
            return found[1]


async def test_the_command_prints_an_address_and_has_a_login_once_somebody_was_there(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    home = furnish(tmp_path, server)
    async with hub(home, "login", "tea", "--no-browser", "--json") as process:
        url = await url_said(process)
        asked = dict(parse_qsl(urlsplit(url).query))
        assert (asked["code_challenge_method"], asked["resource"]) == ("S256", server.url)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/callback", asked["redirect_uri"])
        page = await browse(url)
        assert (page.status_code, "go back to your terminal" in page.text) == (200, True)
        assert process.stdout is not None
        said = json.loads(b"".join([part async for part in process.stdout]))
        assert await process.wait() == 0
    assert (said["server"], said["issuer"], said["renewable"], said["servers"]) == ("tea", by.url, True, [])
    login = kept(home)
    assert login.access in by.access and login.refresh in by.refresh
    assert stat.S_IMODE(home.logins.stat().st_mode) == 0o600
    for secret in (login.access, login.refresh or ""):
        assert secret.encode() not in home.logins.read_bytes()


async def test_who_runs_no_authorization_server_to_be_found_wants_no_login(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    _, server = tea
    server.metadata = False
    assert "has no metadata" in await refused(furnish(tmp_path, server))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"code_challenge_methods_supported": None}, "PKCE"),
        ({"code_challenge_methods_supported": ["plain"]}, "PKCE"),
        ({"issuer": "https://login.example.com"}, "about another authorization server"),
        ({"token_endpoint": "http://tea.example.com/token"}, "is not https"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "starts with http"),
        ({"authorization_endpoint": "https://tea.example.com/\u202elogin"}, "a URL is ASCII"),
        ({"authorization_endpoint": None}, "no page to log in at"),
        ({"registration_endpoint": None}, "registers no clients by itself"),
    ],
)
async def test_t13_metadata_that_cannot_be_believed_ends_a_login(
    tmp_path: Path, tea: tuple[Authority, Guarded], changes: dict[str, Any], said: str
) -> None:
    by, server = tea
    by.changes = changes
    assert said in await refused(furnish(tmp_path, server))
    assert by.codes == {} and by.granted == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resource": "https://other.example.com/mcp"}, "about another resource"),
        ({"resource": None}, "about another resource"),
        ({"authorization_servers": []}, "names no authorization server"),
        ({"authorization_servers": ["http://login.example.com"]}, "is not https"),
    ],
)
async def test_t13_a_server_that_names_another_resource_or_nobody_is_not_believed(
    tmp_path: Path, tea: tuple[Authority, Guarded], changes: dict[str, Any], said: str
) -> None:
    by, server = tea
    server.metadata_changes = changes
    assert said in await refused(furnish(tmp_path, server))
    assert by.server.requests == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"iss": "https://evil.example.com"}, "of another authorization server"),
        ({"iss": None}, "does not say of which authorization server"),
        ({"code": None, "error": "access_denied"}, "refused: access_denied"),
        ({"code": None, "error": "<script>"}, "refused: an error without a name"),
        ({"code": None}, "holds no code"),
        ({"code": "guessed"}, "refused: invalid_grant"),
    ],
)
async def test_t13_an_answer_that_is_not_of_who_was_asked_is_not_used(
    tmp_path: Path, tea: tuple[Authority, Guarded], changes: dict[str, str | None], said: str
) -> None:
    by, server = tea
    by.answer_changes = changes
    assert said in await refused(furnish(tmp_path, server))
    if "code" not in changes:
        assert by.granted == []


async def test_an_answer_without_the_state_that_went_out_is_nobodys_and_the_login_goes_on(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    home = furnish(tmp_path, server)

    async def forge(url: str) -> None:
        back = dict(parse_qsl(urlsplit(url).query))["redirect_uri"]
        forged = [urlencode({"code": "evil", "state": "guessed"}), urlencode({"error": "access_denied"}), ""]
        async with httpx.AsyncClient(timeout=20, trust_env=False) as http_client:
            for query in forged:
                assert (await http_client.get(f"{back}?{query}")).status_code == 400
            right = dict(parse_qsl(urlsplit(url).query))["state"]
            rebound = await http_client.get(
                f"{back}?code=evil&state={right}", headers={"Host": "evil.example.com"}
            )
            assert rebound.status_code == 400
            assert (await http_client.post(back, content=f"code=evil&state={right}")).status_code == 400
        await browse(url)

    async with anyio.create_task_group() as tasks:
        ask = Ask(started(tasks, forge), seconds=20)
        await log_in(home, "tea", None, ask, SystemEnv())
    assert kept(home).access in by.access


async def test_the_address_that_another_machines_browser_ended_at_can_be_pasted(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    home = furnish(tmp_path, server)
    send, receive = anyio.create_memory_object_stream[str](4)

    async def elsewhere(url: str) -> None:
        async with httpx.AsyncClient(timeout=20, trust_env=False) as http_client:
            answer = await http_client.get(url)
        await send.send("what is this\n")
        await send.send(answer.headers["location"] + "\n")

    async with anyio.create_task_group() as tasks, send, receive:
        ask = Ask(started(tasks, elsewhere), lambda: receive, seconds=20)
        await log_in(home, "tea", None, ask, SystemEnv())
    assert kept(home).access in by.access


async def test_a_login_that_nobody_does_ends_and_what_was_there_stays(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    _, server = tea
    home = furnish(tmp_path, server)
    await logged_in(home)
    before = kept(home)
    with pytest.raises(Failure, match="nobody has logged in within"):
        await log_in(home, "tea", None, Ask(lambda url: None, seconds=0.05), SystemEnv())
    assert kept(home) == before


async def test_a_registered_client_with_a_secret_proves_itself_to_its_own_authorization_server(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    by.client("hub@tea", "s3cret:/ value")
    SecretFile(Home.at(tmp_path), SystemEnv()).set("tea", "s3cret:/ value")
    own = {"client_id": "hub@tea", "client_secret": "${secret:tea}", "issuer": by.url, "scopes": ["tea:read"]}
    home = furnish(tmp_path, server, oauth=own)
    done = await logged_in(home)
    assert done["scopes"] == ["tea:read"]
    assert kept(home).proof == "client_secret_basic"
    assert all("client_secret" not in form for form in by.granted)
    # The server names another authorization server from now on: it gets nothing.
    async with authority() as evil:
        server.metadata_changes = {"authorization_servers": [evil.url]}
        await logged_in(home)
        assert evil.server.requests == []


async def test_where_documents_are_taken_the_hub_is_known_by_its_own_and_registers_elsewhere(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    """Specification 2026-07-28, basic/authorization: a metadata document comes before registration."""
    by, server = tea
    document = "https://hub.example.com/client.json"
    by.client(document)
    home = furnish(tmp_path, server)
    home.settings.write_text(f"client_id: {document}\n")
    await logged_in(home)
    assert kept(home).client_id != document
    by.changes = {"client_id_metadata_document_supported": True}
    await logged_in(home)
    assert (kept(home).client_id, kept(home).proof) == (document, "none")


async def test_scopes_are_asked_for_as_the_command_the_manifest_or_the_server_says(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    server.metadata_changes = {"scopes_supported": ["tea:read", "tea:write"]}
    by.changes = {"scopes_supported": ["offline_access"]}
    home = furnish(tmp_path, server)
    assert (await logged_in(home))["scopes"] == ["tea:read", "tea:write", "offline_access"]
    await log_out(home, "tea", None, SystemEnv())
    assert (await logged_in(home, scopes=("tea:read",)))["scopes"] == ["tea:read", "offline_access"]
    more = ["tea:read", "offline_access", "tea:write"]
    assert (await logged_in(home, scopes=("tea:write",)))["scopes"] == more


async def test_t15_what_a_server_names_inside_is_not_reached(
    tmp_path: Path, tea: tuple[Authority, Guarded], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is at a public address, as far as can be told; what it names is this machine."""
    _, server = tea
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *given: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == "tea.test" else host, port, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("connectors.http_reach.is_public", lambda address: False)
    # As a public one it would be reached; here its own name is what is allowed.
    home = furnish(tmp_path, server, url=f"http://tea.test:{server.server.port}/mcp")
    assert "no address of the public internet" in await refused(home)
    assert server.server.requests == []
    monkeypatch.setattr("connectors.http_reach.is_public", lambda address: address != "127.0.0.2")
    where = f"http://127.0.0.2:{server.server.port}/metadata"
    server.challenge = f'Bearer resource_metadata="{where}"'
    assert "A server named it" in await refused(home)
    assert [each.target for each in server.server.requests] == ["/mcp"]


async def test_logging_out_ends_the_tokens_and_forgets_them(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    home = furnish(tmp_path, server)
    await logged_in(home)
    login = kept(home)
    assert (await log_out(home, "tea", None, SystemEnv()))["revoked"]
    assert by.revoked == [login.refresh]
    assert logins_file(home, SystemEnv()).names() == []
    with pytest.raises(Failure, match="There is no login at 'tea'"):
        await log_out(home, "tea", None, SystemEnv())


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"command": ["tea"]}, "nothing to log in to"),
        ({"url": "https://tea.example.com", "headers": {"authorization": "Bearer x"}}, "a header `Authoriz"),
    ],
)
async def test_where_there_is_nothing_to_log_in_to_that_is_said(
    tmp_path: Path, manifest: dict[str, Any], said: str
) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "tea.yaml").write_text(json.dumps({"server": "tea", "connect": manifest}))
    with pytest.raises(Failure, match=said):
        await log_in(Home.at(tmp_path), "tea", None, Ask(lambda url: None), SystemEnv())


async def test_beside_a_running_hub_a_login_counts_at_once_and_the_page_shows_what_is_printed(
    tmp_path: Path, tea: tuple[Authority, Guarded]
) -> None:
    by, server = tea
    home = furnish(tmp_path, server)
    async with AsyncExitStack() as stack:
        serve = serving(home.path)
        await anyio.to_thread.run_sync(serve.__enter__)
        stack.push_async_callback(anyio.to_thread.run_sync, serve.__exit__, None, None, None)
        before = await command(home, "servers", "check", "tea")
        assert (before.code, "Log in: `hub login tea`." in before.err) == (4, True)
        async with hub(home, "login", "tea", "--no-browser") as process:
            await browse(await url_said(process))
            assert process.stderr is not None
            end = "".join([part.decode() async for part in process.stderr])
        page = (ROOT / "docs" / "login.md").read_text()
        shown = re.findall(r"^(?:Logged in|Connected anew).*\n", page, re.MULTILINE)
        assert end == "".join(shown).replace("http://127.0.0.1:45117", by.url)
        assert (await command(home, "tools", "call", "tea__whoami")).out == "ada\n"
        [login] = (await command(home, "servers", "show", "tea", "--json")).json["logins"]
        assert {**login, "ends": 0} == {
            "agent": None, "issuer": by.url, "scopes": [], "ends": 0, "renewable": True,
        }  # fmt: skip
        assert (await command(home, "logout", "tea")).err == "Logged out of tea.\n"
        after = await command(home, "tools", "call", "tea__whoami")
        assert (after.code, "hub login tea" in after.err) == (4, True)


async def command(home: Home, *arguments: str) -> Done:
    return await anyio.to_thread.run_sync(run_hub, home.path, *arguments)
