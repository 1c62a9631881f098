"""Capacity: how many servers do we need? By the tasks at once, the CPU and the memory that were used. No state."""

from __future__ import annotations

from ... import catalog as c
from ..options import Options
from ..queries import Queries, for_dashboards
from . import widgets as w
from .common import (
    BYTES,
    MILLISECONDS,
    PER_SECOND,
    PERCENT,
    SECONDS,
    above_zero,
    statistics,
    variables,
)


def build(options: Options) -> w.Json:
    """Return the dashboard."""
    return w.dashboard(
        "Streaming: capacity",
        "How many servers do we need? Tasks per second, duration, concurrency, CPU and memory per task.",
        variables(options, "app", "model"),
        _servers(options),
        _load(options),
        _loop(options),
        _process(options),
        _telemetry(options),
    )


def _ended(q: Queries) -> dict[str, str]:
    """Return the tasks that ended, by outcome: what task-seconds and CPU seconds are divided by."""
    outcomes = {"completed": c.TASKS_COMPLETED, "failed": c.TASKS_FAILED, "cancelled": c.TASKS_CANCELLED}
    return {name: q.count(metric) for name, metric in outcomes.items()}


#: One task of them; more than nothing, so that an idle system is no division by zero.
ENDED = "(completed + default_zero(failed) + default_zero(cancelled))"


def _servers(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    cores, memory, target = (limit(f"capacity.{name}") for name in ("cores", "memory", "utilisation"))
    took = {"seconds": q.count(c.TASKS_SECONDS), **_ended(q)}
    text = (
        f"Servers needed at the mean load of the range, each with {cores:g} cores and {memory:g} GiB used to {target:g} %. "
        "The greater of the two numbers binds; add one to lose one, and room for the busiest minute. "
        "`streaming-dd capacity` works all of that out."
    )
    return w.group(
        "Servers needed",
        w.note(text),
        w.value("Tasks arriving", {"n": q.rate(c.TASKS_STARTED)}, "n", number_format=PER_SECOND["task"]),
        w.value(
            "A task takes, queue included",
            took,
            f"seconds / {ENDED}",
            aggregator="sum",
            number_format=SECONDS,
        ),
        w.value("Tasks at once, mean", {"n": q.rate(c.TASKS_SECONDS)}, "n"),
        w.value(
            "Tasks at once, highest sample",
            {"n": q.gauge(c.TASKS_ACTIVE)},
            "n",
            aggregator="max",
            precision=0,
        ),
        w.value(
            "Servers, by CPU",
            {"cpu": q.rate(c.PROCESS_CPU_SECONDS)},
            f"cpu / {cores * target / 100:g}",
            precision=2,
        ),
        w.value(
            "Servers, by memory",
            {"rss": q.gauge(c.PROCESS_RSS)},
            f"rss / {memory * target / 100 * 2**30:g}",
            precision=2,
        ),
    )


def _load(options: Options) -> w.Placed:
    q = for_dashboards(options)
    concurrency = {
        "mean": q.rate(c.TASKS_SECONDS),
        "active": q.gauge(c.TASKS_ACTIVE),
        "peak": q.gauge(c.TASKS_WORKER_PEAK, "max"),
    }
    lines = [
        w.Line("mean", "mean"),
        w.Line("active", "as sampled"),
        w.Line("peak", "highest peak of a worker", "grey"),
    ]
    cpu = {"cpu": q.count(c.PROCESS_CPU_SECONDS), **_ended(q)}
    rss = {"rss": q.gauge(c.PROCESS_RSS), "active": q.gauge(c.TASKS_ACTIVE)}
    per_task = [w.Line("rss / clamp_min(active, 1)", "bytes a task")]
    return w.group(
        "Load and what a task costs",
        w.timeseries(
            "Tasks per second",
            {"tasks": q.rate(c.TASKS_STARTED)},
            number_format=PER_SECOND["task"],
            size=(3, 3),
        ),
        w.timeseries("Tasks at once", concurrency, lines, size=(3, 3)),
        w.timeseries(
            "CPU of all that the workers did, by tasks ended",
            cpu,
            [w.Line(f"cpu / {ENDED}", "CPU seconds a task")],
            number_format=SECONDS,
            size=(3, 3),
        ),
        w.timeseries("Memory per active task (upper bound)", rss, per_task, number_format=BYTES, size=(3, 3)),
    )


def _loop(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    lag, lines = statistics(q, c.LOOP_LAG)
    return w.group(
        "Event loop",
        w.timeseries(
            "Lag",
            lag,
            lines,
            number_format=MILLISECONDS,
            markers=[(str(limit("loop-lag.critical")), "error"), (str(limit("loop-lag.warning")), "warning")],
        ),
        w.timeseries("Blocked", {"blocked": q.count(c.LOOP_BLOCKED)}, display="bars"),
        w.toplist("Blocked by", {"blocked": q.count(c.LOOP_BLOCKED, ("location",))}, above_zero("blocked")),
    )


def _process(options: Options) -> w.Placed:
    q = for_dashboards(options)
    by_worker = [
        ("CPU by worker", "cpu", c.PROCESS_CPU, PERCENT),
        ("Memory by worker", "rss", c.PROCESS_RSS, BYTES),
        ("Threads by worker", "threads", c.PROCESS_THREADS, None),
        ("Open files by worker", "files", c.PROCESS_OPEN_FILES, None),
    ]
    requests = {"in_flight": q.gauge(c.HTTP_ACTIVE), "workers": q.gauge(c.PROCESS_WORKERS)}
    duration = {"p95": q.timer(c.HTTP_DURATION, "p95", ("route",))}
    sent = {"bytes": q.rate(c.HTTP_RESPONSE_BYTES)}
    after, after_lines = statistics(q, c.HTTP_BACKGROUND)
    return w.group(
        "Processes",
        *(
            w.timeseries(title, {name: q.gauge(metric, by=("host", "worker"))}, number_format=number_format)
            for title, name, metric, number_format in by_worker
        ),
        w.timeseries(
            "Garbage collections by generation",
            {"runs": q.count(c.PROCESS_GC, ("generation",))},
            display="bars",
        ),
        w.timeseries("Requests in flight, and workers", requests),
        w.timeseries(
            "Work after the last byte of a response",
            after,
            after_lines,
            number_format=MILLISECONDS,
            size=(12, 3),
        ),
        w.timeseries(
            f"{q.called(c.HTTP_DURATION, 'p95')} request duration by route, streams excluded",
            duration,
            number_format=MILLISECONDS,
            size=(6, 3),
        ),
        w.timeseries(
            "Bytes of response bodies, streams included", sent, number_format=PER_SECOND["byte"], size=(6, 3)
        ),
    )


def _telemetry(options: Options) -> w.Placed:
    q = for_dashboards(options)
    dropped = {
        "samples": q.count(c.TELEMETRY_DROPPED, ("reason",)),
        "logs": q.count(c.TELEMETRY_LOGS_DROPPED, ("reason",)),
    }
    flush, lines = statistics(q, c.TELEMETRY_FLUSH_TIME, ("p95", "max"))
    return w.group(
        "What measuring costs",
        w.timeseries("Dropped", dropped, display="bars", size=(3, 3)),
        w.timeseries(
            "Bytes sent", {"bytes": q.rate(c.TELEMETRY_BYTES)}, number_format=PER_SECOND["byte"], size=(3, 3)
        ),
        w.timeseries("Datagrams sent", {"datagrams": q.rate(c.TELEMETRY_DATAGRAMS)}, size=(3, 3)),
        w.timeseries("Time of a flush", flush, lines, number_format=MILLISECONDS, size=(3, 3)),
    )
