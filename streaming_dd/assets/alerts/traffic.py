"""Monitors on requests. No state."""

from __future__ import annotations

from collections.abc import Mapping

from ... import catalog as c
from .row import APP, ROUTE, Alert, share, slow

ALERTS: Mapping[str, Alert] = {
    "request-error-rate": Alert(
        title="Requests end in errors too often",
        area="requests",
        dashboard="Streaming overview",
        priority=2,
        query=share(
            lambda q: q.count(c.HTTP_ERRORS, APP),
            lambda q: q.count(c.HTTP_REQUESTS, APP),
            "request-error-rate.minimum",
        ),
        unit="%",
        missing="default",
        about="Tells that requests end by an exception or a 5xx status too often, over ten minutes; clients that "
        "leave do not count.",
        means="With {request-error-rate.minimum} successes added to the requests to {{service.name}} in the last 10 "
        "minutes, those that ended by an exception or a 5xx status make up {value}. Clients that left do not count; the "
        "share without the addition is in the chart *Request error rate*.",
        first=(
            "Open *Streaming overview*, list *Request errors by route*: one route or all?",
            "All routes: look at the health checks (database, cache) and at the last deployment.",
            "One route: open its failed traces in *Streaming: APM*.",
        ),
    ),
    "time-to-first-byte": Alert(
        title="Clients wait too long for the first byte",
        area="requests",
        dashboard="Streaming overview",
        priority=3,
        query=lambda q, options: slow(q.timer(c.HTTP_TIME_TO_FIRST_BYTE, "p95", ROUTE), "10m"),
        unit="ms",
        # No requests is no slowness: resolve. A gone app is the business of `no-data`.
        missing="resolve",
        about="Tracks the 95th percentile of the time to the first byte of each route: for a stream that is its "
        "latency, its length does not enter.",
        means="The 95th percentile of the time to the first byte of `{{route.name}}` is {value} over 10 minutes. "
        "For a stream this is its latency; its length does not enter.",
        first=(
            "Open *Streaming: capacity*, chart *Lag*: a held event loop slows every route at once.",
            "Open slow traces of the route: where does the time go before the first byte?",
            "Compare requests per second with an hour ago: load or code?",
        ),
        traces='resource_name:"*{{route.name}}"',
    ),
}
