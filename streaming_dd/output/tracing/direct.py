"""The direct path of a span: made, tagged in one call and given to ddtrace's writer by us, most of it off the loop.

It is a real span of ddtrace, known to its aggregator, so children, propagation and `tracer.current_span()` are what
they always are. What ddtrace would say of it beside the tags of our own is learned from a span that ddtrace made
itself. A trace of several spans, and whatever is not plain, goes through ddtrace's own processors.
State: the spans that have ended and wait for the recorder's thread, and what was learned. docs/decisions/0120.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from ..failure import shown
from ..notices import say
from .fallback import why_full
from .outlet import Outlet
from .private import Names, finish_after

#: Spans that may wait for the recorder's thread; more are finished in place, by ddtrace's own path.
QUEUE_LIMIT: Final = 5_000
#: Spans that are ended between two moments at which other threads may run.
_BATCH: Final = 64
_ATTRIBUTE_SETS: Final = 100
_COMPONENT: Final = "streaming_dd"

#: What is said of a span when it ends: its resource (None leaves it), whether it is an error, its tags.
Description = tuple[str | None, bool, dict[str, Any]]
Describe = Callable[..., Description]


def describe_onto(span: Any, description: Description) -> None:
    """Write a description on a span by ddtrace's public calls."""
    resource, error, attributes = description
    if resource is not None:
        span.resource = resource
    if error:
        span.error = 1
    for key, value in attributes.items():
        if isinstance(value, str):
            span.set_tag(key, value)
        else:
            span.set_metric(key, value)


class Learned:
    """What ddtrace says of every root span of this process, found by having it make one; and for what that holds."""

    def __init__(self, names: Names) -> None:
        tracer, aggregator = names.tracer, names.aggregator
        self.holds_for = _settings(names)
        self.span_processors = tracer._span_processors
        self.rates = aggregator.sampling_processor.sampler._agent_based_samplers
        span = tracer.start_span("streaming_dd.learn", span_type="web")
        with aggregator._lock:
            aggregator._traces.pop(span.trace_id, None)
        self.service: str | None = span.service
        #: Tags from the start of a span, those at its end, and those of a sampling decision.
        self.start: dict[str, Any] = {**span.get_tags(), **span.get_metrics()}
        self.plain = span.context.sampling_priority is None and span.service == names.config.service
        self.version = self.start.get("version")
        span.set_tag("component", _COMPONENT)
        finish_after(span, 0)
        for item in (*aggregator.dd_processors, aggregator.tags_processor, aggregator.service_name_processor):
            item.process_trace([span])
        own = {"component", "_dd.p.tid"}
        after = {**span.get_tags(), **span.get_metrics()}
        self.end = {key: value for key, value in after.items() if key not in self.start and key not in own}
        sampler = aggregator.sampling_processor.sampler
        self._rate = self.rates.get(sampler._key(span.service, span.get_tag("env")))
        sampler.sample(span)
        span._update_tags_from_context()
        decided = {**span.get_tags(), **span.get_metrics()}
        self._kept = {key: value for key, value in decided.items() if key not in after}
        self._kept["_sampling_priority_v1"] = 1
        self._kept = {**self.end, **self._kept}
        self._rejected = {**self._kept, "_sampling_priority_v1": 0}
        #: (operation, method) -> everything that a request's span says at its start.
        self.requests: dict[tuple[str, str], dict[str, Any]] = {}

    def decision(self, span: Any) -> dict[str, Any]:
        """Return the tags at the end of a new trace, with the decision on it: by the Agent's rate, or to keep it."""
        return self._kept if self._rate is None or self._rate.sample(span) else self._rejected

    def holds(self, names: Names) -> bool:
        """Return whether all that was learned from is as it was."""
        return (
            self.rates is names.aggregator.sampling_processor.sampler._agent_based_samplers
            and self.span_processors is names.tracer._span_processors
            and self.holds_for == _settings(names)
        )


def _settings(names: Names) -> tuple[Any, ...]:
    config = names.config
    return (config.service, config.env, config.version, names.tracer._tags.copy())


class DirectPath:
    """Start and finish plain spans; say with None or False where a span must take ddtrace's own path."""

    def __init__(self, tracer: Any, outlet: Outlet, filters: Sequence[Any]) -> None:
        self._tracer = tracer
        self._outlet = outlet
        self._filters = filters
        self._ended: deque[tuple[Any, bool, Describe, tuple[Any, ...]]] = deque()
        self._learned: Learned | None = None
        #: Why spans take ddtrace's own path; "" while they need not.
        self.reason = "the recorder's thread has not begun"
        #: Spans whose tags could not be told, since they were last counted.
        self.faults = 0
        self._names = names = Names(tracer)
        if names.missing:
            self.reason = f"ddtrace: {names.missing}"
            say("span_path", f"spans take ddtrace's own, slower path: {names.missing}.")
            return
        # What every span asks for.
        self._span_type, self._aggregator, self._processors = (
            names.span_type,
            names.aggregator,
            names.processors,
        )
        self._on_finish = tracer._on_span_finish

    # --- in the application's thread --------------------------------------------------------------------------

    def start(self, name: str, resource: str, span_type: str, tags: Mapping[str, Any]) -> Any:
        """Return a new root span, not active; None where ddtrace must make it."""
        learned = self._learned
        if (
            learned is None
            or self._processors
            or self._tracer._span_processors is not learned.span_processors
            or not self._is_of_this_version(learned, self._tracer.context_provider.active())
        ):
            return None
        return self._make(learned, name, resource, span_type, {**learned.start, **tags})

    def start_request(
        self, name: str, method: str, tags: Callable[[str], Mapping[str, Any]], active: Any
    ) -> Any:
        """Return a new root span of a request, active in place of `active`; None where ddtrace must make it."""
        learned, tracer = self._learned, self._tracer
        if (
            learned is None
            or self._processors
            or tracer._span_processors is not learned.span_processors
            or (active is not None and not self._is_of_this_version(learned, active))
        ):
            return None
        attributes = learned.requests.get((name, method)) or self._of_requests(learned, name, method, tags)
        span = self._make(learned, name, method, "web", attributes)
        tracer.context_provider.activate(span)
        return span

    @staticmethod
    def _of_requests(
        learned: Learned, name: str, method: str, tags: Callable[[str], Mapping[str, Any]]
    ) -> dict[str, Any]:
        attributes = {**learned.start, **tags(method)}
        if len(learned.requests) < _ATTRIBUTE_SETS:
            learned.requests[name, method] = attributes
        return attributes

    def _is_of_this_version(self, learned: Learned, active: Any) -> bool:
        """Whether ddtrace would say of a span that begins beside the active one that it is of this version."""
        if learned.version is None or type(active) is not self._names.span_type:
            return True
        root = active._local_root
        return root.service == learned.service and root.get_tag("version") is not None

    def _make(
        self, learned: Learned, name: str, resource: str, span_type: str, attributes: dict[str, Any]
    ) -> Any:
        span = self._span_type(
            name, learned.service, resource, span_type, None, None, None, None, None, [self._on_finish]
        )
        span._set_attributes(attributes)
        aggregator = self._aggregator
        with aggregator._lock:
            aggregator._traces[span.trace_id].spans.append(span)  # children leave together with it
        return span

    def finish(self, span: Any, nanoseconds: int, describe: Describe, arguments: tuple[Any, ...]) -> bool:
        """End a span and leave the rest to the recorder's thread; False where it must be finished in place."""
        if self._learned is None or len(self._ended) >= QUEUE_LIMIT:
            return False
        aggregator, trace_id = self._aggregator, span.trace_id
        traces = aggregator._traces
        with aggregator._lock:
            trace = traces.pop(trace_id, None)
            if trace is None:
                return False
            alone = len(trace.spans) == 1
            if not alone:  # it waits for the others, unless ddtrace could send it before it is tagged
                traces[trace_id] = trace
                if not trace.spans or len(trace.spans) >= aggregator.partial_flush_min_spans:
                    return False
        span.duration_ns = nanoseconds  # nothing becomes its child from here on
        self._ended.append((span, alone, describe, arguments))
        return True

    # --- in the recorder's thread -----------------------------------------------------------------------------

    def settle(self) -> None:
        """Decide anew which path is right, and send the spans that have ended."""
        self._decide()
        self._send_ended()

    def stop(self) -> None:
        """Send the spans that have ended; what ends from now on is finished in place, until the next `settle`."""
        self._learned = None
        self._send_ended()

    def after_fork(self) -> None:
        """Leave the parent's spans to the parent; ids of the process, and ddtrace's writer, are others from here on."""
        self._ended = deque()
        self._learned = None

    def _decide(self) -> None:
        names = self._names
        if names.missing:
            return
        try:
            if self._outlet.taken_by:
                reason = "a test takes the spans"
            else:
                reason = why_full(names, self._filters)
            learned = self._learned
            if reason:
                learned = None
            elif learned is None or not learned.holds(names):
                learned = Learned(names)
                if not learned.plain:
                    learned, reason = None, "DD_TAGS decide on sampling or service"
        except Exception as error:  # noqa: BLE001 - a ddtrace that is built otherwise
            learned, reason = None, f"ddtrace is built otherwise ({shown(error)})"
            say("span_path", f"spans take ddtrace's own, slower path: {shown(error)}.")
        self._learned, self.reason = learned, reason

    def _send_ended(self) -> None:
        ended = self._ended
        for number in range(1, len(ended) + 1):
            try:
                span, alone, describe, arguments = ended.popleft()
            except IndexError:  # another thread flushes
                return
            try:
                self._send(span, alone, describe, arguments)
            except Exception as error:  # noqa: BLE001 - the other spans must go out
                self.faults += 1
                say("span", f"a span could not be sent: {shown(error)}", exc_info=True)
            if not number % _BATCH:
                time.sleep(0)  # lets the event loop have the interpreter

    def _send(self, span: Any, alone: bool, describe: Describe, arguments: tuple[Any, ...]) -> None:
        try:
            resource, error, attributes = describe(*arguments)
        except Exception:
            self._pass_on(span, alone)  # without its tags: its trace waits for it
            raise
        if resource is not None:
            span.resource = resource
        if error:
            span.error = 1
        learned = self._learned
        if not alone or learned is None or not _is_plain(span, learned):
            span._set_attributes(attributes)
            self._pass_on(span, alone)
            return
        if not self._outlet.admits():
            return
        context = span.context
        attributes.update(learned.end if context.sampling_priority is not None else learned.decision(span))
        upper = span.trace_id >> 64
        if upper:
            attributes["_dd.p.tid"] = _in_hex(upper)
        span._set_attributes(attributes)
        if context._meta or context._metrics:
            span._update_tags_from_context()
        self._names.aggregator.writer.write([span])

    def _pass_on(self, span: Any, alone: bool) -> None:
        """Have ddtrace finish a span that has its length and its tags."""
        if alone:
            aggregator = self._names.aggregator
            with aggregator._lock:
                aggregator._traces[span.trace_id].spans.append(span)
        self._tracer._on_span_finish(span)


@lru_cache(4)
def _in_hex(upper: int) -> str:
    """The upper half of a trace id: of all that begin within a second it is the same."""
    return f"{upper:016x}"


def _is_plain(span: Any, learned: Learned) -> bool:
    """Whether ddtrace's processors would add to a span that is alone in its trace what they add to every such span."""
    return (
        span._parent is None
        and span.service == learned.service
        and len(span._on_finish_callbacks) == 1
        and not span._has_attribute("peer.service")
    )
