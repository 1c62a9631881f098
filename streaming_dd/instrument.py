"""`instrument()`: everything in one line, for an ASGI application and its coordinator. No state."""

from __future__ import annotations

from typing import Any

from . import timers
from .endpoints import Endpoints
from .endpoints.access import permission_of
from .middleware import App, DatadogMiddleware
from .recorder import configure


def instrument(app: App, *, coordinator: Any = None, **settings: Any) -> Endpoints | DatadogMiddleware:
    """Return `app` wrapped in the middleware and the endpoints, with `coordinator`'s tasks instrumented.

    `settings` are those of `configure()`, by the names of Config's fields. Raises ConfigError or InstrumentError
    for what cannot work; after that, nothing here ever fails a request.
    """
    recorder = configure(**settings)
    if coordinator is not None and recorder.enabled:
        timers.instrument(coordinator)
    config = recorder.config
    permission_of(config)
    if not config.endpoints_enabled:
        return DatadogMiddleware(app)
    if config.endpoints_recorded:
        return DatadogMiddleware(Endpoints(app, coordinator=coordinator))
    return Endpoints(DatadogMiddleware(app), coordinator=coordinator)
