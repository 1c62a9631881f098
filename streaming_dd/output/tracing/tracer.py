"""ddtrace's tracer of this process: imported without losing a server's signals, given our settings and our filters.

State: `current`, the tracer once tracing was started, and what a finished trace passes on its way out.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

from ...config import Config
from ..blame import check_address, naming_settings
from ..forks import registrations
from ..notices import say
from ..redaction import mask_value
from .outlet import Completion, Outlet
from .private import user_filters
from .signals import handlers_kept
from .span_tags import format_ids

_NO_IDS: Final = ("0", "0")

#: ddtrace's tracer, once imported by `start()`.
current: Any = None
#: What a finished trace passes before and after the user's own filters.
completion: Final = Completion()
outlet: Final = Outlet()


def correlation() -> tuple[str, str]:
    """Return (trace id, span id) of the active span as log lines carry them, or ("0", "0")."""
    tracer = current
    if tracer is None:
        module = sys.modules.get("ddtrace.trace")
        tracer = getattr(module, "tracer", None)  # the user's own, while our tracing is off
        if tracer is None:
            return _NO_IDS
    active = tracer.context_provider.active()
    if active is None or not active.trace_id or not tracer.enabled:
        return _NO_IDS
    return format_ids(active)


def complete_when_sent(span: Any, complete: Callable[[Any], None]) -> None:
    """Have `complete` called with a span of ddtrace's own when it is on its way out; see `Completion.add`."""
    if current is not None and put_filters(current):
        completion.add(span, complete)


def start(config: Config) -> Any:
    """Import ddtrace, give it our settings, and return its tracer; None if ddtrace itself is disabled.

    Raises ConfigError, naming the setting, where ddtrace cannot be used as the settings and the environment have it.
    """
    global current
    tracer = import_tracer(config)
    with naming_settings(config):
        _configure(tracer, config)
    if not tracer.enabled:
        return None
    if not otlp_address():
        check_address(tracer.agent_trace_url or "", config)
    _mask_tags(tracer)
    _join_opentelemetry()
    outlet.forget()
    put_filters(tracer)
    current = tracer
    return tracer


def import_tracer(config: Config) -> Any:
    """Import ddtrace without losing the signal handlers of a running server.

    ddtrace puts its handlers over those that it finds; under uvicorn, which imports the application inside its
    running loop, that would shut the tracer down at the signal, before the graceful shutdown's spans end.
    """
    if config.trace_agent_url and "ddtrace" not in sys.modules:
        os.environ.setdefault("DD_TRACE_AGENT_URL", config.trace_agent_url)
    if config.complaints and config.agent_host and "ddtrace" not in sys.modules:
        os.environ["DD_AGENT_HOST"] = config.agent_host  # with a port in it ddtrace cannot be imported
    with naming_settings(config), registrations, handlers_kept(), _statsd_url_of_ddtrace():
        from ddtrace.trace import tracer
    return tracer


@contextlib.contextmanager
def _statsd_url_of_ddtrace() -> Iterator[None]:
    """Show ddtrace the address of DogStatsD as it knows it: of Datadog's three schemes for sockets it refuses two."""
    given = os.environ.get("DD_DOGSTATSD_URL", "")
    scheme, separator, path = given.partition("://")
    if not separator or scheme not in ("unixgram", "unixstream"):
        yield
        return
    os.environ["DD_DOGSTATSD_URL"] = f"unix://{path}"
    try:
        yield
    finally:
        os.environ["DD_DOGSTATSD_URL"] = given


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
    url = config.trace_address() if config.trace_agent_url or config.agent_host else ""
    given = config.origins.get("trace_agent_url" if config.trace_agent_url else "agent_host", "default")
    if url and given in ("argument", "Django settings") and tracer.agent_trace_url != url:
        tracer._agent_url = url
        changed = True
    if changed:
        renew_exporter(tracer)


def _mask_tags(tracer: Any) -> None:
    """Mask what DD_TAGS would put on every span: a tag whose key tells of a secret, a secret within a tag."""
    tags: dict[str, Any] = getattr(tracer, "_tags", {})
    told = {key: mask_value(key, value, str(value)) for key, value in tags.items()}
    tracer.set_tags({key: text for key, text in told.items() if text != str(tags[key])})


def renew_exporter(tracer: Any) -> None:
    """Have ddtrace's exporter know what was changed: it keeps the address and the names it was made with."""
    enabled = tracer.enabled
    tracer.configure(trace_processors=user_filters(tracer) or [])  # the public call that makes a new one
    tracer.enabled = enabled  # configure() switches on what DD_TRACE_ENABLED had switched off


def put_filters(tracer: Any) -> bool:
    """Put our filters around those of the user, unless they are there; False in a ddtrace that keeps them elsewhere."""
    processors = user_filters(tracer)
    if processors is None:
        return False
    if completion not in processors:
        processors.insert(0, completion)
    if outlet not in processors:
        processors.append(outlet)
    return True


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
