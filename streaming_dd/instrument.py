"""`instrument()`: everything in one line, for an ASGI application and its coordinator. No state."""

from __future__ import annotations

from typing import Any

from . import timers
from .middleware import App, DatadogMiddleware
from .recorder import configure


def instrument(app: App, *, coordinator: Any = None, **settings: Any) -> DatadogMiddleware:
    """Return `app` wrapped in the middleware, with `coordinator`'s tasks instrumented.

    `settings` are those of `configure()`, by the names of Config's fields. Raises ConfigError or InstrumentError
    for what cannot work; after that, nothing here ever fails a request.
    """
    recorder = configure(**settings)
    if coordinator is not None and recorder.enabled:
        timers.instrument(coordinator)
    return DatadogMiddleware(app)
