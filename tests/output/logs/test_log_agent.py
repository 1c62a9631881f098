"""The Agent's TCP intake: absent, restarted, stuck; the application never waits for it."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress

import pytest
from free_ports import free_port
from log_helpers import messages, run_script, wait_until
from loguru import logger

from streaming_dd.output import notices
from streaming_dd.output.logs.agent import AgentTcp


class Intake:
    """A TCP server that keeps what it receives, and can go away and come back at the same port."""

    def __init__(self) -> None:
        self.received = b""
        self._connections: list[socket.socket] = []
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.restart()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._receive, args=(connection,), daemon=True).start()

    def _receive(self, connection: socket.socket) -> None:
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            self.received += data

    def stop(self) -> None:
        """Go away as an Agent does that is stopped: connections end, the port refuses."""
        with suppress(OSError):  # it has been stopped
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()  # it may just have taken one, which would outlive the stop
        for connection in self._connections:
            with suppress(OSError):  # its client has left
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def restart(self) -> None:
        """Come back at the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()


@pytest.fixture
def intake():
    """Run an Intake for a test."""
    server = Intake()
    yield server
    server.stop()


@pytest.fixture
def nobody():
    """Return a port at which nobody listens, nor can while the test runs."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def test_lines_arrive_as_json_lines(start, intake):
    """Each line arrives once, in order, ended by a newline."""
    logs = start(log_file="", log_agent=intake.address, log_bridge=False)
    for number in range(500):
        logger.info("{}", number)
    assert logs.stop(60)
    wait_until(lambda: intake.received.count(b"\n") >= 500)
    assert messages(intake.received) == [str(number) for number in range(500)]


def test_an_ipv6_address_may_be_written_in_brackets(start):
    """`[::1]:port` is understood."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        logs = start(log_file="", log_agent=f"[::1]:{listener.getsockname()[1]}")
        logger.info("six")
        connection, _ = listener.accept()
        with connection:
            assert messages(connection.recv(65536)) == ["six"]
        logs.stop(60)


def test_lines_wait_while_the_agent_restarts(start, intake, caplog):
    """What is logged while the Agent is away arrives when it is back; nothing arrives twice."""
    logs = start(log_file="", log_agent=intake.address, log_bridge=False)
    logger.info("before")
    wait_until(lambda: intake.received.endswith(b"\n"))
    intake.stop()
    for number in range(20):
        logger.info("while away {}", number)
    wait_until(lambda: "cannot be reached" in caplog.text)
    time.sleep(0.3)  # several attempts fail
    intake.restart()
    logger.info("after")
    wait_until(lambda: intake.received.count(b"\n") >= 22)
    assert messages(intake.received) == ["before", *(f"while away {number}" for number in range(20)), "after"]
    assert logs.stop(60)
    assert logs.dropped == {}


def test_an_agent_that_starts_late_gets_the_lines(start, intake, caplog):
    """An application may start before its Agent."""
    intake.stop()
    logs = start(log_file="", log_agent=intake.address)
    logger.info("early")
    wait_until(lambda: "cannot be reached" in caplog.text)
    intake.restart()
    wait_until(lambda: b"early" in intake.received)
    assert logs.flush(60)


def test_an_absent_agent_is_said_once_and_costs_no_time(start, nobody, caplog):
    """Without an Agent: one warning, bounded memory, counted drops, callers at full speed, a stop that does not wait."""
    logs = start(log_file="", log_agent=f"127.0.0.1:{nobody}", log_queue=100)
    began = time.process_time()
    for _ in range(2000):
        logger.info("x")
    assert time.process_time() - began < 10
    wait_until(lambda: "cannot be reached" in caplog.text)
    began = time.monotonic()
    assert logs.stop(200) is False
    assert time.monotonic() - began < 60
    unreachable = [record for record in caplog.records if "cannot be reached" in record.getMessage()]
    assert len(unreachable) == 1
    assert unreachable[0].levelno == logging.WARNING
    assert logs.dropped.keys() == {"disconnected"}
    assert logs.dropped["disconnected"] >= 2000


@pytest.mark.slow
def test_an_outage_of_the_intake_is_told_at_its_begin_and_at_its_end(start, intake, caplog, monkeypatch):
    """However often connecting fails: one line when it goes, one when it is back, with how many lines were dropped."""
    monkeypatch.setattr(notices, "_EVERY", 0.0)
    caplog.set_level("INFO")
    logs = start(log_file="", log_agent=intake.address, log_queue=100, log_bridge=False)
    logger.info("first")
    wait_until(lambda: b"first" in intake.received)
    intake.stop()
    logger.info(
        "x"
    )  # more of them before that is seen would be dropped for another reason, which is told, too
    wait_until(lambda: "cannot be reached" in caplog.text)
    wait_until(lambda: logger.info("x") or logs.dropped.get("disconnected", 0) > 500)
    intake.restart()
    wait_until(lambda: "answers again" in caplog.text)
    told = [record.getMessage() for record in caplog.records if intake.address in record.getMessage()]
    assert len(told) == 2, told
    assert "cannot be reached" in told[0]
    lost = logs.dropped["disconnected"]
    assert told[1].endswith(f": {lost} lines were dropped.")


@pytest.mark.slow
def test_an_agent_that_does_not_read_holds_nobody(start, caplog):
    """A connected Agent that never reads: callers go on, the queue is bounded, stop ends within its time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        logs = start(log_file="", log_agent=f"127.0.0.1:{listener.getsockname()[1]}", log_queue=50)
        logger.info("first")
        with listener.accept()[0] as connection:
            assert connection.recv(1)  # it is connected, and knows that it is
            for _ in range(300):
                logger.info("x" * 100_000)
            began = time.monotonic()
            assert logs.stop(1.0) is False
            assert time.monotonic() - began < 30
        assert logs.dropped["queue_full"] > 100
        assert caplog.text.count("are dropped") == 1


def test_the_bytes_that_wait_are_bounded_too(nobody, monkeypatch):
    """Long lines fill the queue by their size before they do by their number."""
    monkeypatch.setattr("streaming_dd.output.logs.destinations.QUEUE_BYTES", 1_000_000)
    agent = AgentTcp(f"127.0.0.1:{nobody}", 10_000)
    for _ in range(100):
        agent.put(b"x" * 100_000)
    assert agent.stop(60) is False
    assert agent.dropped == {"disconnected": 100}


@pytest.mark.process
def test_a_script_without_an_agent_exits_at_once(nobody):
    """A plain script that logs to an absent Agent ends as fast as without us, and says so once on standard error."""
    code = """
import os, sys, time
os.environ["STREAMING_SHUTDOWN_TIMEOUT"] = "60"
from loguru import logger
from streaming_dd import logs
logger.remove()
logs.configure(agent=sys.argv[1], stdout=False, bridge=False)
for number in range(100): logger.info("x")
began = time.monotonic()
import atexit
atexit._run_exitfuncs()
print(time.monotonic() - began)
"""
    result = run_script(code, f"127.0.0.1:{nobody}")
    assert float(result.stdout) < 40, result
    assert result.stderr.count(b"cannot be reached") == 1
