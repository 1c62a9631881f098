"""The process' own numbers, the load of the last hour, and memory per task."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import pytest

from streaming_dd import catalog, recorder, timers
from streaming_dd.config import Config
from streaming_dd.output.metrics import Metrics
from streaming_dd.process import gauges as process
from streaming_dd.process import load
from streaming_dd.process.gauges import ProcessMetrics
from streaming_dd.process.load import LoadHistory, Minute

OURS = (
    catalog.PROCESS_RSS,
    catalog.PROCESS_CPU,
    catalog.PROCESS_THREADS,
    catalog.PROCESS_OPEN_FILES,
    catalog.PROCESS_GC,
)


@pytest.mark.slow
def test_the_process_is_measured(captured: Any, uncollected: None) -> None:
    """Memory, CPU, threads, open files and collections go out with the worker's other gauges."""
    gc.collect()
    metrics = captured.metrics
    assert 5e6 < metrics.gauge(catalog.PROCESS_RSS) < 5e10
    assert metrics.gauge(catalog.PROCESS_CPU) >= 0
    assert metrics.gauge(catalog.PROCESS_THREADS) >= 1
    before = metrics.gauge(catalog.PROCESS_OPEN_FILES)
    with open(os.devnull) as first, open(os.devnull) as second:
        assert metrics.gauge(catalog.PROCESS_OPEN_FILES) == before + 2
        assert first is not second
    gc.collect()
    assert metrics.count(catalog.PROCESS_GC, generation="2") >= 1


@pytest.mark.slow
def test_collections_of_before_are_not_counted(capture: Any) -> None:
    """The first count of a process is not that of its whole start-up."""
    for _ in range(5):
        gc.collect()
    with capture() as captured:
        assert captured.metrics.count(catalog.PROCESS_GC, generation="2") < 5


@pytest.mark.slow
def test_cpu_is_that_of_the_time_between_two_flushes(captured: Any, burn: Any) -> None:
    """100 percent is one core that is busy all the time."""
    recorder.get().end_rounds(60)  # no flush but those that are asked for

    def now() -> tuple[float, float]:
        return time.process_time(), time.monotonic()

    began = now()
    captured.metrics.gauge(catalog.PROCESS_CPU)
    first = now()
    burn(0.6)
    last = now()
    found = captured.metrics.gauge(catalog.PROCESS_CPU)
    over = now()
    # A flush lies somewhere between the two looks around it, which on a busy machine are far apart.
    least = 100 * (last[0] - first[0]) / (over[1] - began[1])
    most = 100 * (over[0] - began[0]) / (last[1] - first[1])
    assert least * 0.95 <= found <= most * 1.05


class Sender:
    """Keep the names of what was sent."""

    payload_limit = 1432
    tags: tuple[str, ...] = ()
    suffix = ""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def send(self, payload: bytes) -> bool:
        self.names |= {line.partition(b":")[0].decode() for line in payload.split(b"\n")}
        return True

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        raise AssertionError("nobody checks a service here")

    def close(self) -> None:
        pass


def test_never_beside_ddtraces_runtime_metrics() -> None:
    """While ddtrace tells the same, only what capacity needs is sent; when it stops, ours begin, and end again."""
    running = True
    sender = Sender()
    metrics = Metrics(Config(), sender)
    ProcessMetrics(metrics, runtime_metrics=lambda: running)

    def sent() -> set[str]:
        sender.names.clear()
        metrics.flush()
        told_always = {f"streaming.process.{name}" for name in ("cpu_seconds", "rss", "workers")}
        assert told_always <= sender.names
        return {name for name in sender.names if name.startswith("streaming.process.")} - told_always

    assert sent() == set()
    running = False
    gauges = {one.full_name("streaming") for one in OURS[1:4]}
    assert gauges <= sent()
    running = True
    assert not gauges & sent()


_RUNTIME = """
import asyncio
import streaming_dd as dd
from streaming_dd import recorder

async def main():
    recorder.get().serve()

dd.configure(log_stdout=False, dogstatsd_url="udp://127.0.0.1:9")
asyncio.run(main())
print(recorder.get().insight.process.stats()["runtime_metrics"])
"""


@pytest.mark.process
@pytest.mark.parametrize(("asked", "answer"), [("true", "ddtrace"), ("false", "streaming_dd")])
def test_ddtraces_runtime_metrics_run_where_they_are_asked_for(asked: str, answer: str) -> None:
    """DD_RUNTIME_METRICS_ENABLED switches ddtrace's own on, also without ddtrace-run, and ours off."""
    environment = {**os.environ, "DD_RUNTIME_METRICS_ENABLED": asked, "DD_TRACE_ENABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-c", _RUNTIME], env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == [answer], done.stderr


# --- the last hour --------------------------------------------------------------------------------------------


def history() -> LoadHistory:
    found = recorder.get()
    return LoadHistory(found.tasks, found.traffic)


def test_the_load_of_a_window_adds_up(captured: Any, burn: Any) -> None:
    """What the tasks of the window took, how many ran at once, and what the process used for it."""
    own = history()
    own.job(0.0)
    burnt: list[float] = []

    @timers.task("reports.export")
    async def export() -> None:
        burnt.append(burn(0.02))
        await asyncio.sleep(0.05)

    async def main() -> None:
        tasks = [asyncio.create_task(export()) for _ in range(3)]
        await asyncio.sleep(0.001)
        own.job(10.0)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    own.job(20.0)
    found = own.stats()
    assert found["window_seconds"] == 20
    sums = found["sums"]
    assert sums["started"] == sums["ended"] == 3
    assert found["started_per_second"] == 0.15
    assert found["duration_mean_seconds"] >= 0.05
    assert found["duration_p95_seconds"] >= 0.05
    assert 0.019 <= found["cpu_seconds_per_task"] <= sum(burnt) / 3 + 0.04
    assert sums["cpu_seconds"] >= 0.06
    assert sums["active_peak"] == 3
    assert sums["active_seconds"] == 30  # three were seen at 10.0, for ten seconds
    assert found["cores"] >= 1
    assert found["rss_bytes"] > 0


def test_minutes_are_kept_for_an_hour(captured: Any) -> None:
    """The window slides: what was more than an hour ago is forgotten."""
    own = history()
    for second in range(0, 2 * 3600, 2):
        own.job(float(second))
    found = own.stats()
    assert 3540 <= found["window_seconds"] <= 3660
    assert len(own._minutes) == load.MINUTES


def test_the_busiest_minute_is_told_apart_from_the_mean(captured: Any) -> None:
    """Servers are needed for the busiest minute, not for the mean of an hour."""
    own = history()
    kind = recorder.get().tasks.kind("reports", "export")
    own.job(0.0)
    for second in range(1, 601):
        kind.started.total += 10 if 300 <= second < 361 else 1
        own.job(float(second))
    found = own.stats()
    assert found["busiest_minute_started_per_second"] > 8
    assert found["started_per_second"] == pytest.approx(1.9, abs=0.1)


def test_starts_are_told_by_minutes_of_the_wall_clock(captured: Any) -> None:
    """Minutes that are the same for every worker, an hour of them and the one that goes on."""
    found = recorder.get()
    kind = found.tasks.kind("reports", "export")
    clock = [30.0]
    own = LoadHistory(found.tasks, found.traffic, wall=lambda: clock[0])
    own.job(0.0)
    for second in range(1, 4001):
        kind.started.total += 2
        clock[0] += 1
        own.job(float(second))
    told = own.stats()["started_by_minute"]
    assert len(told) == load.MINUTES + 1
    assert told[0][0] % 60 == 0
    assert [later[0] - earlier[0] for earlier, later in itertools.pairwise(told)] == [60.0] * load.MINUTES
    assert {count for _, count in told[1:-1]} == {120}
    own.after_fork()
    assert own.stats()["started_by_minute"] == []


def test_a_clock_that_jumps_is_no_load(captured: Any) -> None:
    """A process that stood still for an hour, or a clock that jumped, adds nothing to the observed time."""
    own = history()
    for now in (0.0, 1.0, 4000.0, 4001.0, 100.0, 101.0):
        own.job(now)
    assert own.stats()["window_seconds"] == 3


def test_minutes_add_up_over_workers() -> None:
    """Sums are added, peaks are not: two workers' peaks need not have been at once."""
    total = Minute(seconds=60, started=5, active_peak=3, rss_peak=100)
    total.add(Minute(seconds=60, started=7, active_peak=2, rss_peak=300))
    assert (total.seconds, total.started, total.active_peak, total.rss_peak) == (120, 12, 3, 300)


def test_what_the_system_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc the process is measured by what there is."""

    def missing(*args: Any, **options: Any) -> Any:
        raise OSError("no such folder")

    monkeypatch.setattr(os, "listdir", missing)
    assert process.open_files() is None
    monkeypatch.setattr("builtins.open", missing)
    assert process.rss() > 0
    assert load.memory_size() is None or load.memory_size() > 0
    assert load.usable_cores() >= 1


# --- memory per task ------------------------------------------------------------------------------------------


def test_memory_counts_to_the_task_that_allocates_it(run: Any, capture: Any, uncollected: None) -> None:
    """Opt-in: what a task's steps allocate and keep is its own, and its peak, though others allocate meanwhile."""
    with capture(task_memory=True) as captured:
        kept: list[bytearray] = []

        @timers.task("reports.hungry")
        async def hungry() -> None:
            for _ in range(4):
                kept.append(bytearray(1_000_000))
                await asyncio.sleep(0)
            kept.pop()
            bytearray(3_000_000)

        @timers.task("reports.modest")
        async def modest() -> None:
            for _ in range(20):
                bytearray(1000)
                await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(hungry(), modest())

        run(main())
        (peak,) = captured.metrics.assert_values(catalog.TASK_MEMORY, 1, model="hungry")
        assert 6_000_000 <= peak < 6_200_000
        (small,) = captured.metrics.assert_values(catalog.TASK_MEMORY, 1, model="modest")
        assert small < 100_000
        lines = {line["task.model"]: line for line in captured.logs.find(fields={"task.status": "completed"})}
        assert lines["hungry"]["task.memory_peak"] == peak
        assert 3_000_000 <= lines["hungry"]["task.memory_left"] < 3_100_000
    assert not tracemalloc.is_tracing()


def test_memory_of_a_task_within_a_task_is_the_outer_ones_peak_too(capture: Any, uncollected: None) -> None:
    """What an awaited task holds is held while the outer one runs: both peaks show it."""
    with capture(task_memory=True) as captured:

        @timers.task("reports.render")
        async def render() -> None:
            await asyncio.sleep(0)
            bytearray(2_000_000)

        @timers.task("reports.export")
        async def export() -> None:
            first = bytearray(1_000_000)
            await render()
            del first

        asyncio.run(export())
        (outer,) = captured.metrics.assert_values(catalog.TASK_MEMORY, 1, model="export")
        (inner,) = captured.metrics.assert_values(catalog.TASK_MEMORY, 1, model="render")
        assert inner == pytest.approx(2_000_000, rel=0.05)
        assert outer == pytest.approx(3_000_000, rel=0.05)


def test_memory_is_not_measured_unless_asked_for(captured: Any) -> None:
    """By default tracemalloc stays off, and a task's memory is not guessed."""

    @timers.task("reports.export")
    async def export() -> None:
        await asyncio.sleep(0)

    asyncio.run(export())
    assert not tracemalloc.is_tracing()
    assert captured.metrics.values(catalog.TASK_MEMORY) == []
    assert "task.memory_peak" not in captured.logs.one(fields={"task.status": "completed"})


def test_a_tracemalloc_of_the_users_own_is_left_running(capture: Any) -> None:
    """Who traces memory already goes on doing so after us."""
    tracemalloc.start()
    try:
        with capture(task_memory=True):
            pass
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
