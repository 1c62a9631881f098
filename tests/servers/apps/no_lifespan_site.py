"""An application that knows no lifespan, as Django's does not, and refuses it."""

from __future__ import annotations

from wild_site import app as site
from wild_site import coordinator

import streaming_dd as dd


async def web_only(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(f"This site can only handle HTTP connections, not {scope['type']}.")
    await site(scope, receive, send)


app = dd.instrument(
    web_only, coordinator=coordinator, route_patterns=["/stream/{app}/{model}/{id}", "/hello"]
)
