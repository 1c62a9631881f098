"""Spans of one process: requests, streams and tasks, started, linked and finished with their true outcome.

Spans are never held active across a yield, a task's span is a root of its own (linked to what submitted it), and
cancelling or disconnecting is no error. docs/decisions/0003 has the measurements behind this. State: in each `Tracing`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ...catalog import HTTP_REQUEST, SSE_REQUEST, TASK_RUN, TASK_SUBMIT, SpanOperation
from ...config import Config
from ..notices import say
from . import integrations
from .direct import Describe, DirectPath, describe_onto
from .export import Export
from .outlet import answers
from .private import discard, finish_after, has_sampling_rules
from .propagation import caller, remote
from .span_tags import link, set_error
from .tracer import completion, otlp_address, outlet, start

_COMPONENT: Final = "streaming_dd"


def _request_tags(method: str) -> dict[str, str]:
    return {"span.kind": "server", "component": _COMPONENT, "http.method": method}


def _other_tags(method: str) -> dict[str, str]:
    return {"span.kind": "server", "component": _COMPONENT}


class Tracing:
    """Spans of one process. With tracing off (by us or by DD_TRACE_ENABLED) every method does nothing."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._tracer: Any = start(config) if config.enabled and config.tracing_enabled else None
        self._direct: Any = None
        #: Whether the user's rules decide on sampling: a span should then say early what they look at.
        self.sampled_by_rules = False
        if self._tracer is not None:
            self._direct = DirectPath(self._tracer, outlet, (completion, outlet))
            self._export = Export(self._tracer, outlet)
            self.sampled_by_rules = has_sampling_rules(self._tracer)

    @property
    def enabled(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    @property
    def full_path_because(self) -> str:
        """Why spans are started and finished by ddtrace itself, at a higher cost; "" while they need not."""
        return self._direct.reason if self._direct is not None else "tracing is off"

    # --- requests and streams -------------------------------------------------------------------------------

    def start_request(
        self, method: str, headers: Iterable[tuple[bytes, bytes]], operation: SpanOperation = HTTP_REQUEST
    ) -> Any:
        """Start and activate the span of a request, as a child of the caller's trace if the headers name one.

        Its resource is the method until it ends.
        """
        parent = caller(headers)
        tags = _request_tags if operation is HTTP_REQUEST else _other_tags
        if parent is None:
            active = self._tracer.context_provider.active()
            span = self._direct.start_request(operation.name, method, tags, active)
            if span is not None:
                return span
        return self._start_by_ddtrace(operation, parent, method, tags)

    def begin_request(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> tuple[Any, Any]:
        """Start an HTTP request's span as `start_request` does; return it, and what was active before."""
        before = self._tracer.context_provider.active()
        parent = caller(headers)
        if parent is None:
            span = self._direct.start_request(HTTP_REQUEST.name, method, _request_tags, before)
            if span is not None:
                return span, before
        return self._start_by_ddtrace(HTTP_REQUEST, parent, method, _request_tags), before

    def _start_by_ddtrace(
        self, operation: SpanOperation, parent: Any, method: str, tags: Callable[[str], dict[str, str]]
    ) -> Any:
        span = self._tracer.start_span(
            operation.name, child_of=parent, resource=method, span_type="web", activate=True
        )
        span.set_tags(tags(method))
        return span

    def active(self) -> Any:
        """Return what is active (a span, a remote context or None), to be given to `activate` later."""
        return self._tracer.context_provider.active() if self._tracer is not None else None

    def activate(self, context: Any) -> None:
        """Make `context` (as `active` returned it) the active one again."""
        if self._tracer is not None:
            self._tracer.context_provider.activate(context)

    span_of_integration = staticmethod(integrations.span_of_integration)

    @staticmethod
    def rename_to_stream(span: Any) -> None:
        """Make a request's span that of a stream: its lifetime must not count as a request's latency."""
        span.name = SSE_REQUEST.name

    # --- tasks ----------------------------------------------------------------------------------------------

    def start_task(
        self,
        resource: str,
        tags: Mapping[str, str],
        parent: Any,
        attributes: Mapping[str, str],
        trace_id: int | None = None,
    ) -> Any:
        """Start the span of a task, not yet active: a new root linked to `parent`, or its child if so configured.

        With `trace_id` it is a root of that trace, which was named before it began.
        """
        child = self.config.task_trace == "child"
        said = {"span.kind": "consumer", "component": _COMPONENT, **tags, "_dd.measured": 1}
        named = remote(trace_id, None) if trace_id is not None and not child else None
        span = None if child or named else self._direct.start(TASK_RUN.name, resource, "worker", said)
        if span is None:
            span = self._tracer.start_span(
                TASK_RUN.name, child_of=parent if child else named, resource=resource, span_type="worker"
            )
            describe_onto(span, (None, False, said))
        if parent is not None and not child:
            link(span, parent, attributes)
        return span

    def submit_task(self, resource: str, tags: Mapping[str, str]) -> Any:
        """Start the short span by which a request submits a task, or return None outside of a trace."""
        tracer = self._tracer
        parent = tracer.context_provider.active()
        if parent is None:
            return None
        span = tracer.start_span(TASK_SUBMIT.name, child_of=parent, resource=resource, span_type="worker")
        span.set_tags({"span.kind": "producer", "component": _COMPONENT, **tags})
        return span

    # --- the end --------------------------------------------------------------------------------------------

    def finish(self, span: Any, seconds: float, describe: Describe, *arguments: Any) -> None:
        """End a span after `seconds` of the monotonic clock, whatever the wall clock did meanwhile.

        `describe(*arguments)` returns what is said of it: resource (None leaves it), whether it is an error, tags
        (texts and numbers) in a new dictionary. It is called later, by the recorder's thread, on the direct path, so
        it should be given what is known now. A span that somebody finished before is left alone.
        """
        if span.duration_ns is not None:
            return
        nanoseconds = int(seconds * 1e9) if seconds > 0 else 0
        if not self._direct.finish(span, nanoseconds, describe, arguments):
            describe_onto(span, describe(*arguments))
            finish_after(span, nanoseconds)

    def past(
        self,
        operation: SpanOperation,
        resource: str,
        parent: Any,
        seconds: float,
        error: BaseException | None,
    ) -> None:
        """Make the span of what has just ended and took `seconds`, as a child of `parent`, which may have ended."""
        span = self._tracer.start_span(operation.name, child_of=parent, resource=resource, span_type="worker")
        span.start_ns -= int(seconds * 1e9)
        describe_onto(span, (None, False, {"span.kind": "internal", "component": _COMPONENT}))
        if error is not None:
            set_error(span, error)
        finish_after(span, int(seconds * 1e9))

    def settle(self) -> int:
        """Send the spans that have ended; called by the recorder's thread. Returns how many lost their tags."""
        direct = self._direct
        if direct is None:
            return 0
        direct.settle()
        self._export.attach()
        self.sampled_by_rules = has_sampling_rules(self._tracer)
        faults, direct.faults = direct.faults, 0
        return int(faults)

    def after_fork(self) -> None:
        """Forget in a forked child the spans of the parent."""
        if self._direct is not None:
            self._direct.after_fork()
            self._export.after_fork()

    def flush(self, timeout: float = 2.0) -> None:
        """Send what has finished; an Agent that takes connections and never answers is left after `timeout` seconds."""
        if self._tracer is None:
            return
        self._direct.stop()
        if not self._tracer.enabled or not self.agent_answers():
            return
        thread = threading.Thread(target=self._tracer.flush, name="streaming-dd-spans", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down: stop() follows, and is bounded by itself
            return
        thread.join(timeout)

    @property
    def address(self) -> str:
        """Where spans go, as a URL: the Agent, or an OTLP receiver; "" where none are made."""
        return otlp_address() or self._tracer.agent_trace_url or "" if self._tracer is not None else ""

    def agent_answers(self, timeout: float = 0.25) -> bool:
        """Return whether something listens where the spans go."""
        return answers(self.address, timeout)

    def look_for_agent(self, now: float) -> int:
        """Look now and then whether the Agent is there; return how many traces were dropped since, for want of one."""
        if self._tracer is None:
            return 0
        outlet.look(now, self.address)
        dropped, outlet.dropped = outlet.dropped, 0
        return dropped

    def agent_is_there(self) -> bool:
        """Return whether the last look found the Agent."""
        return self._tracer is not None and not outlet.agent_is_absent

    def refused(self) -> int:
        """Return how many traces were lost since the last call because the Agent did not take them."""
        if self._tracer is None:
            return 0
        refused, self._export.refused = self._export.refused, 0
        return refused

    def stop(self, timeout: float) -> None:
        """Send what has finished and shut the tracer down, at once if no Agent listens."""
        if self._tracer is None:
            return
        self._direct.stop()
        if not self._tracer.enabled:
            return
        self._export.end(timeout * 0.75)  # the rest is for what ddtrace does when it was told
        if self.agent_answers():
            self._tracer.shutdown(timeout=timeout)
            self._export.lose()
            return
        if not outlet.agent_is_absent:  # else it was said
            say("traces", f"no Agent takes traces at {self.address}; spans are lost.")
        self._export.lose(discard(self._tracer))
        self._tracer.shutdown(timeout=0)
