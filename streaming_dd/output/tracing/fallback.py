"""Whether a span may take the direct path, or something of ddtrace would be skipped by it. No state.

Asked when tracing starts and in every round of the recorder's thread, so what is switched on later counts, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .private import Names


def why_full(names: Names, ours: Sequence[Any]) -> str:
    """Return why spans must be started and finished by ddtrace itself, or "" where nothing would be skipped.

    `ours` are this package's trace filters, which the direct path answers for.
    """
    tracer, aggregator, config = names.tracer, names.aggregator, names.config
    if not tracer.enabled or "start_span" in vars(tracer):
        return "tracing is off"
    if type(tracer.context_provider) is not names.provider_type:
        return "another context provider"
    if names.processors or any(
        type(item) is not names.top_level and item is not names.endpoint_counter
        for item in tracer._span_processors
    ):
        return "span processors (AppSec, a debugger, LLM Observability, the user's own)"
    if names.endpoint_counter._enabled:
        return "the profiler counts endpoints"
    if any(names.core.has_listeners(event) for event in ("trace.span_start", "trace.span_finish")):
        return "a product listens to spans (the profiler, LLM Observability)"
    if config.service_mapping:
        return "service mapping"
    for name in ("_llmobs_enabled", "_otel_trace_semantics_enabled"):
        if getattr(config, name, False):
            return name.strip("_").replace("_", " ")
    return _why_aggregator(names, aggregator, ours) or _why_sampling(names) or _why_writer(names)


def _why_aggregator(names: Names, aggregator: Any, ours: Sequence[Any]) -> str:
    if type(aggregator) is not names.aggregator_type:
        return "another span aggregator"
    if any(item not in ours for item in aggregator.user_processors):
        return "trace filters of the user"
    if {type(item) for item in aggregator.dd_processors} != names.plain_processors:
        return "trace processors"
    if type(getattr(aggregator, "llmobs_processor", None)).__name__ not in (
        "NoneType",
        "_NoopTraceProcessor",
    ):
        return "LLM Observability"
    return ""


def _why_sampling(names: Names) -> str:
    sampling = names.aggregator.sampling_processor
    sampler = sampling.sampler
    if type(sampling) is not names.sampling_type or type(sampler) is not names.sampler_type:
        return "another sampler"
    if sampler.rules or sampling.single_span_rules:
        return "sampling rules"
    if sampler._rate_limit_always_on or sampling.apm_opt_out:
        return "APM tracing is opted out of"
    return ""


def _why_writer(names: Names) -> str:
    writer = names.writer
    if type(writer) is not names.writer_type:
        return "another writer"
    if writer._otlp_endpoint is not None:
        return "OTLP export"
    if writer._sync_mode:
        return "a function that must send at once"
    return ""
