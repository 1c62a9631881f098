"""A server that waits for its streams until it is killed: what is open when it is told to end is recorded all the same."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from served import APPS, DEADLINE, Emitted, Process, Server, arrived, least, totals, wait_until

pytestmark = pytest.mark.process

SITE = "observed_starlette_site:app"
#: Nothing is flushed in the middle: what arrives was sent by the end.
NO_FLUSH = {"STREAMING_FLUSH_INTERVAL": "10", "DD_TRACE_WRITER_INTERVAL_SECONDS": "60"}
GUNICORN = ["gunicorn", "-b", "fd://{fd}", "--chdir", str(APPS), "-w", "1", "--graceful-timeout", "60", SITE]
GRANIAN = ["granian", "--interface", "asgi", "--port", "{port}"]
UVICORN = ["uvicorn", "--fd", "{fd}", "--app-dir", str(APPS), SITE]
SOON = {"STREAMING_DRAIN_AFTER": "1"}
#: Each by what it does with open streams: is killed by its master, waits for ever, ends in order, just goes.
SERVERS: dict[str, tuple[list[str], dict[str, str]]] = {
    "gunicorn, uvicorn's worker": ([*GUNICORN, "-k", "uvicorn_worker.UvicornWorker"], SOON),
    "gunicorn, its ASGI worker": ([*GUNICORN, "-k", "asgi"], SOON),
    "granian with a kill timeout": ([*GRANIAN, "--workers-kill-timeout", "60", SITE], SOON),
    "granian without": ([*GRANIAN, SITE], SOON),
    "uvicorn without a limit": (UVICORN, SOON),
    "uvicorn with one": ([*UVICORN, "--timeout-graceful-shutdown", "1"], {}),
    "uvicorn without a lifespan": ([*UVICORN, "--lifespan", "off", "--timeout-graceful-shutdown", "1"], {}),
    "hypercorn": (["hypercorn", "-b", "fd://{fd}", SITE], SOON),
    "hypercorn, two workers": (["hypercorn", "-b", "fd://{fd}", "-w", "2", SITE], SOON),
    "daphne": (["daphne", "--fd", "{fd}", SITE], {}),
}
#: Server -> its command with a limit, and how many seconds after the signal what is open is recorded, so that the server
#: has its chance before, and does not kill before.
LIMITS: dict[str, tuple[list[str], float]] = {
    "gunicorn, uvicorn's worker": (
        [*GUNICORN[:-1], "-k", "uvicorn_worker.UvicornWorker", "--graceful-timeout", "3"],
        1.5,
    ),
    "gunicorn, its ASGI worker": ([*GUNICORN[:-1], "-k", "asgi", "--graceful-timeout", "3"], 1.5),
    "granian": ([*GRANIAN, "--workers-kill-timeout", "3"], 1.5),
    "uvicorn": ([*UVICORN[:-1], "--timeout-graceful-shutdown", "1"], 3.0),
}


class PortServer(Server):
    """A server that takes a port instead of a socket: the port is held by a socket that does not listen."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self._streams = []
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port = self._holder.getsockname()[1]
        words = [part.format(port=self.port) for part in command]
        Process.__init__(self, [sys.executable, "-m", *words], folder, env)
        wait_until(self._listens, "the server")

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        assert self.process.poll() is None, self.err
        return False

    def kill(self) -> None:
        super().kill()
        self._holder.close()


@pytest.mark.parametrize("name", LIMITS)
def test_a_servers_limit_is_known(name: str, start: Any, emitted: Emitted) -> None:
    """It is found in the server's own objects, or on its command line, whoever started it."""
    command, seconds = LIMITS[name]
    kind = PortServer if "{port}" in command else Server
    paths = os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])
    server = start(kind, [*command, "limits_site:app"], emitted.environment(PYTHONPATH=paths))
    assert server.get("/") == (200, str(seconds))


@pytest.mark.parametrize("name", SERVERS)
def test_what_is_open_at_the_signal_is_recorded(
    name: str, start: Any, emitted: Emitted, tmp_path: Path
) -> None:
    """Two streams and their tasks: each has one end and one span, and gauges are 0, whatever the server does."""
    command, settings = SERVERS[name]
    kind = PortServer if "{port}" in command else Server
    paths = os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])
    server = start(kind, command, emitted.environment(**NO_FLUSH, **settings, PYTHONPATH=paths))
    assert server.get("/hello") == (200, "hello")
    for number in range(2):
        server.stream(f"/stream/tests/Silent/{number + 1}")
    server.process.send_signal(signal.SIGTERM)
    emitted.wait_for(lambda: emitted.count("streaming.streams.closed") >= 2)
    emitted.wait_for(lambda: totals(emitted.spans()).get("sse.request", 0) >= 2)
    emitted.wait_for(lambda: totals(emitted.spans()).get("task.run", 0) >= 2)
    server.kill()
    arrived(emitted.agent)
    assert emitted.count("streaming.streams.opened") == 2
    assert emitted.count("streaming.streams.closed", outcome="server_shutdown") == 2
    assert emitted.count("streaming.streams.closed") == 2
    assert emitted.count("streaming.tasks.started") == 2
    assert emitted.count("streaming.tasks.cancelled") == 2
    assert totals(emitted.spans())["sse.request"] == 2
    assert totals(emitted.spans())["task.run"] == 2
    for gauge in ("http.active", "clients.active", "tasks.active"):
        assert emitted.level(f"streaming.{gauge}") == 0, gauge


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "gunicorn", "daphne"])
def test_requests_and_websockets_in_flight_at_the_signal_are_recorded(
    name: str, start: Any, emitted: Emitted
) -> None:
    """A request without an answer and an open WebSocket have one end each, and gauges are 0, whatever the server does."""
    site = "waiting_site:app"
    commands = {
        "uvicorn": ["uvicorn", "--fd", "{fd}", "--app-dir", str(APPS), site],
        "hypercorn": ["hypercorn", "-b", "fd://{fd}", site],
        "gunicorn": [*GUNICORN[:-1], site, "-k", "uvicorn_worker.UvicornWorker"],
        "daphne": ["daphne", "--fd", "{fd}", site],
    }
    paths = os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])
    server = start(Server, commands[name], emitted.environment(**NO_FLUSH, **SOON, PYTHONPATH=paths))
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    client.request("GET", "/slow")
    upgrade = (
        "GET /socket HTTP/1.1\r\nHost: site\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
        connection.sendall(upgrade.encode())
        got = b""
        while b"here" not in got:
            got += connection.recv(4096)
        wait_until(lambda: "a request has begun" in server.out, "the request")
        server.process.send_signal(signal.SIGTERM)
        emitted.wait_for(lambda: emitted.count("streaming.ws.closed") >= 1)
        emitted.wait_for(lambda: totals(emitted.spans()).get("asgi.request", 0) >= 1)
        emitted.wait_for(lambda: totals(emitted.spans()).get("ws.request", 0) >= 1)
        server.kill()
    client.close()
    arrived(emitted.agent)
    assert emitted.count("streaming.ws.opened") == emitted.count("streaming.ws.closed") == 1
    assert emitted.count("streaming.ws.closed", outcome="server_shutdown") == 1
    assert emitted.count("streaming.http.requests") == 1
    assert totals(emitted.spans())["asgi.request"] == totals(emitted.spans())["ws.request"] == 1
    for gauge in ("http.active", "ws.active"):
        assert emitted.level(f"streaming.{gauge}") == 0, gauge


def test_a_real_end_that_still_comes_is_not_counted_twice(serve: Any, emitted: Emitted) -> None:
    """uvicorn waits for its streams: after the drain their clients leave, and the server ends in order."""
    server = serve(UVICORN, emitted.environment(**NO_FLUSH, **SOON))
    streams = [server.stream(f"/stream/tests/Silent/{number + 1}") for number in range(3)]
    server.process.send_signal(signal.SIGTERM)
    emitted.wait_for(lambda: emitted.count("streaming.streams.closed") >= 3)
    for stream in streams:
        stream.leave()
    server.end()
    emitted.wait_for(lambda: "site stops" in " ".join(emitted.messages()))
    assert emitted.count("streaming.streams.closed") == 3
    assert emitted.count("streaming.streams.closed", outcome="server_shutdown") == 3
    assert totals(emitted.spans())["sse.request"] == 3
    assert emitted.count("streaming.tasks.cancelled") == 3
    assert emitted.levels() == {0}


def test_many_open_streams_are_no_errors_and_do_not_delay_the_end(serve: Any, emitted: Emitted) -> None:
    """200 streams at SIGTERM under uvicorn: none is logged as an error, and the end comes in time."""

    def seconds() -> float:
        """What the end of one server took, for which all is well otherwise."""
        sent = Emitted(emitted.agent)
        server = serve([*UVICORN, "--timeout-graceful-shutdown", "1"], sent.environment(**NO_FLUSH))
        connections = []
        for _ in range(200):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
            connection.request("GET", "/clock")
            assert connection.getresponse().status == 200
            connections.append(connection)
        code, taken = server.end(signal.SIGTERM)
        assert code == -signal.SIGTERM
        sent.wait_for(lambda: sent.count("streaming.streams.closed", outcome="server_shutdown") == 200)
        errors = [line["message"] for line in sent.logs(status="error")]
        # uvicorn's one line
        assert all("timeout graceful shutdown exceeded" in message for message in errors), errors
        assert len(errors) <= 1
        assert "CancelledError" not in server.err + server.out
        for connection in connections:
            connection.close()
        return float(taken)

    assert least(seconds, 1 + 5) < 1 + 5


def test_requests_of_an_application_without_layers_are_no_errors_either(serve: Any, emitted: Emitted) -> None:
    """Its requests are cancelled at once, before its lifespan hears of the end: uvicorn would log each with a stack."""
    command = ["uvicorn", "--fd", "{fd}", "--app-dir", str(APPS), "waiting_site:app"]
    server = serve([*command, "--timeout-graceful-shutdown", "1"], emitted.environment())
    connections = []
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
        connection.request("GET", "/slow")
        connections.append(connection)
    emitted.wait_for(lambda: emitted.level("streaming.http.active") == 20)
    server.end(signal.SIGTERM)
    errors = [line["message"] for line in emitted.logs(status="error")]
    assert all("timeout graceful shutdown exceeded" in message for message in errors), errors
    assert "CancelledError" not in server.err + server.out
    for connection in connections:
        connection.close()
