"""Tasks: by app and model, what runs, how it ends, how long it takes. No state."""

from __future__ import annotations

from ... import catalog as c
from ..options import Options
from ..queries import Queries, for_dashboards
from . import widgets as w
from .common import (
    BYTES,
    LOG_FIELDS,
    MILLISECONDS,
    PER_SECOND,
    PERCENT,
    SPAN_FIELDS,
    share,
    statistics,
    variables,
)

KINDS = ("app", "model")


def build(options: Options) -> w.Json:
    """Return the dashboard."""
    return w.dashboard(
        "Streaming: tasks",
        "Long asyncio tasks by app and model: rates, outcomes, durations, queue time, CPU, stalls.",
        variables(options, "app", "model"),
        _now(options),
        _outcomes(options),
        _time(options),
        _progress(options),
        _queues(options),
        _slowest(options),
    )


def _now(options: Options) -> w.Placed:
    q = for_dashboards(options)
    ended = {"failed": q.count(c.TASKS_FAILED), "completed": q.count(c.TASKS_COMPLETED)}
    levels = [
        ("Active", q.gauge(c.TASKS_ACTIVE), "last", None),
        ("Highest peak of a worker", q.gauge(c.TASKS_WORKER_PEAK, "max"), "max", None),
        ("Stalled", q.gauge(c.TASKS_STALLED), "last", 0),
        ("Clients of the most watched", q.gauge(c.TASK_CLIENTS, "max"), "max", None),
    ]
    return w.group(
        "Now",
        *(
            w.value(title, {"n": query}, "n", aggregator=aggregator, precision=0, alert=alert)
            for title, query, aggregator, alert in levels
        ),
        w.value("Started", {"started": q.rate(c.TASKS_STARTED)}, "started", number_format=PER_SECOND["task"]),
        w.value("Failed", ended, share("failed", "completed"), aggregator="sum", number_format=PERCENT),
    )


def _outcomes(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    rates = {"failed": q.count(c.TASKS_FAILED, KINDS), "completed": q.count(c.TASKS_COMPLETED, KINDS)}
    bars = [
        ("Started by model", "started", q.count(c.TASKS_STARTED, KINDS)),
        ("Completed by model", "completed", q.count(c.TASKS_COMPLETED, KINDS)),
        ("Failed by error", "failed", q.count(c.TASKS_FAILED, ("error_type",))),
        ("Cancelled by model", "cancelled", q.count(c.TASKS_CANCELLED, KINDS)),
        ("Lost with a killed worker, by model", "lost", q.count(c.TASKS_LOST, KINDS)),
    ]
    return w.group(
        "Rates and outcomes",
        *(w.timeseries(title, {name: query}, display="bars") for title, name, query in bars),
        w.timeseries(
            "Error rate by model",
            rates,
            [w.Line(share("failed", "completed"), "failed")],
            number_format=PERCENT,
            markers=[
                (str(limit("task-error-rate.critical")), "error"),
                (str(limit("task-error-rate.warning")), "warning"),
            ],
        ),
        w.timeseries(
            "Active by model", {"active": q.gauge(c.TASKS_ACTIVE, by=KINDS)}, display="area", size=(6, 3)
        ),
        w.timeseries(
            "Highest peak of a worker by model", {"peak": q.gauge(c.TASKS_PEAK, "max", KINDS)}, size=(6, 3)
        ),
    )


def _by_model(q: Queries, *charts: tuple[str, c.Metric, str]) -> list[w.Placed]:
    """Chart one statistic of a timer for each kind of task; `charts` are (what it is, metric, statistic)."""
    return [
        w.timeseries(
            f"{q.called(metric, statistic).capitalize() if statistic != 'max' else 'Longest'} {what} by model",
            {statistic: q.timer(metric, statistic, KINDS)},
            number_format=MILLISECONDS,
        )
        for what, metric, statistic in charts
    ]


def _time(options: Options) -> w.Placed:
    q = for_dashboards(options)
    duration, lines = statistics(q, c.TASK_DURATION, outcome="!cancelled")
    charts = [
        w.timeseries("Duration", duration, lines, number_format=MILLISECONDS),
        *_by_model(
            q,
            ("duration", c.TASK_DURATION, "p95"),
            ("queue time", c.TASK_QUEUE_TIME, "p95"),
            ("CPU time of a task", c.TASK_CPU_TIME, "avg"),
            ("step without await", c.TASK_LONGEST_STEP, "max"),
        ),
        w.timeseries(
            "Peak memory of a task (if measured)",
            {"max": q.timer(c.TASK_MEMORY, "max", KINDS)},
            number_format=BYTES,
        ),
    ]
    if q.is_distribution(c.TASK_DURATION):
        spread = q.timer(c.TASK_DURATION, "avg").replace("avg:", "histogram:", 1)
        charts.append(w.distribution("Spread of durations", spread, size=(12, 3)))
    return w.group("Time", *charts)


def _progress(options: Options) -> w.Placed:
    q = for_dashboards(options)
    stalls = {"stalls": q.count(c.TASKS_STALLS, ("model", "reason"))}
    return w.group(
        "Progress",
        w.timeseries("Events by type", {"events": q.count(c.TASK_EVENTS, ("event_type",))}, display="bars"),
        *_by_model(
            q,
            ("time to the first event", c.TASK_FIRST_EVENT, "p95"),
            ("gap between events", c.TASK_EVENT_GAP, "max"),
        ),
        w.timeseries("Stalls by reason", stalls, display="bars", size=(12, 3)),
    )


def _queues(options: Options) -> w.Placed:
    q, queues = for_dashboards(options), ("broker", "queue")
    bars = [
        ("Enqueued by queue", "enqueued", q.count(c.QUEUE_ENQUEUED, queues)),
        ("Ended by queue and outcome", "ended", q.count(c.QUEUE_ENDED, ("queue", "outcome"))),
        ("Retries by queue", "retries", q.count(c.QUEUE_RETRIES, queues)),
    ]
    lines = [
        ("Waiting by queue", "waiting", q.gauge(c.QUEUE_DEPTH, "max", queues)),
        ("Age of the oldest by queue (s)", "age", q.gauge(c.QUEUE_OLDEST, "max", queues)),
        ("Locks that coordinators keep", "locks", q.gauge(c.COORDINATOR_LOCKS)),
        ("Tasks whose object runs twice", "twice", q.gauge(c.TASKS_TWICE)),
    ]
    return w.group(
        "Queues and coordinators",
        *(w.timeseries(title, {name: query}, display="bars") for title, name, query in bars),
        w.timeseries(
            f"{q.called(c.QUEUE_WAIT, 'p95').capitalize()} wait by queue",
            {"wait": q.timer(c.QUEUE_WAIT, "p95", queues)},
            number_format=MILLISECONDS,
        ),
        *(w.timeseries(title, {name: query}) for title, name, query in lines),
    )


def _slowest(options: Options) -> w.Placed:
    q = for_dashboards(options)
    p95 = q.called(c.TASK_DURATION, "p95")
    return w.group(
        "Slowest and failed",
        w.table(
            "Kinds of task",
            [
                (f"{p95} duration", q.timer(c.TASK_DURATION, "p95", KINDS), "max", MILLISECONDS),
                ("longest", q.timer(c.TASK_DURATION, "max", KINDS), "max", MILLISECONDS),
                (f"{p95} in the queue", q.timer(c.TASK_QUEUE_TIME, "p95", KINDS), "max", MILLISECONDS),
                ("completed", q.count(c.TASKS_COMPLETED, KINDS), "sum", None),
                ("failed", q.count(c.TASKS_FAILED, KINDS), "sum", None),
                ("active", q.gauge(c.TASKS_ACTIVE, by=KINDS), "last", None),
            ],
        ),
        w.stream(
            "Slow and failed runs",
            "trace_stream",
            f"operation_name:{c.TASK_RUN.name} (status:error OR @duration:>10s) $env $service",
            SPAN_FIELDS,
            size=(6, 4),
        ),
        w.stream(
            "Log lines of failed tasks",
            "logs_stream",
            "status:error @task.id:* $env $service",
            LOG_FIELDS,
            size=(6, 4),
        ),
    )
