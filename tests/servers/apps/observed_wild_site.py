"""The raw ASGI application, observed: one line around it."""

from __future__ import annotations

from wild_site import app as site
from wild_site import coordinator

import streaming_dd as dd

app = dd.instrument(site, coordinator=coordinator, route_patterns=["/stream/{app}/{model}/{id}", "/hello"])
