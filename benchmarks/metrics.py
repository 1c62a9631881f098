"""Goal 5: what a metric call costs, flush included, against the `datadog` client."""

from __future__ import annotations

import socket
from typing import Any

from . import apps
from .rounds import BEFORE, before_is_given, median_of, run, spread_of

ROUNDS = 11
COUNT = 20_000


def _client(**options: Any) -> Any:
    """The client, sending to a socket that nobody reads: what the kernel drops costs the sender the same."""
    from datadog.dogstatsd.base import DogStatsd

    keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    keeper.bind(("127.0.0.1", 0))
    client = DogStatsd(host="127.0.0.1", port=keeper.getsockname()[1], disable_telemetry=True, **options)
    client.keeper = keeper
    return client


def _aggregated() -> Any:
    return _client(disable_buffering=False, disable_aggregation=False, flush_interval=0.3)


def client_increment() -> apps.Prepared:
    client = _aggregated()

    def go(count: int) -> None:
        for _ in range(count):
            client.increment("reports.rows", tags=["kind:csv"])

    return go, client.flush_aggregated_metrics


def client_increment_4_tags() -> apps.Prepared:
    client = _aggregated()

    def go(count: int) -> None:
        for _ in range(count):
            client.increment("reports.rows", tags=["kind:csv", "app:reports", "model:Export", "zone:eu"])

    return go, client.flush_aggregated_metrics


def client_timing() -> apps.Prepared:
    client = _client(disable_buffering=False)

    def go(count: int) -> None:
        for number in range(count):
            client.timing("reports.render", number * 0.37, tags=["kind:csv"])

    return go, client.flush


def _ours() -> tuple[Any, Any, Any]:
    from streaming_dd.catalog import Metric

    rows = Metric("reports.rows", "count", "row", ("kind", "app", "model", "zone"), "Rows.")
    render = Metric("reports.render", "timer", "millisecond", ("kind",), "Rendering.")
    flush = apps.configure(tracing_enabled=False, logs_enabled=False)
    return rows, render, flush


def bound_increment() -> apps.Prepared:
    from streaming_dd import recorder

    rows, _, flush = _ours()
    handle = recorder.get().metrics.counter(rows, kind="csv")

    def go(count: int) -> None:
        for _ in range(count):
            handle.increment()

    return go, flush


def increment() -> apps.Prepared:
    from streaming_dd.timers import increment as call

    rows, _, flush = _ours()

    def go(count: int) -> None:
        for _ in range(count):
            call(rows, kind="csv")

    return go, flush


def increment_4_tags() -> apps.Prepared:
    from streaming_dd.timers import increment as call

    rows, _, flush = _ours()

    def go(count: int) -> None:
        for _ in range(count):
            call(rows, kind="csv", app="reports", model="Export", zone="eu")

    return go, flush


def bound_timing() -> apps.Prepared:
    from streaming_dd import recorder

    _, render, flush = _ours()
    handle = recorder.get().metrics.timing(render, kind="csv")

    def go(count: int) -> None:
        for number in range(count):
            handle.record(number * 0.37)

    return go, flush


VARIANTS = {
    "client_increment": client_increment,
    "client_increment_4_tags": client_increment_4_tags,
    "client_timing": client_timing,
    "bound_increment": bound_increment,
    "increment": increment,
    "increment_4_tags": increment_4_tags,
    "bound_timing": bound_timing,
}

#: What is also measured of another build, if one is given.
_COMPARED = ("increment", "increment_4_tags")


def _datagrams() -> tuple[int, int]:
    """Datagrams for 100,000 increments and for 100,000 timings."""
    from streaming_dd import config
    from streaming_dd.catalog import Metric
    from streaming_dd.output.metrics import Metrics

    class Counting(apps.Sink):
        sent = 0

        def send(self, payload: bytes) -> bool:
            self.sent += 1
            return True

    sink = Counting()
    metrics = Metrics(config.load({}), sink)
    counter = metrics.counter(Metric("reports.rows", "count"))
    timing = metrics.timing(Metric("reports.render", "timer"))
    for _ in range(100_000):
        counter.increment()
    metrics.flush()
    increments, sink.sent = sink.sent, 0
    for number in range(100_000):
        timing.record(number * 0.37)
    metrics.flush()
    return increments, sink.sent


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met)."""
    before = [name + BEFORE for name in _COMPARED] if before_is_given() else []
    found = run("metrics", [*VARIANTS, *before], rounds=ROUNDS, count=COUNT)
    rows = [
        (
            "5 increment of a bound handle, of the aggregated client's",
            "bound_increment",
            "client_increment",
            0.2,
        ),
        (
            "5 increment by metric and one tag, of the aggregated client's",
            "increment",
            "client_increment",
            0.4,
        ),
        (
            "5 increment by metric and four tags, of the aggregated client's",
            "increment_4_tags",
            "client_increment_4_tags",
            0.4,
        ),
        ("5 timing of a bound handle, of the buffered client's", "bound_timing", "client_timing", 0.15),
    ]
    rows += [
        (f"{text} (before)", ours + BEFORE, peer, limit)
        for text, ours, peer, limit in rows
        if ours + BEFORE in before
    ]
    goals = []
    for text, ours, peer, limit in rows:

        def ratio(index: int, a: str = ours, b: str = peer) -> float:
            return found[a].total[index] / found[b].total[index]

        low, high = spread_of(ratio, ROUNDS)
        figure = median_of(ratio, ROUNDS)
        goals.append((f"{text} [{low:.3f} to {high:.3f}]", figure, limit, figure <= limit))
    increments, timings = _datagrams()
    goals.append(("5 datagrams for 100,000 increments", increments, 10, increments <= 10))
    goals.append(("5 datagrams for 100,000 timings", timings, 800, timings <= 800))
    return goals
