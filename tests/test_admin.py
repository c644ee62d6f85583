"""The admin plane: HTTP on a Unix socket that only the hub's owner can open."""

from __future__ import annotations

import json
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.commands.client import HubClient, find
from hub.failure import EXIT_CODES, Failure
from hub.home import Home
from tests.commands import SECONDS, furnish, serving


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, str, HubClient]]:
    home = Home.at(furnish(tmp_path_factory.mktemp("admin") / "home"))
    with serving(home.path) as url:
        client = find(home)
        assert client is not None
        client.ask("server_check", {"name": "desk"})
        yield home, url, client


@pytest.fixture
def home(hub: tuple[Home, str, HubClient]) -> Home:
    return hub[0]


@pytest.fixture
def client(hub: tuple[Home, str, HubClient]) -> HubClient:
    return hub[2]


def post(
    home: Home, path: str, body: bytes | Any = None, *, method: str = "POST", accept: str = "*/*"
) -> httpx.Response:
    """One request by an independent client."""
    content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(home.admin_socket)), timeout=SECONDS) as client:
        return client.request(method, f"http://hub{path}", content=content, headers={"Accept": accept})


def test_only_the_owner_can_open_the_sockets(home: Home, client: HubClient) -> None:
    for path in (home.admin_socket, home.stdio_socket):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_agents_port_has_no_admin_route(home: Home, hub: tuple[Home, str, HubClient]) -> None:
    token = home.token_file("me").read_text().strip()
    for path in ("/v1/status", "/v1/servers", "/status"):
        answer = httpx.post(
            hub[1].replace("/mcp", path),
            json={},
            headers={"Authorization": f"Bearer {token}"},
            timeout=SECONDS,
        )
        assert answer.status_code == 404


def test_an_operation_answers_its_result_in_json(home: Home, hub: tuple[Home, str, HubClient]) -> None:
    answer = post(home, "/v1/status")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    status = answer.json()["result"]
    assert (status["home"], status["url"], status["ready"], status["trouble"]) == (
        str(home.path),
        hub[1],
        True,
        None,
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/nothing", {}, 404, "unknown_operation"),
        ("/v1/_picture", {}, 404, "unknown_operation"),
        ("/", {}, 404, "unknown_operation"),
        ("/v1/server", {}, 400, "usage"),
        ("/v1/server", {"name": 3}, 400, "usage"),
        ("/v1/server", {"name": "desk", "more": 1}, 400, "usage"),
        ("/v1/server", [1], 400, "usage"),
        ("/v1/server", b"{", 400, "usage"),
        ("/v1/server", b'{"name": "a", "name": "b"}', 400, "usage"),
        ("/v1/server", b"\xff", 400, "usage"),
        ("/v1/tool_call", {"name": "desk__pid", "agent": "me", "progress": 1}, 400, "usage"),
        ("/v1/entries", {"kind": "thing", "agent": "me"}, 400, "usage"),
        ("/v1/calls", {"limit": "many"}, 400, "usage"),
        ("/v1/server", {"name": "nothing"}, 422, "not_found"),
        ("/v1/calls", {"since": "soon"}, 400, "invalid_params"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_code_and_never_breaks_the_hub(
    home: Home, client: HubClient, path: str, body: Any, status: int, code: str
) -> None:
    answer = post(home, path, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert set(answer.json()["error"]) == {"code", "message", "hint"}


def test_only_post_is_answered(home: Home, client: HubClient) -> None:
    assert post(home, "/v1/status", method="GET").status_code == 404


def test_progress_comes_before_the_result_as_lines(home: Home, client: HubClient) -> None:
    wanted = {"name": "desk__work", "agent": "me"}
    answer = post(home, "/v1/tool_call", wanted, accept="application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines() if line]
    assert [set(line) for line in lines] == [{"progress"}, {"result"}]
    assert lines[0]["progress"] == "half done"
    said: list[str] = []
    assert client.ask("tool_call", wanted, said.append)["result"]["content"][0]["text"] == "done"
    assert said == ["half done"]
    assert post(home, "/v1/tool_call", wanted).json()["result"]["result"]["content"][0]["text"] == "done"


def test_a_client_that_leaves_ends_what_it_asked_for(home: Home, client: HubClient) -> None:
    body = json.dumps({"name": "desk__hang", "agent": "me"}).encode()
    head = "POST /v1/tool_call HTTP/1.1\r\nHost: hub\r\nAccept: application/x-ndjson\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(home.admin_socket))
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        seen = b""
        while b"half done" not in seen:
            seen += connection.recv(65536)
    end = time.monotonic() + SECONDS
    while client.ask("calls", {"limit": 1})[0]["kind"] != "cancelled":
        assert time.monotonic() < end


def test_failures_arrive_as_failures(client: HubClient) -> None:
    with pytest.raises(Failure) as failed:
        client.ask("server", {"name": "nothing"})
    assert (failed.value.code, failed.value.exit_code) == ("not_found", 5)
    with pytest.raises(Failure) as failed:
        client.ask("no_such_operation")
    assert failed.value.exit_code == 1 and "start it again" in failed.value.hint


def test_reload_reads_manifests_and_says_what_is_wrong(home: Home, client: HubClient) -> None:
    bad = home.manifests / "bad.yaml"
    bad.write_text("server: bad\ncolour: red\n")
    assert any(str(problem).startswith(f"{bad}:2: colour") for problem in client.ask("reload"))
    assert [server["name"] for server in client.ask("servers")] == ["desk"]
    bad.unlink()
    assert client.ask("reload") == []


def test_there_is_no_client_where_no_hub_runs_or_one_has_died(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    assert find(home) is None
    home.create()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(home.admin_socket))
    assert find(home) is None
    home.admin_socket.unlink()
    home.admin_socket.write_text("not a socket")
    assert find(home) is None


def test_a_hub_that_breaks_off_is_a_failure_and_no_crash(tmp_path: Path) -> None:
    import threading

    answers = (b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n[1]\n")
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        for _ in answers:
            with pytest.raises(Failure) as failed:
                HubClient(path).ask("status")
            assert failed.value.code == "unexpected"
        thread.join(SECONDS)


def test_every_exit_code_is_one_that_is_promised() -> None:
    assert set(EXIT_CODES.values()) == {1, 2, 3, 4, 5, 6, 7, 130}
