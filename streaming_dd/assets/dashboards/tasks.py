"""Tasks: by app and model, what runs, how it ends, how long it takes. No state."""

from __future__ import annotations

from ... import catalog as c
from .. import widgets as w
from ..options import Options
from ..queries import for_dashboards
from .common import BYTES, LOG_FIELDS, MILLISECONDS, PER_SECOND, PERCENT, SPAN_FIELDS, share, variables

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
        _slowest(options),
    )


def _now(options: Options) -> w.Placed:
    q = for_dashboards(options)
    ended = {"failed": q.count(c.TASKS_FAILED), "completed": q.count(c.TASKS_COMPLETED)}
    return w.group(
        "Now",
        w.value("Active", {"active": q.gauge(c.TASKS_ACTIVE)}, "active", aggregator="last", precision=0),
        w.value("Peak", {"peak": q.gauge(c.TASKS_PEAK)}, "peak", aggregator="max", precision=0),
        w.value("Stalled", {"s": q.gauge(c.TASKS_STALLED)}, "s", aggregator="last", precision=0, alert=0),
        w.value("Started", {"started": q.rate(c.TASKS_STARTED)}, "started", number_format=PER_SECOND["task"]),
        w.value("Failed", ended, share("failed", "completed"), aggregator="sum", number_format=PERCENT),
        w.value(
            "Clients of the most watched",
            {"n": q.gauge(c.TASK_CLIENTS, "max")},
            "n",
            aggregator="max",
            precision=0,
        ),
    )


def _outcomes(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    rates = {"failed": q.count(c.TASKS_FAILED, KINDS), "completed": q.count(c.TASKS_COMPLETED, KINDS)}
    return w.group(
        "Rates and outcomes",
        w.timeseries("Started by model", {"started": q.count(c.TASKS_STARTED, KINDS)}, display="bars"),
        w.timeseries("Completed by model", {"completed": q.count(c.TASKS_COMPLETED, KINDS)}, display="bars"),
        w.timeseries("Failed by error", {"failed": q.count(c.TASKS_FAILED, ("error_type",))}, display="bars"),
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
        w.timeseries("Cancelled by model", {"cancelled": q.count(c.TASKS_CANCELLED, KINDS)}, display="bars"),
        w.timeseries("Active by model", {"active": q.gauge(c.TASKS_ACTIVE, by=KINDS)}, display="area"),
    )


def _time(options: Options) -> w.Placed:
    q = for_dashboards(options)
    duration = {name: q.timer(c.TASK_DURATION, name, outcome="!cancelled") for name in ("p50", "p95", "max")}
    charts = [
        w.timeseries("Duration", duration, number_format=MILLISECONDS),
        w.timeseries(
            "p95 duration by model",
            {"p95": q.timer(c.TASK_DURATION, "p95", KINDS)},
            number_format=MILLISECONDS,
        ),
        w.timeseries(
            "p95 queue time by model",
            {"p95": q.timer(c.TASK_QUEUE_TIME, "p95", KINDS)},
            number_format=MILLISECONDS,
        ),
        w.timeseries(
            "CPU time of a task by model",
            {"mean": q.timer(c.TASK_CPU_TIME, "avg", KINDS)},
            number_format=MILLISECONDS,
        ),
        w.timeseries(
            "Longest step without await by model",
            {"max": q.timer(c.TASK_LONGEST_STEP, "max", KINDS)},
            number_format=MILLISECONDS,
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
    return w.group(
        "Progress",
        w.timeseries("Events by type", {"events": q.count(c.TASK_EVENTS, ("event_type",))}, display="bars"),
        w.timeseries(
            "p95 time to the first event by model",
            {"p95": q.timer(c.TASK_FIRST_EVENT, "p95", KINDS)},
            number_format=MILLISECONDS,
        ),
        w.timeseries(
            "Longest gap between events by model",
            {"max": q.timer(c.TASK_EVENT_GAP, "max", KINDS)},
            number_format=MILLISECONDS,
        ),
        w.timeseries(
            "Longest silence between events by model",
            {"max": q.timer(c.TASK_EVENT_GAP, "max", KINDS)},
            number_format=MILLISECONDS,
        ),
        w.timeseries(
            "Stalls by reason",
            {"stalls": q.count(c.TASKS_STALLS, ("model", "reason"))},
            display="bars",
            size=(12, 3),
        ),
    )


def _slowest(options: Options) -> w.Placed:
    q = for_dashboards(options)
    return w.group(
        "Slowest and failed",
        w.table(
            "Kinds of task",
            [
                ("p95 duration", q.timer(c.TASK_DURATION, "p95", KINDS), "avg", MILLISECONDS),
                ("longest", q.timer(c.TASK_DURATION, "max", KINDS), "max", MILLISECONDS),
                ("p95 in the queue", q.timer(c.TASK_QUEUE_TIME, "p95", KINDS), "avg", MILLISECONDS),
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
