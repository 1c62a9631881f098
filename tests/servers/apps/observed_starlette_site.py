"""The Starlette application, observed: one line around it."""

from __future__ import annotations

from starlette_site import app as site
from starlette_site import coordinator

import streaming_dd as dd

app = dd.instrument(site, coordinator=coordinator)
