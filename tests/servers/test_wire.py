"""What goes over the wire, and what the application sees of its client, is as without the middleware."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from served import DEADLINE, UVICORN, Emitted, Server

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.process

REQUESTS = {
    "a page": b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "its head": b"HEAD /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "an old client": b"GET /hello HTTP/1.0\r\n\r\n",
    "two on a connection": b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n"
    b"GET /no HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "a wrong method": b"DELETE /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "no request": b"\x16\x03\x01nonsense\r\n\r\n",
    "an upload": b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
    "a chunked upload": b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    "an expectation": b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n"
    b"expect: 100-continue\r\n\r\nhello",
    "a stream": b"GET /stream/tests/Short/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "a failing task": b"GET /stream/tests/Failing/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "a broken stream": b"GET /broken HTTP/1.1\r\nhost: x\r\n\r\n",
    "a trace": b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def servers(agent: LocalAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """The application bare and observed, side by side."""
    emitted = Emitted(agent)
    pair = [
        Server(
            [*UVICORN, f"{name}:app", "--no-date-header"],
            tmp_path_factory.mktemp(name),
            emitted.environment(PYTHONHASHSEED="0"),  # Starlette joins a set of methods
        )
        for name in ("starlette_site", "observed_starlette_site")
    ]
    yield pair[0], pair[1]
    for server in pair:
        server.kill()


def talk(server: Server, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS)
def test_the_bytes_are_the_same(request_bytes: bytes, servers: tuple[Server, Server]) -> None:
    """Status line, headers in their order, chunks and the end of the connection are those of the bare application."""
    bare, observed = servers
    answer = talk(bare, request_bytes)
    assert answer.startswith(b"HTTP/1.1 ")
    assert talk(observed, request_bytes) == answer


def test_is_disconnected_works_as_before(servers: tuple[Server, Server]) -> None:
    """An app that polls Request.is_disconnected() while it streams learns that its client has left."""
    for server in servers:
        server.stream("/polled").leave()
        assert server.get("/left") == (200, "left")
