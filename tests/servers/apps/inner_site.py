"""The Starlette application with our middleware among its own: ddtrace-run puts ddtrace's around it."""

from __future__ import annotations

from starlette_site import app, coordinator

import streaming_dd as dd

dd.timers.instrument(coordinator)
app.add_middleware(dd.DatadogMiddleware)

__all__ = ["app"]
