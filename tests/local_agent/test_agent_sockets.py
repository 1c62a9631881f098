"""The agent's sockets: every transport, broken clients, taken ports, and what is left behind."""

from __future__ import annotations

import asyncio
import gzip
import logging
import signal
import socket
import stat
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import pytest
from free_ports import free_port
from local_agent_helpers import START
from starlette.responses import PlainTextResponse

from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent import LocalAgent, Sample
from streaming_dd.local_agent.intake.sockets import (
    MAX_FRAME,
    Connections,
    LineProtocol,
    LineSplitter,
    end_listening,
)
from streaming_dd.local_agent.page_server.http_server import serving

SAMPLE = Sample("c", "c", (1.0,))


def test_udp_datagrams_are_received(run_agent, send) -> None:
    """Datagrams on the UDP port become samples, and raw datagrams where asked for."""
    agent = run_agent(keep_raw=True)
    send(agent, b"c:1|c\nc:1|c")
    agent.wait_for(lambda received: len(received.metrics) == 2)
    assert agent.received.metrics == [SAMPLE, SAMPLE]
    assert agent.received.datagrams == [b"c:1|c\nc:1|c"]


def test_unix_sockets_are_received_writable_by_all_and_removed(run_agent, short_path: Path) -> None:
    """Datagram and stream sockets take the same lines; frames may arrive in any pieces."""
    datagram, stream = short_path / "dsd.socket", short_path / "stream.socket"
    with LocalAgent(
        dogstatsd_port=None, trace_port=None, logs_port=None, page_port=None,
        dogstatsd_socket=str(datagram), dogstatsd_stream_socket=str(stream),
    ).running() as agent:  # fmt: skip
        assert stat.S_IMODE(datagram.stat().st_mode) == 0o722
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"c:1|c", str(datagram))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(str(stream))
            frame = struct.pack("<I", 5) + b"c:1|c"
            for byte in frame * 2:
                sock.sendall(bytes((byte,)))
            sock.sendall(frame * 3 + b"\x05\x00")
        agent.wait_for(lambda received: len(received.metrics) == 6)
    assert list(short_path.iterdir()) == []


def test_frame_over_the_agents_buffer_closes_the_connection(run_agent, short_path: Path) -> None:
    """A length over 8192 means the stream is out of step: the agent hangs up, and counts it."""
    agent = run_agent(dogstatsd_stream_socket=str(short_path / "s"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(60)
        sock.connect(str(short_path / "s"))
        sock.sendall(struct.pack("<I", 5) + b"c:1|c" + struct.pack("<I", MAX_FRAME + 1) + b"x" * 100)
        assert sock.recv(1) == b""
    assert agent.received.metrics == [SAMPLE]
    assert agent.holdings.aggregator.intake.oversized == 1


def test_a_stale_socket_file_is_replaced(run_agent, short_path: Path) -> None:
    """A file that an agent left behind when it was killed is no obstacle."""
    path = str(short_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
    agent = run_agent(dogstatsd_socket=path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"c:1|c", path)
    agent.wait_for(lambda received: received.metrics)


@pytest.mark.parametrize("kind", ["dogstatsd_socket", "trace_socket"])
def test_a_socket_in_use_is_refused(run_agent, short_path: Path, kind: str) -> None:
    """Two agents on one path: the second says so, and the first keeps its socket."""
    path = str(short_path / "s")
    run_agent(**{kind: path})
    with pytest.raises(LocalAgentError, match="listens on"):
        run_agent(**{kind: path})
    assert Path(path).exists()


def test_a_path_that_cannot_be_is_refused(run_agent, short_path: Path) -> None:
    """A missing directory, a file that is no socket, a path too long: each is named."""
    with pytest.raises(LocalAgentError, match="must exist"):
        run_agent(dogstatsd_socket=str(short_path / "no" / "s"))
    with pytest.raises(LocalAgentError, match="100 characters"):
        run_agent(dogstatsd_socket=str(short_path / ("s" * 120)))
    (short_path / "file").write_text("precious")
    with pytest.raises(LocalAgentError, match="is no socket"):
        run_agent(dogstatsd_socket=str(short_path / "file"))
    assert (short_path / "file").read_text() == "precious"


@pytest.mark.parametrize("name", ["dogstatsd_port", "trace_port", "logs_port", "page_port"])
def test_a_taken_port_names_itself_its_holder_and_the_fix(run_agent, name: str) -> None:
    """The error says which port, who holds it where that can be known, and how to go on."""
    first = run_agent(page_port=0)
    port = getattr(first, name)
    with pytest.raises(LocalAgentError) as caught:
        run_agent(**{name: port})
    text = str(caught.value)
    assert str(port) in text
    assert "--port-offset" in text
    if Path("/proc/net/udp").exists():
        assert "pid" in text


def test_a_refused_start_leaves_nothing_bound(run_agent, short_path: Path) -> None:
    """When the last of the ports is taken, the others are free again and no socket file is left."""
    taken, ours = run_agent(), str(short_path / "s")
    probe = LocalAgent(
        dogstatsd_port=free_port(), trace_port=0, logs_port=taken.logs_port, page_port=None, dogstatsd_socket=ours
    )  # fmt: skip
    with pytest.raises(LocalAgentError):
        probe.bind()
    assert list(short_path.iterdir()) == []
    run_agent(dogstatsd_port=probe.dogstatsd_port)


def test_agent_stops_quickly_and_forgets_its_ports(run_agent) -> None:
    """After the block its thread is gone and the same port can be used at once, connections or not."""
    before = threading.enumerate()
    ports = {name: free_port() for name in ("dogstatsd_port", "trace_port", "logs_port", "page_port")}
    agent = LocalAgent(**ports)
    with (
        agent.running(),
        socket.create_connection(("127.0.0.1", agent.logs_port)),
        socket.create_connection(("127.0.0.1", agent.trace_port)),
    ):
        pass
    assert [thread for thread in threading.enumerate() if thread not in before] == []
    run_agent(**ports)


def test_what_was_sent_before_the_end_is_received(run_agent, send) -> None:
    """Datagrams in the socket's buffer when the agent is told to stop are still read."""
    with LocalAgent(dogstatsd_port=0, trace_port=None, logs_port=None, page_port=None).running() as agent:
        for _ in range(100):
            send(agent, b"c:1|c")
        agent.stop()
    assert len(agent.received.metrics) == 100
    assert agent.snapshot()[0].total == 100.0


def test_trace_port_answers_as_the_agent(run_agent, short_path: Path) -> None:
    """/info advertises what we read, payloads are answered with rates, all else is accepted and dropped."""
    agent = run_agent(trace_socket=str(short_path / "apm"))
    for client in (
        httpx.Client(base_url=f"http://127.0.0.1:{agent.trace_port}", timeout=60),
        httpx.Client(
            base_url="http://agent", transport=httpx.HTTPTransport(uds=str(short_path / "apm")), timeout=60
        ),
    ):
        with client:
            info = client.get("/info").json()
            assert client.post("/info").json() == info
            assert {"/v0.4/traces", "/v0.5/traces"} <= set(info["endpoints"])
            assert "/v0.6/stats" not in info["endpoints"]
            assert info["client_drop_p0s"] is False
            assert info["config"]["statsd_port"] == agent.dogstatsd_port
            answer = client.put(
                "/v0.4/traces", content=msgspec.msgpack.encode([[{"trace_id": 1, "span_id": 2}]])
            )
            assert (answer.status_code, answer.json()) == (200, {"rate_by_service": {"service:,env:": 1.0}})
            assert (
                client.post("/telemetry/proxy/api/v2/apmtelemetry", content=b"x" * 20_000).status_code == 202
            )
            assert client.post("/v0.7/config", json={}).status_code == 200
            assert client.get("/nothing").status_code == 404
    assert len(agent.received.spans) == 2


def test_answers_do_not_wait_for_the_clients_ack(run_agent) -> None:
    """A client that sends its next request after each answer gets fifty of them without Nagle's 40 ms each."""
    agent = run_agent()
    body = msgspec.msgpack.encode([[{"trace_id": 1, "span_id": 2}]])
    with httpx.Client(base_url=f"http://127.0.0.1:{agent.trace_port}", timeout=60) as client:
        times = []
        for _ in range(50):
            began = time.perf_counter()
            client.put("/v0.4/traces", content=body)
            times.append(time.perf_counter() - began)
    assert (
        sorted(times)[10] < 0.035
    )  # the fastest fifth: a loaded machine has slow ones, Nagle has no fast ones


def test_broken_payloads_are_answered_and_counted(run_agent, monkeypatch) -> None:
    """Rubbish gives 400, what is too large 413, before or after decompression; the next payload is read."""
    monkeypatch.setattr("streaming_dd.local_agent.intake.trace_api.MAX_BODY", 100_000)
    agent = run_agent()
    good = msgspec.msgpack.encode([[{"trace_id": 1, "span_id": 2}]])
    with httpx.Client(base_url=f"http://127.0.0.1:{agent.trace_port}", timeout=60) as client:
        zipped = {"content-encoding": "gzip"}
        assert client.post("/v0.5/traces", content=b"rubbish").status_code == 400
        assert client.post("/v0.5/traces", content=b"x" * 100_001).status_code == 413
        assert client.post("/v0.4/traces", content=b"no gzip", headers=zipped).status_code == 400
        assert (
            client.post("/v0.4/traces", content=gzip.compress(good)[:-9], headers=zipped).status_code == 400
        )
        bomb = gzip.compress(b"\0" * 10**7)
        assert client.post("/v0.4/traces", content=bomb, headers=zipped).status_code == 413
        assert client.post("/v0.4/traces", content=gzip.compress(good), headers=zipped).status_code == 200
    assert len(agent.received.spans) == 1
    assert agent.holdings.trace_api.rejected == {"/v0.5/traces": 2, "/v0.4/traces": 3}


def test_logs_over_tcp_are_lines(run_agent) -> None:
    """Connections may interleave and end without a line break; a 5 MB line is cut and the next one is whole."""
    agent = run_agent()
    with (
        socket.create_connection(("127.0.0.1", agent.logs_port)) as one,
        socket.create_connection(("127.0.0.1", agent.logs_port)) as two,
    ):
        one.sendall(b'{"message": "fir')
        two.sendall(b"plain\n")
        one.sendall(b'st"}\n' + b"x" * 900_009 + b"TAIL\nlast")
    agent.wait_for(lambda received: len(received.logs) == 5)
    messages = sorted((log["message"] for log in agent.received.logs), key=len)
    assert set(messages[:3]) == {"last", "first", "plain"}
    assert messages[3] == "...TRUNCATED...xxxxxxxxxTAIL"
    assert messages[4] == "x" * 900_000 + "...TRUNCATED..."
    assert agent.holdings.cut_lines == 1


@pytest.mark.parametrize(
    "whole", [b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\nHost: x\r\n\r\nforged line\n"]
)
def test_log_connection_that_begins_like_http_is_closed(run_agent, whole: bytes) -> None:
    """What a web page posts to the log port is no log; a line that merely quotes a request is."""
    agent = run_agent()
    with socket.create_connection(("127.0.0.1", agent.logs_port)) as page:
        for start in range(0, len(whole), 7):
            with suppress(OSError):
                page.sendall(whole[start : start + 7])
        with suppress(ConnectionError):
            assert page.recv(1) == b""
    with socket.create_connection(("127.0.0.1", agent.logs_port)) as app:
        app.sendall(b"served GET / HTTP/1.1\nGET / HTTP/1.1\n")
    agent.wait_for(lambda received: len(received.logs) == 2)
    assert [log["message"] for log in agent.received.logs] == ["served GET / HTTP/1.1", "GET / HTTP/1.1"]
    assert agent.holdings.refused_log_connections == 1


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_what_a_web_page_posts_to_the_trace_port_is_refused(run_agent, headers) -> None:
    """A page of any site can post without being asked; its spans are not taken, and counted as refused."""
    agent = run_agent()
    body = msgspec.msgpack.encode([[{"trace_id": 1, "span_id": 2}]])
    with httpx.Client(base_url=f"http://127.0.0.1:{agent.trace_port}", timeout=60) as client:
        for path in ("/v0.4/traces", "/v1/traces"):
            assert client.post(path, content=body, headers=headers).status_code == 403
        assert client.get("/info", headers=headers).status_code == 403
        assert client.post("/v0.4/traces", content=body).status_code == 200
    assert len(agent.received.spans) == 1
    assert agent.holdings.trace_api.rejected["/v0.4/traces"] == 1


def test_posts_that_the_agent_does_not_know_are_refused_and_counted(run_agent) -> None:
    """What Datadog's Agent passes on is answered, what it does not have is 404 and shown: nothing is gone unseen."""
    agent = run_agent()
    with httpx.Client(base_url=f"http://127.0.0.1:{agent.trace_port}", timeout=60) as client:
        for path in ("/v1.1/traces", "/v0.2/traces", "/v9/spans"):
            assert client.post(path, content=b"\x90").status_code == 404
        assert client.post("/telemetry/proxy/api/v2/apmtelemetry", content=b"{}").status_code == 202
        assert client.post("/profiling/v1/input", content=b"x").status_code == 200
        payload = msgspec.msgpack.encode({"chunks": [{"spans": [{"trace_id": 1, "span_id": 2}]}]})
        assert client.post("/v0.7/traces", content=payload).status_code == 200
        assert client.post("/v0.3/traces", content=msgspec.msgpack.encode([[]])).status_code == 200
        chunk = {6: b"\x01" * 16, 4: [{1: "web", 2: "web.request", 4: 7}]}
        payload = msgspec.msgpack.encode({3: "go", 11: [chunk]})
        assert client.post("/v1.0/traces", content=payload).status_code == 200
        assert client.post("/v1.0/traces", content=b"\x90").status_code == 400
    assert [span.service for span in agent.received.spans] == ["unnamed-service", "web"]
    assert agent.holdings.trace_api.rejected == {
        "/v1.1/traces": 1,
        "/v0.2/traces": 1,
        "/v9/spans": 1,
        "/v1.0/traces": 1,
    }


def test_large_payload_lets_others_have_their_turn(run_agent) -> None:
    """A payload of 20,000 chunks is taken whole, in parts; one beyond the bounds is 413, small though it is on the wire."""
    agent = run_agent(record=False)
    chunk = [{"trace_id": 1, "span_id": 2, "start": int(time.time() * 1e9)}]
    with httpx.Client(base_url=f"http://127.0.0.1:{agent.trace_port}", timeout=60) as client:
        assert (
            client.post("/v0.4/traces", content=msgspec.msgpack.encode([chunk] * 20_000)).status_code == 200
        )
        assert agent.holdings.totals()["spans"] == 20_000
        empty = b"\xdd" + struct.pack(">I", 60_000) + b"\x90" * 60_000
        assert client.post("/v0.4/traces", content=empty).status_code == 413
        zipped = {"content-encoding": "gzip"}
        ratio = gzip.compress(b"\x00" * 3_000_000)
        assert client.post("/v0.4/traces", content=ratio, headers=zipped).status_code == 413


def test_waiting_in_vain_says_what_has_come(run_agent, send) -> None:
    """A test that waits for the wrong thing learns what did arrive."""
    agent = run_agent()
    send(agent, b"other:1|c")
    agent.wait_for(lambda received: received.metrics)
    with pytest.raises(TimeoutError, match="other"):
        agent.wait_for(lambda received: received.spans, timeout=0.05)
    agent.received.clear()
    assert agent.received.metrics == []


def test_a_failing_bucket_callback_is_shown_and_harms_nothing(clock) -> None:
    """What others hang into the agent may fail; the agent goes on and says so once."""
    agent = LocalAgent(dogstatsd_port=None, trace_port=None, logs_port=None, page_port=None, clock=clock)
    agent.bind()
    seen: list[int] = []

    def broken(bucket: int) -> None:
        raise RuntimeError("no")

    agent.holdings.on_bucket += [broken, seen.append]
    for _ in range(3):
        clock.now += 10
        agent.holdings.tick()
    agent.close()
    assert seen == [START, START + 10, START + 20]
    assert len(agent.holdings.problems) == 1
    assert "broken failed: RuntimeError: no" in agent.holdings.problems[0]


def test_uvicorns_loggers_and_signals_are_left_alone(run_agent) -> None:
    """An application's own uvicorn in the same process keeps its access log, its levels and its handlers."""
    access, error = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn.error")
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    access.addHandler(handler)
    before = [(one.level, one.propagate, list(one.handlers)) for one in (access, error)]
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        agent = run_agent(page_port=0)
        assert httpx.get(f"http://127.0.0.1:{agent.page_port}/api/overview", timeout=60).status_code == 200
        assert [(one.level, one.propagate, list(one.handlers)) for one in (access, error)] == before
        assert signal.getsignal(signal.SIGINT) is interrupt
        assert lines == []
    finally:
        access.removeHandler(handler)


def test_port_out_of_range_is_refused(run_agent) -> None:
    """A port that cannot be is named, not a traceback."""
    with pytest.raises(LocalAgentError, match="there is no port 99999"):
        run_agent(trace_port=99999)


def test_agent_can_run_again(run_agent, send) -> None:
    """The same agent may run a second time; what it has received stays."""
    agent = LocalAgent(dogstatsd_port=0, trace_port=None, logs_port=None, page_port=None)
    for count in (1, 2):
        with agent.running():
            send(agent, b"c:1|c")
            agent.wait_for(lambda received, count=count: len(received.metrics) == count)


def test_unknown_setting_is_refused() -> None:
    """A misspelt keyword is an error, not a default."""
    with pytest.raises(TypeError, match="dogstatd_port"):
        LocalAgent(dogstatd_port=0)


@pytest.mark.parametrize("rounds", range(6))
def test_whoever_connects_while_a_listener_closes_is_let_go(rounds: int) -> None:
    """In whatever round of the loop from accepting to connecting it ends, no connection stays open and swallows lines."""

    async def run() -> None:
        loop, connections = asyncio.get_running_loop(), Connections()
        listening = socket.create_server(("127.0.0.1", 0))
        server = await loop.create_server(
            lambda: LineProtocol(connections, LineSplitter(100), lambda lines: None), sock=listening
        )
        with socket.create_connection(listening.getsockname(), timeout=60) as client:
            for _ in range(rounds):
                await asyncio.sleep(0)
            await end_listening(server)
            await connections.close()
            assert connections.open == set()
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""

    asyncio.run(run())


@pytest.mark.parametrize("rounds", range(6))
def test_whoever_connects_while_a_server_ends_is_let_go(rounds: int) -> None:
    """So it is at the ports that speak HTTP."""

    async def run() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        address = listening.getsockname()
        async with serving(PlainTextResponse("x"), [listening]):
            client = socket.create_connection(address, timeout=60)
            for _ in range(rounds):
                await asyncio.sleep(0)
        with client, suppress(ConnectionResetError):
            assert client.recv(1) == b""

    asyncio.run(run())
