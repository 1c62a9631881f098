"""ddtrace's runtime metrics and continuous profiler, started where the settings ask for them. State: in ddtrace."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, cast

from ...config import Config
from ..notices import say
from .signals import handlers_kept
from .tracer import import_tracer


def runtime_metrics_run() -> bool:
    """Return whether ddtrace's runtime metrics (memory, CPU, threads, collections) are sent by this process."""
    module = sys.modules.get("ddtrace.internal.runtime.runtime_metrics")
    return module is not None and bool(module.RuntimeWorker.enabled)


def start_runtime_metrics(config: Config) -> None:
    """Start ddtrace's runtime metrics if DD_RUNTIME_METRICS_ENABLED asks for them: only ddtrace-run does so itself."""
    if os.environ.get("DD_RUNTIME_METRICS_ENABLED", "").strip().lower() in ("true", "1"):
        from ddtrace.runtime import RuntimeMetrics

        with handlers_kept():
            RuntimeMetrics.enable(dogstatsd_url=config.dogstatsd_address())


def start_profiler(config: Config) -> Any:
    """Start Datadog's continuous profiler, tied to the spans, and return it; None where one runs already.

    Says why where it cannot run. The caller stops it: its signal handlers would end it before the last spans do.
    """
    import_tracer(config)
    from ddtrace import profiling as module

    profiling = cast("Any", module)
    if not profiling.is_available:
        say("profiler", f"Datadog's profiler cannot run here ({profiling.failure_msg}); nothing is profiled.")
        return None
    running = getattr(profiling.Profiler, "_active_instance", None)
    if running is not None:  # ddtrace-run, or the application, has started it
        return None
    with handlers_kept():
        profiler = profiling.Profiler(
            service=config.service or None, env=config.env or None, version=config.version or None
        )
        profiler.start()
    return profiler


def known_variables() -> frozenset[str]:
    """Return the names of the environment variables that this ddtrace reads; empty where it keeps no list of them."""
    try:
        module = import_module("ddtrace.internal.settings._supported_configurations")
        aliases = {alias for names in module.CONFIGURATION_ALIASES.values() for alias in names}
        return frozenset(module.SUPPORTED_CONFIGURATIONS) | aliases
    except Exception:  # noqa: BLE001 - ddtrace is built otherwise, or raises over a variable: `start` says which
        return frozenset()
