"""The door to ddtrace: request, stream and task spans; capture, link, correlate.

`Tracing` (spans.py) is what the wings use. A plain span takes the direct path (direct.py), any other ddtrace's own
(fallback.py says which); ddtrace's private names stand in private.py alone. ddtrace's tracer is one object per
process, and so is the reference to it that is kept in tracer.py once tracing was started.
"""

from .capture import borrowed, captured
from .direct import Description
from .integrations import dropped_spans, integration_is_inside
from .outlet import weakly
from .propagation import remote
from .runtime import known_variables, runtime_metrics_run, start_profiler, start_runtime_metrics
from .signals import only_ends_process, uncover_server_handlers
from .span_tags import (
    ERROR_TAGS,
    clear_error,
    describe_error,
    format_ids,
    format_trace_id,
    link,
    set_error,
)
from .spans import Tracing
from .tracer import complete_when_sent, correlation, otlp_address, start

__all__ = [
    "ERROR_TAGS",
    "Description",
    "Tracing",
    "borrowed",
    "captured",
    "clear_error",
    "complete_when_sent",
    "correlation",
    "describe_error",
    "dropped_spans",
    "format_ids",
    "format_trace_id",
    "integration_is_inside",
    "known_variables",
    "link",
    "only_ends_process",
    "otlp_address",
    "remote",
    "runtime_metrics_run",
    "set_error",
    "start",
    "start_profiler",
    "start_runtime_metrics",
    "uncover_server_handlers",
    "weakly",
]
