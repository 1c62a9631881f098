"""An Agent that is away: counts stay exact, timings wait or are sampled at a rate that is said, nobody waits."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from free_ports import free_port

from streaming_dd import catalog, config, recorder
from streaming_dd.catalog import Metric
from streaming_dd.output import notices
from streaming_dd.output.metrics import AgentSender, Metrics, flushing
from streaming_dd.output.metrics.keeping import Kept
from streaming_dd.process.losses import Losses

ROWS = Metric("reports.rows", "count", "row", ("kind",), "Rows.")
RENDER = Metric("reports.render", "timer", "millisecond", ("kind",), "Rendering.")


@pytest.fixture
def metrics(sender: Any) -> Metrics:
    return Metrics(config.load({}, environ={}), sender)


def weighed(sender: Any, name: str) -> list[tuple[list[float], float]]:
    """(values, how many each stands for) of every line of a metric."""
    found = []
    for line in sender.lines:
        head, *fields = line.split("|")
        got, *values = head.split(":")
        if got == name:
            rates = [float(field[1:]) for field in fields if field.startswith("@")]
            found.append(([float(value) for value in values], 1 / rates[0] if rates else 1.0))
    return found


@pytest.mark.slow
def test_counts_survive_an_outage_of_any_length(metrics: Metrics, sender: Any) -> None:
    """1,500 series over 50 flushes that nobody takes: afterwards each one's growth goes out as one number."""
    sender.working = False
    counters = [metrics.counter(ROWS, kind=f"k{number}") for number in range(1500)]
    for _ in range(50):
        for counter in counters:
            counter.increment()
        metrics.flush()
    sender.working = True
    metrics.flush()
    samples = [value for value, _ in sender.samples("reports.rows") if value != "0"]
    assert samples == ["50"] * 1500
    assert metrics.dropped == {}


def test_timings_of_an_outage_go_out_later(metrics: Metrics, sender: Any) -> None:
    """While there is room every value is kept, with the rate 1."""
    sender.working = False
    for number in range(500):
        metrics.timing(RENDER, kind="a").record(float(number))
        metrics.flush()
    sender.working = True
    metrics.flush()
    assert sorted(sender.values("reports.render")) == [float(number) for number in range(500)]


def test_without_room_timings_are_sampled_and_say_their_rate(metrics: Metrics, sender: Any) -> None:
    """Ten times the room: the lines' rates still give the exact count, and the mean stays what it was."""
    metrics._kept = Kept(room=1000)
    sender.working = False
    for number in range(10_000):
        metrics.timing(RENDER, kind="ab"[number % 2]).record(float(number % 100))
        if number % 100 == 99:
            metrics.flush()
            assert metrics._kept.size <= 1000
    sender.working = True
    metrics.flush()
    lines = weighed(sender, "reports.render")
    assert any(weight > 1 for _, weight in lines)
    assert sum(len(values) * weight for values, weight in lines) == pytest.approx(10_000)
    mean = sum(sum(values) * weight for values, weight in lines) / 10_000
    assert mean == pytest.approx(49.5, abs=12)
    sender.payloads.clear()
    metrics.timing(RENDER, kind="a").record(1.0)
    metrics.flush()
    assert weighed(sender, "reports.render") == [([1.0], 1.0)]


def test_what_a_payload_held_goes_back_when_it_was_not_taken(metrics: Metrics, sender: Any) -> None:
    """The Agent goes away within a flush: every value arrives once, those of the first payloads at once."""
    left = [3]
    taken = sender.send

    def send(payload: bytes) -> bool:
        left[0] -= 1
        return left[0] >= 0 and taken(payload)

    sender.send = send
    for number in range(2000):
        metrics.timing(RENDER, kind="a").record(float(number))
        metrics.counter(ROWS, kind=f"k{number % 40}").increment()
    metrics.flush()
    assert len(sender.payloads) == 3
    left[0] = 10**6
    metrics.flush()
    assert sorted(sender.values("reports.render")) == [float(number) for number in range(2000)]
    assert sender.total("reports.rows") == 2000


def test_who_reads_waits_for_no_send(configure: Any, sender: Any) -> None:
    """While a send is stuck, totals and timings are still brought up to date at once."""
    found: recorder.Recorder = configure()
    stuck, leave = threading.Event(), threading.Event()

    def send(payload: bytes) -> bool:
        stuck.set()
        return leave.wait(100) and False

    sender.send = send
    flushing = threading.Thread(target=found.metrics.flush)
    flushing.start()
    assert stuck.wait(60)
    timing = found.metrics.timing(catalog.HTTP_DURATION, method="GET", route="/", status_class="2xx")
    timing.record(5.0)
    found.take_in()
    assert flushing.is_alive()
    assert (timing.count, timing.sum) == (1, 5.0)
    leave.set()
    flushing.join()


@pytest.mark.slow
def test_a_name_server_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up apart from sending; once it is known, what has been counted meanwhile goes out."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(100)
    answer = threading.Event()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: Any, **more: Any) -> Any:
        if host == "agent.example":
            assert answer.wait(200)
            host = "127.0.0.1"
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    settings = config.load(
        {"agent_host": "agent.example", "dogstatsd_port": receiver.getsockname()[1]}, environ={}
    )
    sender = AgentSender(settings)
    metrics = Metrics(settings, sender)
    metrics.counter(ROWS, kind="a").increment(3)
    metrics.flush()  # waits a second for the first answer, once
    metrics.counter(ROWS, kind="a").increment(4)
    began = time.monotonic()
    for _ in range(25):
        metrics.flush()
    assert time.monotonic() - began < 20, "a flush waits for the name server"
    answer.set()
    assert sender._names is not None
    assert sender._names._thread is not None
    sender._names._thread.join(100)
    metrics.flush()
    lines = receiver.recv(65536).decode().split("\n")
    assert "reports.rows:7|c|#kind:a" in lines
    sender.close()
    receiver.close()
    notices.reset()


def test_a_final_flush_gives_up_in_time(
    metrics: Metrics, sender: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit holds for all payloads together; it says how many were not taken."""
    taken, seconds = sender.send, 0.0

    def slow(payload: bytes) -> bool:
        nonlocal seconds
        seconds += 1
        return bool(taken(payload))

    for number in range(20_000):
        metrics.timing(RENDER, kind="a").record(float(number))
    sender.send = slow
    monkeypatch.setattr(
        flushing, "time", SimpleNamespace(monotonic=lambda: seconds, perf_counter=lambda: 0.0)
    )
    unsent = metrics.final_flush(4)
    monkeypatch.undo()
    assert len(sender.payloads) == 5  # the last one begins at the limit
    sender.send = taken
    metrics.final_flush()
    assert len(sender.payloads) - 5 >= unsent > 50


@pytest.mark.process
@pytest.mark.parametrize("scheme", ["unix", "unixgram", "unixstream"])
def test_every_scheme_of_a_socket_works_from_the_environment(tmp_path: Path, scheme: str) -> None:
    """ddtrace refuses two of them when it is imported; the application starts, and its metrics arrive."""
    path = tmp_path / "dsd.socket"
    kind = socket.SOCK_STREAM if scheme == "unixstream" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_UNIX, kind) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(200)  # the program has much to import
        if kind == socket.SOCK_STREAM:
            receiver.listen()
        code = (
            "import streaming_dd as dd; dd.configure(logs_enabled=False);"
            "dd.increment(dd.Metric('reports.rows', 'count'), 3); dd.recorder.get().metrics.flush()"
        )
        env = {
            **os.environ,
            "DD_DOGSTATSD_URL": f"{scheme}://{path}",
            "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
        }
        program = subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE, text=True)
        taker = receiver.accept()[0] if kind == socket.SOCK_STREAM else receiver
        got = b""
        while b"reports.rows:3|c" not in got:
            more = taker.recv(65536)
            assert more, got
            got += more
        _, said = program.communicate(timeout=200)
        assert program.returncode == 0, said
        if taker is not receiver:
            taker.close()


# --- what is said of it ---------------------------------------------------------------------------------------------


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What we have said; ddtrace's threads, which earlier tests began, may have something to say, too."""
    return [record.getMessage() for record in caplog.records if record.name == "streaming_dd"]


@pytest.fixture
def talkative(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Callable[[], list[str]]]:
    """Nothing is left unsaid for having been said within the minute; returns what was said."""
    notices.reset()
    monkeypatch.setattr(notices, "_EVERY", 0.0)
    caplog.set_level("INFO")
    yield lambda: said(caplog)
    notices.reset()


def test_an_outage_of_metrics_is_told_at_its_begin_and_at_its_end(talkative: Callable[[], list[str]]) -> None:
    """However many flushes and service checks find nobody: one line, and one more when the Agent is back."""
    port = free_port()
    sender = AgentSender(config.load({"dogstatsd_url": f"udp://127.0.0.1:{port}"}, environ={}))
    for _ in range(3):
        assert not sender.send(b"reports.rows:1|c")
        sender.service_check("streaming.health", 2, ["check:agent"], "nothing takes metrics")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", port))
        assert sender.send(b"reports.rows:1|c")
        assert sender.send(b"reports.rows:1|c")
    sender.close()
    first, last = talkative()
    assert first.startswith(f"no Agent takes metrics at udp://127.0.0.1:{port}")
    assert last.startswith(f"metrics are taken again at udp://127.0.0.1:{port} after ")


def test_an_outage_of_traces_is_told_with_what_was_dropped(
    metrics: Metrics, talkative: Callable[[], list[str]]
) -> None:
    """Each round counts what was dropped; the number stands in the line that says that it is over."""
    rounds = [(3, False), (0, False), (4, False), (0, True), (0, True)]

    class Away:
        address = "http://agent:8126"

        def look_for_agent(self, now: float) -> int:
            dropped, self.there = rounds.pop(0)
            return dropped

        def agent_is_there(self) -> bool:
            return self.there

        def refused(self) -> int:
            return 0

    losses: Any = Losses(metrics, cast(Any, Away()), None)
    for _ in range(5):
        losses.traces()
    first, last = talkative()
    assert first.startswith("no Agent takes traces at http://agent:8126")
    assert last.endswith(": 7 were dropped meanwhile.")
    assert metrics.dropped == {"no_trace_agent": 7}


def test_a_second_outage_is_told_again_but_not_within_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An Agent that comes and goes does not fill the log: one that is gone again at once is not told, nor its end."""
    notices.reset()
    caplog.set_level("INFO")
    now = [1000.0]
    monkeypatch.setattr(notices, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for at in (1000.0, 1030.0, 1070.0):
        now[0] = at
        notices.out("agent", f"away at {at:.0f}")
        now[0] = at + 5
        notices.back("agent", lambda outage: f"back {outage.lasted}")
    assert said(caplog) == ["away at 1000", "back after 5 s", "away at 1070", "back after 5 s"]
    notices.reset()


def test_a_service_check_is_written_as_the_agent_reads_it(
    local: Callable[[], tuple[AgentSender, Any]],
) -> None:
    """Name, status, tags of the check and of the process, the message with its line breaks and `m:` escaped."""
    sender, received = local()
    sender.service_check("streaming.health", 1, ["check:db", "worker:0"], "two\nlines m: here")
    assert received() == b"_sc|streaming.health|1|#check:db,worker:0,service:shop|m:two\\nlines m\\: here"


@pytest.fixture
def local() -> Iterator[Callable[[], tuple[AgentSender, Any]]]:
    """A sender, and what reads the datagram that it sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(100)
        address = f"udp://127.0.0.1:{receiver.getsockname()[1]}"
        sender = AgentSender(config.load({"dogstatsd_url": address, "service": "shop"}, environ={}))
        sender.suffix = ""
        yield lambda: (sender, lambda: receiver.recv(65536))
        sender.close()
