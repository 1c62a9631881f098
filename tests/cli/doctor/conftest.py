"""Agents of several kinds for the doctor to look at, and a look with nothing of this machine's settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from streaming_dd import recorder
from streaming_dd.cli.doctor import connections
from streaming_dd.local_agent import LocalAgent
from streaming_dd.output import notices, tracing


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine an agent takes its time to answer: it is there all the same."""
    monkeypatch.setattr(connections, "TIMEOUT", 60.0)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Put ddtrace's address back, forget the recorder and what was said."""
    notices.reset()
    with tracing.borrowed():
        yield
    recorder.reset()
    notices.reset()


@pytest.fixture
def local_agent() -> Iterator[LocalAgent]:
    """The whole local agent, on free ports."""
    agent = LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=0, headless=True)
    with agent.running():
        yield agent


Answer = tuple[int, bytes]


@pytest.fixture
def http_server() -> Iterator[Callable[[Answer], str]]:
    """Return a function that starts an HTTP server which gives one answer to everything, and returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            do_POST = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
