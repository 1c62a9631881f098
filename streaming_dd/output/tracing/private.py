"""Every private name of ddtrace that spans of ours need, in this one place, looked up when tracing starts.

A ddtrace that lacks one of them makes and finishes every span by its public calls. State: none.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

#: What sends a payload: its bytes, how many traces it has, and ddtrace's client.
Payload = Callable[[bytes, int, Any], None]

#: Object of `Names` -> what is read, called or replaced on it.
_NEEDED: Final = {
    "tracer": ("_span_processors", "_on_span_finish", "_tags", "context_provider"),
    "aggregator": (
        "_lock",
        "_traces",
        "dd_processors",
        "partial_flush_min_spans",
        "sampling_processor",
        "service_name_processor",
        "tags_processor",
        "user_processors",
        "writer",
    ),
    "sampling": ("apm_opt_out", "sampler", "single_span_rules"),
    "sampler": ("_agent_based_samplers", "_rate_limit_always_on", "rules", "sample", "_key"),
    "writer": ("_clients", "_otlp_endpoint", "_sync_mode", "write"),
    "span": (
        "_finish_ns",
        "_has_attribute",
        "_on_finish_callbacks",
        "_parent",
        "_set_attributes",
        "_update_tags_from_context",
        "duration_ns",
        "service",
        "start_ns",
    ),
    "context": ("_meta", "_metrics", "sampling_priority"),
    "config": ("service_mapping",),
    "processors": ("append",),
    "core": ("has_listeners",),
}


class Names:
    """What was found. `missing` names what was not; then nothing else here may be used."""

    def __init__(self, tracer: Any) -> None:
        self.missing = ""
        self.tracer = tracer
        try:
            self.config: Any = import_module("ddtrace").config
            self.core: Any = import_module("ddtrace.internal.core")
            processor = import_module("ddtrace._trace.processor")
            self.processors: list[Any] = processor.SpanProcessor.__processors__
            self.top_level: Any = processor.TopLevelSpanProcessor
            self.aggregator_type: Any = processor.SpanAggregator
            self.sampling_type: Any = processor.TraceSamplingProcessor
            self.sampler_type: Any = processor.DatadogSampler
            self.provider_type: Any = import_module("ddtrace._trace.provider").DefaultContextProvider
            self.writer_type: Any = import_module("ddtrace.internal.writer").NativeWriter
            self.span_type: Any = import_module("ddtrace.trace").Span
            self.aggregator: Any = tracer._span_aggregator
            self.endpoint_counter: Any = tracer._endpoint_call_counter_span_processor
            self.sampling: Any = self.aggregator.sampling_processor
            self.sampler: Any = self.sampling.sampler
            self._check(processor)
        except (AttributeError, ImportError) as error:
            self.missing = str(error)

    def _check(self, processor: Any) -> None:
        span = self.span_type("streaming_dd.check")
        found = {"writer": self.writer, "span": span, "context": span.context, **vars(self)}
        for owner, needed in _NEEDED.items():
            for name in needed:
                if not hasattr(found[owner], name):
                    raise AttributeError(f"{type(found[owner]).__name__} has no {name}")
        #: The trace processors of ddtrace's own that say of a plain span nothing but constants.
        self.plain_processors = {type(item) for item in self.aggregator.dd_processors}
        if {kind.__name__ for kind in self.plain_processors} - {
            "PeerServiceProcessor",
            "BaseServiceProcessor",
        }:
            raise AttributeError("its list of trace processors is not the one known")

    @property
    def writer(self) -> Any:
        """What encodes and sends; replaced when ddtrace is configured anew."""
        return self.aggregator.writer


def user_filters(tracer: Any) -> list[Any] | None:
    """Return ddtrace's list of the user's trace filters; None in a ddtrace that keeps it elsewhere."""
    found = getattr(getattr(tracer, "_span_aggregator", None), "user_processors", None)
    return found if isinstance(found, list) else None


def writer_of(tracer: Any) -> Any:
    """Return what encodes and sends a tracer's spans; None in a ddtrace that keeps it elsewhere."""
    return getattr(getattr(tracer, "_span_aggregator", None), "writer", None)


def stand_before_exporter(writer: Any, standing_before: Callable[[Payload], Payload]) -> None:
    """Have what `standing_before` returns called in place of what sends a payload; nothing in a ddtrace without that."""
    send = getattr(writer, "_send_payload", None)
    if send is not None:
        writer._send_payload = standing_before(send)


def abandon_exporter(writer: Any) -> None:
    """Have ddtrace's end not wait for the lock of a payload that is under way; older ones (4.10) have no such lock."""
    writer._shutdown_exporter = lambda exporter: None


def discard(tracer: Any) -> int:
    """Throw away what ddtrace has queued: at the end of the process it would try for seconds to send it.

    Returns how many traces that were.
    """
    queued = 0
    for client in getattr(writer_of(tracer), "_clients", ()):
        queued += len(client.encoder)
        client.encoder.encode()
    return queued


def has_sampling_rules(tracer: Any) -> bool:
    """Return whether rules of the user decide what is sampled, by what a span says of itself at that moment."""
    sampling = getattr(getattr(tracer, "_span_aggregator", None), "sampling_processor", None)
    return bool(getattr(getattr(sampling, "sampler", None), "rules", None))


def finish_after(span: Any, nanoseconds: int) -> None:
    """Finish a span by ddtrace's own path, with a length that was measured by the monotonic clock."""
    end = span.start_ns + nanoseconds
    finish = getattr(span, "_finish_ns", None)
    if finish is not None:
        finish(end)
    else:
        span.finish(end / 1e9)


def remove_tag(span: Any, key: str) -> None:
    """Take a tag off a span; ddtrace has a public call for it only in its later versions."""
    remove = getattr(span, "remove_tag", None) or span._remove_attribute
    remove(key)
