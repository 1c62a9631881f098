"""The door to ddtrace: request, stream and task spans; capture, link, correlate.

ddtrace's tracer is one object per process, and so is the reference to it that is kept here once tracing was
started. Spans are never held active across a yield, a task's span is a root of its own (linked to what submitted
it), and cancelling or disconnecting is no error. docs/decisions/0003 has the measurements behind this.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

from .catalog import HTTP_REQUEST, SSE_REQUEST, TASK_RUN, TASK_SUBMIT, SpanOperation
from .config import Config
from .notices import say
from .span_outlet import Completion, Outlet, answers

#: Headers that carry a trace context in one of ddtrace's propagation styles.
_PROPAGATION_HEADERS: Final = frozenset({b"traceparent", b"x-datadog-trace-id", b"b3", b"x-b3-traceid"})
_NO_IDS: Final = ("0", "0")
_STACK_LIMIT: Final = 20_000
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
#: Sampling priority of a trace that the Agent is to drop.
_USER_REJECT: Final = -1

#: ddtrace's tracer, once imported by `start()`.
_tracer: Any = None
#: What a finished trace passes before and after the user's own filters.
_completion: Final = Completion()
_outlet: Final = Outlet()


def correlation() -> tuple[str, str]:
    """Return (trace id, span id) of the active span as log lines carry them, or ("0", "0")."""
    tracer = _tracer
    if tracer is None:
        module = sys.modules.get("ddtrace.trace")
        tracer = getattr(module, "tracer", None)  # the user's own, while our tracing is off
        if tracer is None:
            return _NO_IDS
    active = tracer.context_provider.active()
    if active is None or not active.trace_id or not tracer.enabled:
        return _NO_IDS
    return format_ids(active)


def format_ids(span: Any) -> tuple[str, str]:
    """Return a span's ids in Datadog's log format."""
    return format_trace_id(span.trace_id), str(span.span_id)


def format_trace_id(trace_id: int) -> str:
    """Return 32 hex digits, or a 64-bit id in decimal digits."""
    return f"{trace_id:032x}" if trace_id >> 64 else str(trace_id)


class Tracing:
    """Spans of one process. With tracing off (by us or by DD_TRACE_ENABLED) every method does nothing."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._tracer: Any = start(config) if config.enabled and config.tracing_enabled else None

    @property
    def enabled(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    # --- requests and streams -------------------------------------------------------------------------------

    def start_request(
        self, resource: str, headers: Iterable[tuple[bytes, bytes]], operation: SpanOperation = HTTP_REQUEST
    ) -> Any:
        """Start and activate the span of a request, as a child of the caller's trace if the headers name one."""
        tracer = self._tracer
        parent = None
        for name, _ in headers:
            if name in _PROPAGATION_HEADERS:
                parent = _extract(headers)
                break
        return tracer.start_span(
            operation.name, child_of=parent, resource=resource, span_type="web", activate=True
        )

    def active(self) -> Any:
        """Return what is active (a span, a remote context or None), to be given to `activate` later."""
        return self._tracer.context_provider.active() if self._tracer is not None else None

    def activate(self, context: Any) -> None:
        """Make `context` (as `active` returned it) the active one again."""
        if self._tracer is not None:
            self._tracer.context_provider.activate(context)

    @staticmethod
    def span_of_integration(scope: Mapping[str, Any]) -> Any:
        """Return the span that ddtrace's own ASGI integration made for this request, if it made one."""
        spans = scope["datadog"].get("request_spans") if "datadog" in scope else None
        return spans[0] if spans else None

    @staticmethod
    def rename_to_stream(span: Any) -> None:
        """Make a request's span that of a stream: its lifetime must not count as a request's latency."""
        span.name = SSE_REQUEST.name

    # --- tasks ----------------------------------------------------------------------------------------------

    def start_task(
        self, resource: str, tags: Mapping[str, str], parent: Any, attributes: Mapping[str, str]
    ) -> Any:
        """Start the span of a task, not yet active: a new root linked to `parent`, or its child if so configured."""
        child = self.config.task_trace == "child"
        span = self._tracer.start_span(
            TASK_RUN.name, child_of=parent if child else None, resource=resource, span_type="worker"
        )
        span.set_tag("span.kind", "consumer")
        span.set_tag("component", "streaming_dd")
        for key, value in tags.items():
            span.set_tag(key, value)
        span.set_metric("_dd.measured", 1)
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
        span.set_tag("span.kind", "producer")
        span.set_tag("component", "streaming_dd")
        for key, value in tags.items():
            span.set_tag(key, value)
        return span

    # --- the end --------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 2.0) -> None:
        """Send what has finished; an Agent that takes connections and never answers is left after `timeout` seconds."""
        if self._tracer is None or not self._tracer.enabled or not self.agent_answers():
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
        _outlet.look(now, self.address)
        dropped, _outlet.dropped = _outlet.dropped, 0
        return dropped

    def stop(self, timeout: float) -> None:
        """Send what has finished and shut the tracer down, at once if no Agent listens."""
        if self._tracer is None or not self._tracer.enabled:
            return
        if self.agent_answers():
            self._tracer.shutdown(timeout=timeout)
            return
        if not _outlet.agent_is_absent:  # else it was said
            say("traces", f"no Agent takes traces at {self.address}; spans are lost.")
        _discard(self._tracer)
        self._tracer.shutdown(timeout=0)


def link(span: Any, target: Any, attributes: Mapping[str, str]) -> None:
    """Link `span` to `target` (a span or a context of ddtrace)."""
    if target.trace_id and target.span_id:
        span.set_link(target.trace_id, target.span_id, attributes=dict(attributes))


def set_error(span: Any, error: BaseException) -> None:
    """Mark a span failed, with the three fields that Error Tracking reads."""
    kind, message, stack = describe_error(error)
    span.error = 1
    span.set_tag("error.type", kind)
    span.set_tag("error.message", message)
    span.set_tag("error.stack", stack)


def clear_error(span: Any) -> None:
    """Take back what made a span an error."""
    span.error = 0
    for key in ("error.type", "error.message", "error.stack"):
        span.remove_tag(key)


def complete_when_sent(span: Any, complete: Callable[[Any], None]) -> None:
    """Have `complete` called with a span of ddtrace's own when it is on its way out; see `Completion.add`."""
    if _tracer is not None and _put_filters(_tracer):
        _completion.add(span, complete)


def describe_error(error: BaseException) -> tuple[str, str, str]:
    """Return an exception's qualified type, message and stack (causes included); never raises."""
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__")
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error
        message = "<its __str__ raised>"
    try:
        stack = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - the same for a broken __repr__ in the chain
        stack = "".join(traceback.format_tb(error.__traceback__)) + f"{name}: {message}"
    return name, message[:5000], stack[-_STACK_LIMIT:]


def _extract(headers: Iterable[tuple[bytes, bytes]]) -> Any:
    from ddtrace.propagation import http

    propagator: Any = http.HTTPPropagator
    context = propagator.extract({name.decode("latin-1"): value.decode("latin-1") for name, value in headers})
    return context if context.trace_id else None


def start(config: Config) -> Any:
    """Import ddtrace, give it our settings, and return its tracer; None if ddtrace itself is disabled."""
    global _tracer
    tracer = _import_tracer(config)
    _configure(tracer, config)
    if not tracer.enabled:
        return None
    _join_opentelemetry()
    _outlet.forget()
    _put_filters(tracer)
    _tracer = tracer
    return tracer


def _import_tracer(config: Config) -> Any:
    """Import ddtrace without losing the signal handlers of a running server.

    ddtrace puts its handlers over those that it finds; under uvicorn, which imports the application inside its
    running loop, that would shut the tracer down at the signal, before the graceful shutdown's spans end.
    """
    if config.trace_agent_url and "ddtrace" not in sys.modules:
        os.environ.setdefault("DD_TRACE_AGENT_URL", config.trace_agent_url)
    with _handlers_kept():
        from ddtrace.trace import tracer
    return tracer


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Put signal handlers back over those that ddtrace installs inside the block; see docs/decisions/0010."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    for number, handler in before.items():
        found = signal.getsignal(number)
        if main and found is not handler and handler is not None:
            signal.signal(number, handler)


def _configure(tracer: Any, config: Config) -> None:
    """Hand ddtrace what was set by arguments or in Django settings: it reads only the environment itself."""
    import ddtrace

    settings = cast("Any", ddtrace.config)
    changed = False
    for name in ("service", "env", "version"):
        value = getattr(config, name)
        if value and getattr(settings, name, None) != value:
            setattr(settings, name, value)
            changed = True
    url = config.trace_agent_url or (f"http://{config.agent_host}:8126" if config.agent_host else "")
    given = config.origins.get("trace_agent_url" if config.trace_agent_url else "agent_host", "default")
    if url and given in ("argument", "Django settings") and tracer.agent_trace_url != url:
        tracer._agent_url = url
        changed = True
    if changed:
        _renew_exporter(tracer)


def _renew_exporter(tracer: Any) -> None:
    """Have ddtrace's exporter know what was changed: it keeps the address and the names it was made with."""
    enabled = tracer.enabled
    tracer.configure(trace_processors=_processors(tracer) or [])  # the public call that makes a new one
    tracer.enabled = enabled  # configure() switches on what DD_TRACE_ENABLED had switched off


def _processors(tracer: Any) -> list[Any] | None:
    """Return ddtrace's list of the user's trace filters; None in a ddtrace that keeps it elsewhere."""
    found = getattr(getattr(tracer, "_span_aggregator", None), "user_processors", None)
    return found if isinstance(found, list) else None


def _put_filters(tracer: Any) -> bool:
    """Put our filters around those of the user, unless they are there; False in a ddtrace that keeps them elsewhere."""
    processors = _processors(tracer)
    if processors is None:
        return False
    if _completion not in processors:
        processors.insert(0, _completion)
    if _outlet not in processors:
        processors.append(_outlet)
    return True


def _discard(tracer: Any) -> None:
    """Throw away what ddtrace has queued: at the end of the process it would try for seconds to send it."""
    writer = getattr(getattr(tracer, "_span_aggregator", None), "writer", None)
    for client in getattr(writer, "_clients", ()):
        client.encoder.encode()


def _join_opentelemetry() -> None:
    """Have OpenTelemetry's API make ddtrace's spans if DD_TRACE_OTEL_ENABLED says so: only ddtrace-run does it itself."""
    if os.environ.get("DD_TRACE_OTEL_ENABLED", "").strip().lower() not in ("true", "1"):
        return
    from opentelemetry import trace

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # nobody has set one yet
        from ddtrace.opentelemetry import TracerProvider

        trace.set_tracer_provider(TracerProvider())
    context = getattr(sys.modules["opentelemetry.context"], "_RUNTIME_CONTEXT", None)
    if not type(context).__module__.startswith("ddtrace."):
        say(
            "opentelemetry",
            "OpenTelemetry was imported before ddtrace, so its spans are not children of ours: set "
            "OTEL_PYTHON_CONTEXT=ddcontextvars_context in the environment as well.",
        )


def otlp_address(environ: Mapping[str, str] = os.environ) -> str:
    """Return where ddtrace sends spans by OTLP; "" where it sends them to the Agent. It reads the environment only."""
    if environ.get("OTEL_TRACES_EXPORTER", "").lower() != "otlp" or environ.get(
        "DD_TRACE_AGENT_PROTOCOL_VERSION"
    ):
        return ""
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/") or "http://localhost:4318"
    return environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or f"{base}/v1/traces"


def uncover_server_handlers() -> None:
    """Take ddtrace's signal handlers off a server's: they would shut the tracer down before its last spans end.

    For a ddtrace that was imported by somebody else inside the server's loop. Called at lifespan start-up, in
    the main thread; what ddtrace's handlers would have done is done at the end of the lifespan.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        under = _under_ddtrace(handler)
        if under is not handler and callable(under):
            signal.signal(number, under)


def only_ends_process(handler: Any) -> bool:
    """Return whether a signal's handler is ddtrace's, with nothing under it but the end of the process."""
    return handler is not signal.SIG_DFL and _under_ddtrace(handler) is signal.SIG_DFL


def _under_ddtrace(handler: Any) -> Any:
    """Return what lies under ddtrace's signal handlers (the tracer and its exporter have one each), or `handler`."""
    while getattr(handler, "__module__", "") == "ddtrace.internal.utils.signals":
        code = getattr(handler, "__code__", None)
        cells = dict(zip(code.co_freevars, handler.__closure__ or (), strict=False)) if code else {}
        handler = cells["old_signal"].cell_contents if "old_signal" in cells else signal.SIG_DFL
    return handler


@contextmanager
def dropped_spans(name: str) -> Iterator[None]:
    """Have the spans that ddtrace's integrations make in the block dropped: they are a probe's own queries.

    They belong to a trace of a priority by which the Agent drops it. Its root is never finished and known to nobody
    else, so without queries nothing is sent. (A context without a span would do so for the first query only:
    ddtrace forgets it when that one ends.)
    """
    module = sys.modules.get("ddtrace.trace")
    if module is None or not module.tracer.enabled:
        yield
        return
    provider = module.tracer.context_provider
    before = provider.active()
    root = module.Span(name)
    root.context.sampling_priority = _USER_REJECT
    provider.activate(root)
    try:
        yield
    finally:
        provider.activate(before)


def runtime_metrics_run() -> bool:
    """Return whether ddtrace's runtime metrics (memory, CPU, threads, collections) are sent by this process."""
    module = sys.modules.get("ddtrace.internal.runtime.runtime_metrics")
    return module is not None and bool(module.RuntimeWorker.enabled)


def start_runtime_metrics(config: Config) -> None:
    """Start ddtrace's runtime metrics if DD_RUNTIME_METRICS_ENABLED asks for them: only ddtrace-run does so itself."""
    if os.environ.get("DD_RUNTIME_METRICS_ENABLED", "").strip().lower() in ("true", "1"):
        from ddtrace.runtime import RuntimeMetrics

        with _handlers_kept():
            RuntimeMetrics.enable(dogstatsd_url=config.dogstatsd_address())


def start_profiler(config: Config) -> Any:
    """Start Datadog's continuous profiler, tied to the spans, and return it; None where one runs already.

    Says why where it cannot run. The caller stops it: its signal handlers would end it before the last spans do.
    """
    _import_tracer(config)
    from ddtrace import profiling as module

    profiling = cast("Any", module)
    if not profiling.is_available:
        say("profiler", f"Datadog's profiler cannot run here ({profiling.failure_msg}); nothing is profiled.")
        return None
    running = getattr(profiling.Profiler, "_active_instance", None)
    if running is not None:  # ddtrace-run, or the application, has started it
        return None
    with _handlers_kept():
        profiler = profiling.Profiler(
            service=config.service or None, env=config.env or None, version=config.version or None
        )
        profiler.start()
    return profiler


def integration_is_inside(app: Any) -> bool:
    """Return whether ddtrace's own ASGI middleware is among the layers of `app`: then it makes the request's span."""
    module = sys.modules.get("ddtrace.contrib.internal.asgi.middleware")
    if module is None:
        return False
    middleware = module.TraceMiddleware
    for _ in range(50):
        if isinstance(app, middleware):
            return True
        if any(getattr(item, "cls", None) is middleware for item in getattr(app, "user_middleware", ())):
            return True
        inner = next(
            (getattr(app, name) for name in ("app", "application", "_app") if hasattr(app, name)), None
        )
        if inner is None or inner is app:
            return False
        app = inner
    return False


@contextmanager
def captured(take: Callable[[Sequence[Any]], None]) -> Iterator[None]:
    """Give finished spans to `take`, a trace (or a part of it) at a time, instead of sending them; for tests.

    Inside the block spans are made also where DD_TRACE_ENABLED is false.
    """
    with borrowed() as tracer:
        if not _put_filters(tracer):
            tracer.configure(trace_processors=[_outlet])
        _outlet.taken_by.append(take)
        try:
            yield
        finally:
            _outlet.taken_by.remove(take)


@contextmanager
def borrowed() -> Iterator[Any]:
    """Switch ddtrace's tracer on inside the block, and put its address and names back afterwards; for tests."""
    import ddtrace

    tracer = _import_tracer(Config())
    settings = cast("Any", ddtrace.config)
    names = {name: getattr(settings, name, None) for name in ("service", "env", "version")}
    address, enabled, tracer.enabled = tracer.agent_trace_url, tracer.enabled, True
    try:
        yield tracer
    finally:
        tracer.enabled = enabled
        changed = [name for name in names if getattr(settings, name, None) != names[name]]
        for name in changed:
            setattr(settings, name, names[name])
        if address and tracer.agent_trace_url != address:
            tracer._agent_url = address
            changed.append("address")
        if changed:
            _renew_exporter(tracer)
