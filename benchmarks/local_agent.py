"""The local agent: ready time, memory, and how much it takes in without loss, in a process of its own.

Senders run in this process, so they share the machine's cores with the agent. Figures of intake are fractions of what
was sent; CPU is the agent's own, per second of sending.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

SECONDS = 5
METRICS_A_SECOND = 100_000
PACKED = 20
DATAGRAMS_A_SECOND = 40_000
SPANS_A_SECOND = 20_000
SPANS_A_PAYLOAD = 500
BURSTS_A_SECOND = 200

_START = [
    sys.executable, "-m", "streaming_dd.cli", "agent", "--headless", "--dogstatsd-port", "0", "--trace-port", "0",
    "--logs-port", "0", "--page-port", "0",
]  # fmt: skip

#: An hour of traffic as the demo's, on a clock that runs as fast as the machine: memory must stay where it is.
_HOURS = """
import random, sys
from streaming_dd.local_agent import LocalAgent, Span
from streaming_dd.local_agent.intake.logs import Log
from streaming_dd.local_agent.page_server.overview import rss
now = [1_700_000_000.0]
agent = LocalAgent(dogstatsd_port=None, trace_port=None, logs_port=None, page_port=None, record=False,
                   clock=lambda: now[0], max_spans=20_000, max_logs=20_000)
agent.bind()
lines = [f"streaming.counter{i % 20}:1|c|#app:reports,model:m{i % 5},route:/r{i % 4}" for i in range(200)]
lines += [f"streaming.timer{i % 6}:{i}:{i + 1}:{i + 2}|ms|#model:m{i % 5}" for i in range(30)]
lines += [f"streaming.dist{i % 2}:{i}:{i + 1}|d|#model:m{i % 5}" for i in range(10)]
datagrams = ["\\n".join(lines[i:i + 20]).encode() for i in range(0, len(lines), 20)]
number, random_ = 0, random.Random(1)
for hour in range(int(sys.argv[1])):
    for bucket in range(360):
        for datagram in datagrams:
            agent.holdings.aggregator.feed(datagram)
        spans, logs = [], []
        for _ in range(100):
            number += 1
            spans.append(Span(f"{number:032x}", str(number), "0", "web.request", f"GET /r{number % 9}", "web", "web",
                              int(now[0] * 1e9), random_.randrange(10**9), 0, {"env": "dev"}, {"_dd.top_level": 1.0}))
            logs.append(Log(now[0], "info", f"line {number} of the hour", "web", attributes={"n": number, "k": "v" * 50}))
        agent.holdings.take_traces([spans], True)
        agent.holdings.records.add_logs(logs)
        now[0] += 10
        agent.holdings.tick()
    print(rss() / 2**20)
agent.holdings.records.close()
"""


#: What a page of 16 charts over an hour asks: 12 of 24 series, 4 of 8 distributions; the seconds of CPU of each turn.
_PAGE = """
import time
from streaming_dd.local_agent.store.sketch import Sketch
from streaming_dd.local_agent.store.series import Store
from streaming_dd.local_agent.queries.widget_data import chart
now = 1_700_003_600
store = Store(clock=lambda: now)
for bucket in range(now - 3600, now, 10):
    for series in range(24):
        tags = frozenset((f"model:m{series % 8}", f"worker:{series // 8}"))
        for number in range(12):
            store.put(f"m{number}", tags, "count" if number % 2 else "gauge", bucket, bucket % 7)
    for series in range(8):
        for number in range(4):
            sketch = Sketch()
            sketch.add([bucket % 97 + series, bucket % 31 + 1, bucket % 11 + 0.5, 3.0, 9.0])
            store.put_sketch(f"d{number}", frozenset((f"model:m{series}",)), bucket, sketch)
texts = [f"sum:m{n}{{*}} by {{model}}" + (".as_count()" if n % 2 else "") for n in range(12)]
texts += [f"p95:d{n}{{*}} by {{model}}" for n in range(4)]
requests = [{"queries": [{"data_source": "metrics", "name": "a", "query": text}], "formulas": [{"formula": "a"}]}
            for text in texts]
for turn in range(6):
    began = time.process_time()
    for request in requests:
        assert len(chart(request, store, now - 3600, now, {}).curves) == 8
    print(time.process_time() - began)
"""


class Agent:
    """A running agent, its addresses and what it cost so far."""

    def __init__(self, process: subprocess.Popen[str], url: str, ready: float) -> None:
        self.pid = process.pid
        self.url = url
        self.ready = ready
        self.ports = self.get("overview")["listening"]

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(f"{self.url}/api/{path}", timeout=30) as answer:
            return json.load(answer)

    def received(self, kind: str) -> int:
        return self.get("overview")["received"][kind]

    def cpu(self) -> float:
        """Return the seconds of CPU that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def megabytes(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


@contextmanager
def running() -> Iterator[Agent]:
    """Start an agent; it is ready when its API has answered."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(_START, stderr=subprocess.PIPE, text=True, cwd=directory)
        try:
            url = re.search(r"http://\S+", process.stderr.readline())[0]
            urllib.request.urlopen(f"{url}/api/overview", timeout=30).close()
            yield Agent(process, url, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(20)
            process.stderr.close()


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met)."""
    readiness = []
    for _ in range(5):
        with running() as agent:
            readiness.append(agent.ready)
            idle = agent.megabytes()
    ready = statistics.median(readiness)
    metrics, metrics_cpu = _datagrams(METRICS_A_SECOND // PACKED, _packed())
    datagrams, datagrams_cpu = _datagrams(DATAGRAMS_A_SECOND, _single())
    spans, spans_cpu = _spans()
    page = statistics.median(_script(_PAGE)[1:]) * 1000
    hours = _script(_HOURS, "6")
    growth = hours[-1] / hours[-2]
    return [
        ("local agent: seconds from process start to the first answer", ready, 0.5, ready <= 0.5),
        ("local agent: megabytes when idle", idle, 50, idle <= 50),
        (f"local agent: part of {METRICS_A_SECOND:,} packed metrics/s received", metrics, 1, metrics >= 1),
        ("local agent: CPU at that rate, cores", metrics_cpu, 1, metrics_cpu <= 1),
        (f"local agent: part of {DATAGRAMS_A_SECOND:,} datagrams/s received", datagrams, 1, datagrams >= 1),
        ("local agent: CPU at that rate, cores", datagrams_cpu, 1, datagrams_cpu <= 1),
        (f"local agent: part of {SPANS_A_SECOND:,} spans/s received in time", spans, 1, spans >= 1),
        ("local agent: CPU at that rate, cores", spans_cpu, 1, spans_cpu <= 1),
        ("local agent: milliseconds of CPU for a page of 16 charts", page, 100, page <= 100),
        ("local agent: memory after 6 hours of traffic, times that after 5", growth, 1.05, growth <= 1.05),
        ("local agent: megabytes after 6 hours of the demo's traffic", hours[-1], 250, hours[-1] <= 250),
    ]


def _packed() -> list[tuple[bytes, int]]:
    """Return lines of 20 packed values over 30 series, with the number of their samples."""
    values = ":".join(f"{value}.5" for value in range(PACKED))
    return [
        (f"streaming.task.duration:{values}|ms|#app:reports,model:m{i}".encode(), PACKED) for i in range(30)
    ]


def _single() -> list[tuple[bytes, int]]:
    """Return one metric per datagram, over 100 series."""
    return [
        (f"streaming.http.requests:1|c|#app:reports,route:/r{i},status:200".encode(), 1) for i in range(100)
    ]


def _datagrams(rate: int, payloads: list[tuple[bytes, int]]) -> tuple[float, float]:
    """Send `rate` datagrams a second; return the part of their samples that was received, and the agent's cores."""
    with running() as agent, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", agent.ports["dogstatsd_port"]))
        sent, position = 0, 0

        def burst(size: int) -> None:
            nonlocal sent, position
            for _ in range(size):
                payload, samples = payloads[position % len(payloads)]
                sock.send(payload)
                sent += samples
                position += 1

        cpu, _ = _paced(agent, rate // BURSTS_A_SECOND, burst)
        _settle(lambda: agent.received("samples") >= sent)
        return agent.received("samples") / sent, cpu


def _spans() -> tuple[float, float]:
    """Post `SPANS_A_SECOND`; return the part that was taken within the time, and the agent's cores."""
    with running() as agent:
        connection = http.client.HTTPConnection("127.0.0.1", agent.ports["trace_port"])
        connection.connect()
        # http.client sends head and body apart; without this each request waits 40 ms for the peer's ACK.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = _payload()
        sent = 0

        def burst(size: int) -> None:
            nonlocal sent
            for _ in range(size):
                connection.request("PUT", "/v0.5/traces", body, {"datadog-client-computed-top-level": "yes"})
                connection.getresponse().read()
                sent += SPANS_A_PAYLOAD

        payloads_a_second = SPANS_A_SECOND // SPANS_A_PAYLOAD
        cpu, elapsed = _paced(agent, 1, burst, bursts=payloads_a_second)
        in_time = min(1.0, SECONDS / elapsed) if elapsed > SECONDS * 1.05 else 1.0
        _settle(lambda: agent.received("spans") >= sent)
        connection.close()
        return agent.received("spans") / sent * in_time, cpu


def _payload() -> bytes:
    """Return a v0.5 payload: traces of five spans with the tags that ddtrace sends."""
    strings = ["", "web", "web.request", "GET /reports/{id}", "env", "dev", "http.method", "GET", "component", "starlette",
               "http.status_code", "200", "_dd.top_level", "_sampling_priority_v1"]  # fmt: skip
    meta, metrics = {4: 5, 6: 7, 8: 9, 10: 11}, {13: 1.0}
    chunks = []
    for trace in range(SPANS_A_PAYLOAD // 5):
        spans = []
        for span in range(5):
            own = {**metrics, 12: 1.0} if span == 0 else metrics
            spans.append(
                [
                    1,
                    2,
                    3,
                    trace + 1,
                    span + 1,
                    0 if span == 0 else 1,
                    time.time_ns(),
                    5_000_000,
                    0,
                    meta,
                    own,
                    1,
                ]
            )
        chunks.append(spans)
    return msgspec.msgpack.encode([strings, chunks])


def _paced(
    agent: Agent, size: int, burst: Callable[[int], None], *, bursts: int = BURSTS_A_SECOND
) -> tuple[float, float]:
    """Send bursts at an even pace for `SECONDS`; return the agent's cores meanwhile, and the seconds it took."""
    cpu, began = agent.cpu(), time.perf_counter()
    for number in range(SECONDS * bursts):
        burst(size)
        time.sleep(max(0.0, began + (number + 1) / bursts - time.perf_counter()))
    elapsed = time.perf_counter() - began
    return (agent.cpu() - cpu) / elapsed, elapsed


def _settle(done: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + 3
    while not done() and time.perf_counter() < deadline:
        time.sleep(0.1)


def _script(script: str, *arguments: str) -> list[float]:
    """Run a script in a process of its own; return the numbers that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True
    )
    return [float(line) for line in done.stdout.split()]
