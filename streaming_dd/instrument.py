"""`instrument()`: everything in one line, for an ASGI application and its coordinator. No state."""

from __future__ import annotations

from typing import Any

from . import recorder, timers
from .config import DOORS, Config
from .endpoints import Endpoints
from .endpoints.access import permission_of
from .errors import InstrumentError
from .middleware import App, DatadogMiddleware


def instrument(app: App, *, coordinator: Any = None, **settings: Any) -> Endpoints | DatadogMiddleware:
    """Return `app` wrapped in the middleware and the endpoints, with `coordinator`'s tasks instrumented.

    `settings` are those of `configure()`, by the names of Config's fields. Of several applications in a process each
    keeps its own endpoints' token, permission and prefix, and its own routes; all else is the process'. Raises
    ConfigError or InstrumentError for what cannot work; after that, nothing here ever fails a request.
    """
    if not callable(app):
        raise InstrumentError(f"instrument(app): {app!r} is no ASGI application: pass the application itself")
    config = recorder.configuration(settings)
    enabled = recorder.use(config, leaving=DOORS).enabled
    if coordinator is not None and enabled:
        timers.instrument(coordinator)
    permission_of(config)
    if not config.endpoints_enabled:
        return _middleware(app, config)
    if config.endpoints_recorded:
        return _middleware(Endpoints(app, coordinator=coordinator, given=config), config)
    return Endpoints(_middleware(app, config), coordinator=coordinator, given=config)


def _middleware(app: App, config: Config) -> DatadogMiddleware:
    own = {
        name: getattr(config, name)
        for name in ("exclude_paths", "route_patterns")
        if config.origins.get(name) == "argument"
    }
    return DatadogMiddleware(app, **own)
