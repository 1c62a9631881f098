"""An application that configures its observation in its own start-up, when the server runs already."""

from __future__ import annotations

import contextlib

from starlette_site import app as site
from starlette_site import coordinator, lifespan

import streaming_dd as dd


@contextlib.asynccontextmanager
async def configured(app):
    dd.configure(tags=["team:late"])
    async with lifespan(app):
        yield


site.router.lifespan_context = configured
dd.timers.instrument(coordinator)
app = dd.DatadogMiddleware(site)
