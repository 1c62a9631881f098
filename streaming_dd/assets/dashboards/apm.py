"""APM: the trace metrics that the Agent makes of our spans, with the traces and logs behind them. No state."""

from __future__ import annotations

from ...catalog import SSE_REQUEST, TASK_RUN, TASK_SUBMIT, WS_REQUEST, SpanOperation
from ..options import Options
from ..queries import UNIVERSAL, Queries
from . import widgets as w
from .common import LOG_FIELDS, PERCENT, SECONDS, SPAN_FIELDS, variables

RESOURCE = ("resource_name",)
#: Bars are stacked, and errors are hits too: what is drawn on top of each other must not be counted twice.
PARTS = (
    w.Line("hits - default_zero(errors)", "without error"),
    w.Line("default_zero(errors)", "errors", "warm"),
)


def build(options: Options) -> w.Json:
    """Return the dashboard."""
    return w.dashboard(
        "Streaming: APM",
        "Requests, streams and task runs as APM sees them: hits, errors, latency, traces and their logs.",
        variables(options),
        _operation(options, "Task runs", TASK_RUN),
        _operation(options, "Streams", SSE_REQUEST),
        _operation(options, "Requests", options.request_operation),
        _others(options),
        _traces(options),
    )


def _operation(options: Options, title: str, operation: SpanOperation | str) -> w.Placed:
    q = Queries(options, UNIVERSAL)
    hits, errors = q.hits(operation), q.errors(operation)
    latency = {name: q.latency(operation, name) for name in ("p50", "p95", "max")}
    rate = {"errors": errors, "hits": hits}
    return w.group(
        title,
        w.timeseries("Hits, with and without errors", rate, PARTS, display="bars", size=(3, 3)),
        w.timeseries(
            "Error rate",
            rate,
            [w.Line("default_zero(errors) / hits * 100", "errors")],
            number_format=PERCENT,
            size=(3, 3),
        ),
        w.timeseries("Latency", latency, number_format=SECONDS, size=(3, 3)),
        w.toplist(
            "Slowest resources",
            {"p95": q.latency(operation, "p95", RESOURCE)},
            "p95",
            number_format=SECONDS,
            size=(3, 3),
        ),
    )


def _others(options: Options) -> w.Placed:
    q = Queries(options, UNIVERSAL)
    return w.group(
        "Submissions and WebSockets",
        w.timeseries("Tasks submitted", {"hits": q.hits(TASK_SUBMIT, RESOURCE)}, display="bars", size=(6, 3)),
        w.timeseries(
            "WebSockets",
            {"hits": q.hits(WS_REQUEST), "errors": q.errors(WS_REQUEST)},
            PARTS,
            display="bars",
            size=(6, 3),
        ),
    )


def _traces(options: Options) -> w.Placed:
    operations = " OR ".join((TASK_RUN.name, SSE_REQUEST.name, options.request_operation))
    return w.group(
        "Traces and logs behind them",
        w.stream(
            "Failed spans",
            "trace_stream",
            f"operation_name:({operations}) status:error $env $service $version",
            SPAN_FIELDS,
            size=(6, 5),
        ),
        w.stream(
            "Log lines of failed traces",
            "logs_stream",
            "status:error @dd.trace_id:* $env $service $version",
            LOG_FIELDS,
            size=(6, 5),
        ),
    )
