"""Capacity: how many servers do we need? By Little's law and the CPU and memory of a task. No state."""

from __future__ import annotations

from ... import catalog as c
from .. import widgets as w
from ..options import Options
from ..queries import for_dashboards
from .common import BYTES, MILLISECONDS, PER_SECOND, PERCENT, SECONDS, variables


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


def _servers(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    cores, memory, target = (limit(f"capacity.{name}") for name in ("cores", "memory", "utilisation"))
    arriving = {"arriving": q.rate(c.TASKS_STARTED)}
    little = {"rate": q.rate(c.TASKS_STARTED), "took": q.timer(c.TASK_DURATION, "avg")}
    cpu = {"rate": q.rate(c.TASKS_STARTED), "cpu": q.timer(c.TASK_CPU_TIME, "avg")}
    rss = {"rss": q.gauge(c.PROCESS_RSS)}
    took = {"took": q.timer(c.TASK_DURATION, "avg")}
    text = (
        f"Servers needed, each with {cores:g} cores and {memory:g} GiB used to {target:g} %. "
        "By Little's law, tasks in progress = tasks per second × seconds per task; compare it with the measured "
        "concurrency. "
        "The greater of the two numbers of servers binds; add one to lose one."
    )
    return w.group(
        "Servers needed",
        w.note(text),
        w.value("Tasks arriving", arriving, "arriving", number_format=PER_SECOND["task"]),
        w.value("A task takes", took, "took / 1000", number_format=SECONDS),
        w.value("In progress, by Little's law", little, "rate * took / 1000"),
        w.value("In progress, measured", {"active": q.gauge(c.TASKS_ACTIVE)}, "active"),
        w.value("Servers, by CPU", cpu, f"rate * cpu / 1000 / {cores * target / 100:g}", precision=2),
        w.value("Servers, by memory", rss, f"rss / {memory * target / 100 * 2**30:g}", precision=2),
    )


def _load(options: Options) -> w.Placed:
    q = for_dashboards(options)
    concurrency = {
        "rate": q.rate(c.TASKS_STARTED),
        "took": q.timer(c.TASK_DURATION, "avg"),
        "active": q.gauge(c.TASKS_ACTIVE),
        "peak": q.gauge(c.TASKS_PEAK),
    }
    lines = [
        w.Line("active", "measured"),
        w.Line("peak", "peak"),
        w.Line("rate * took / 1000", "Little's law", "grey"),
    ]
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
        w.timeseries("Concurrency", concurrency, lines, size=(3, 3)),
        w.timeseries(
            "CPU time of a task",
            {"mean": q.timer(c.TASK_CPU_TIME, "avg")},
            number_format=MILLISECONDS,
            size=(3, 3),
        ),
        w.timeseries("Memory per active task (upper bound)", rss, per_task, number_format=BYTES, size=(3, 3)),
    )


def _loop(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    lag = {name: q.timer(c.LOOP_LAG, name) for name in ("p50", "p95", "max")}
    return w.group(
        "Event loop",
        w.timeseries(
            "Lag",
            lag,
            number_format=MILLISECONDS,
            markers=[(str(limit("loop-lag.critical")), "error"), (str(limit("loop-lag.warning")), "warning")],
        ),
        w.timeseries("Blocked", {"blocked": q.count(c.LOOP_BLOCKED)}, display="bars"),
        w.toplist("Blocked by", {"blocked": q.count(c.LOOP_BLOCKED, ("location",))}, "blocked"),
    )


def _process(options: Options) -> w.Placed:
    q = for_dashboards(options)
    by = ("worker",)
    requests = {"in_flight": q.gauge(c.HTTP_ACTIVE)}
    duration = {"p95": q.timer(c.HTTP_DURATION, "p95", ("route",))}
    sent = {"bytes": q.rate(c.HTTP_RESPONSE_BYTES)}
    return w.group(
        "Processes",
        w.timeseries("CPU by worker", {"cpu": q.gauge(c.PROCESS_CPU, by=by)}, number_format=PERCENT),
        w.timeseries("Memory by worker", {"rss": q.gauge(c.PROCESS_RSS, by=by)}, number_format=BYTES),
        w.timeseries("Threads by worker", {"threads": q.gauge(c.PROCESS_THREADS, by=by)}),
        w.timeseries("Open files by worker", {"files": q.gauge(c.PROCESS_OPEN_FILES, by=by)}),
        w.timeseries(
            "Garbage collections by generation",
            {"runs": q.count(c.PROCESS_GC, ("generation",))},
            display="bars",
        ),
        w.timeseries("Requests in flight", requests),
        w.timeseries(
            "p95 request duration by route, streams excluded",
            duration,
            number_format=MILLISECONDS,
            size=(6, 3),
        ),
        w.timeseries("Response bytes, streams excluded", sent, number_format=PER_SECOND["byte"], size=(6, 3)),
    )


def _telemetry(options: Options) -> w.Placed:
    q = for_dashboards(options)
    dropped = {
        "samples": q.count(c.TELEMETRY_DROPPED, ("reason",)),
        "logs": q.count(c.TELEMETRY_LOGS_DROPPED, ("reason",)),
    }
    flush = {"p95": q.timer(c.TELEMETRY_FLUSH_TIME, "p95"), "max": q.timer(c.TELEMETRY_FLUSH_TIME, "max")}
    return w.group(
        "What measuring costs",
        w.timeseries("Dropped", dropped, display="bars", size=(3, 3)),
        w.timeseries(
            "Bytes sent", {"bytes": q.rate(c.TELEMETRY_BYTES)}, number_format=PER_SECOND["byte"], size=(3, 3)
        ),
        w.timeseries("Datagrams sent", {"datagrams": q.rate(c.TELEMETRY_DATAGRAMS)}, size=(3, 3)),
        w.timeseries("Time of a flush", flush, number_format=MILLISECONDS, size=(3, 3)),
    )
