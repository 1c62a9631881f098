"""Many series, many readers that do not read, a disk that is full: bounds that hold whatever the machine's speed."""

from __future__ import annotations

import gc
import json
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_agent_helpers import Clock

from streaming_dd.assets.query_language import parse_query
from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.live import MAX_READERS, QUEUE
from streaming_dd.local_agent.page_server.overview import rss
from streaming_dd.local_agent.page_server.stored import MAX_SERIES
from streaming_dd.local_agent.queries.evaluate import Evaluation
from streaming_dd.local_agent.queries.lines import Grid
from streaming_dd.local_agent.store.deadline import Deadline
from streaming_dd.local_agent.store.series import Store

MANY = 50_000
MB = 1024 * 1024


def feed(agent: LocalAgent, names: range) -> None:
    """Send a gauge for each name, in datagrams of a hundred lines."""
    for at in range(names.start, names.stop, 100):
        lines = b"\n".join(b"load.gauge:%d|g|#item:%d" % (n, n) for n in range(at, min(at + 100, names.stop)))
        agent._on_loop(lambda lines=lines: agent.holdings.feed(lines))


def close_bucket(agent: LocalAgent, clock: Clock) -> None:
    clock.now += 10
    agent._on_loop(agent.holdings.tick)


@pytest.mark.timeout(390)
def test_fifty_thousand_series_fit_in_what_is_said_of_them(run_agent: Any, clock: Clock) -> None:
    """Each costs at most 8 KB with its hour of points; one more is refused and counted; answers stay bounded."""
    agent = run_agent(page_port=0, clock=clock, max_series=MANY, record=False)
    gc.collect()
    before = rss()
    feed(agent, range(MANY))
    close_bucket(agent, clock)
    gc.collect()
    grown = rss() - before
    assert agent.holdings.store.series_count == MANY
    assert grown < MANY * 8 * 1024, f"{grown / MANY:.0f} bytes a series"
    feed(agent, range(MANY, MANY + 100))
    close_bucket(agent, clock)
    with httpx.Client(base_url=f"http://127.0.0.1:{agent.page_port}/api", timeout=120) as client:
        health = client.get("/health").json()["series"]
        assert (health["count"], health["rejected"]) == (MANY, {"load.gauge": 100})
        found = client.get("/series?metric=load.gauge&range=5m").json()
        assert (len(found["series"]), found["left_out"]) == (MAX_SERIES, MANY - MAX_SERIES)
        request = {"response_format": "timeseries", "formulas": [{"formula": "a"}], "queries": [
            {"data_source": "metrics", "name": "a", "query": "max:load.gauge{*} by {item}"}
        ]}  # fmt: skip
        asked = {"range": "5m", "requests": [{"kind": "timeseries", "request": request}]}
        answer = client.post("/query", json=asked)
        assert answer.status_code == 200
        assert len(answer.content) < MB
        assert client.get("/bill").json()["billed"] == MANY
    feed(agent, range(MANY))  # what is known is taken on
    close_bucket(agent, clock)
    assert agent.holdings.aggregator.intake.malformed == 0


def test_a_query_over_too_many_series_is_ended_and_says_so(clock: Clock) -> None:
    """What a widget asks may take two seconds of processor: then it is a sentence in its place, and the loop goes on."""
    store = Store(clock=clock)
    for number in range(100):
        store.put("g", frozenset((f"item:{number}",)), "gauge", int(clock.now), 1.0)
    ticks = iter(range(1000))
    evaluation = Evaluation(store, _deadline=Deadline(50, clock=lambda: next(ticks)))
    with pytest.raises(TimeoutError, match="narrow its filter"):
        evaluation.lines(parse_query("avg:g{*} by {item}"), Grid(int(clock.now), 10, 1))
    assert (
        len(Evaluation(store).lines(parse_query("avg:g{*} by {item}"), Grid(int(clock.now), 10, 1)).lines)
        == 100
    )


@pytest.mark.timeout(390)
def test_readers_that_do_not_read_cost_a_queue_each(run_agent: Any, clock: Clock) -> None:
    """Of a hundred readers fifty are let in; they miss updates, and everybody else is answered meanwhile."""
    agent = run_agent(page_port=0, clock=clock, record=False)
    request = b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    readers = []
    try:
        for _ in range(2 * MAX_READERS):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", agent.page_port))
            sock.sendall(request)
            readers.append(sock)
        with httpx.Client(base_url=f"http://127.0.0.1:{agent.page_port}/api", timeout=120) as client:
            until = time.monotonic() + 120
            while client.get("/health").json()["live"]["readers"] < MAX_READERS and time.monotonic() < until:
                time.sleep(0.02)
            gc.collect()
            before = rss()
            message = {"text": "x" * 10_000}
            for _ in range(300):
                agent._on_loop(
                    lambda: [agent.holdings.live.send("status", message, keep=False) for _ in range(10)]
                )
                if client.get("/overview").status_code != 200:
                    pytest.fail("others are not answered")
            live = client.get("/health").json()["live"]
        assert live["readers"] == MAX_READERS
        assert live["missed"] > MAX_READERS * (3000 - QUEUE) // 2
        # 3,000 messages of 10 KB for each of fifty would be 1.5 GB.
        assert rss() - before < 150 * MB
    finally:
        for sock in readers:
            sock.close()


AGENT = [
    sys.executable, "-m", "streaming_dd.cli", "agent", "--headless", "--dogstatsd-port", "0", "--trace-port", "0",
    "--logs-port", "0", "--page-port", "0", "--persist", "kept.sqlite",
]  # fmt: skip
LIMIT = 2 * MB


@pytest.mark.process
@pytest.mark.timeout(390)
def test_a_full_disk_costs_rows_and_not_the_agent(tmp_path: Path) -> None:
    """When `--persist` can write no more, what came is counted as dropped and said; the agent answers and ends well."""
    with subprocess.Popen(AGENT, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as agent:
        # No file of it may grow beyond that: the write fails as on a full disk.
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
        try:
            assert agent.stderr is not None
            ready = agent.stderr.readline()
            page = ready.split("ready in ")[1].split(": ")[1].split(" ")[0]
            logs = int(ready.rpartition("logs tcp:")[2])
            line = json.dumps({"message": "x" * 2_000}).encode() + b"\n"
            with (
                socket.create_connection(("127.0.0.1", logs)) as sock,
                httpx.Client(base_url=page, timeout=60) as client,
            ):
                until, dropped, problems = time.monotonic() + 120, 0, []
                sock.sendall(
                    line * 20
                )  # kept before there is too much: what is written at once is dropped at once
                while not client.get("/api/logs?range=1h&limit=5").json()["logs"]:
                    assert time.monotonic() < until
                    time.sleep(0.05)
                while not (dropped and problems) and time.monotonic() < until:
                    sock.sendall(line * 200)
                    health = client.get("/api/health").json()
                    dropped, problems = health["records"]["logs"]["dropped"], health["problems"]
                assert dropped
                assert any("what came in meanwhile is lost" in each for each in problems)
                assert len(problems) < 10
                assert client.get("/api/logs?range=1h&limit=5").json()["logs"]
                assert client.get("/api/overview").status_code == 200
        finally:
            agent.terminate()
        assert agent.wait(60) == 0
    assert max(each.stat().st_size for each in tmp_path.iterdir()) <= LIMIT
