"""A raw application for HTTP/2: a page, one with hints and trailers where they are offered, an upload, streams."""

from __future__ import annotations

import asyncio

import streaming_dd as dd

UPLOADS = dd.Metric("site.uploads", "count", help="Uploads that have begun.")


async def site(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    path, offered = scope["path"], scope.get("extensions") or {}
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if path == "/upload" and not size:
            dd.increment(UPLOADS)
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if path == "/rich":
        assert {"http.response.trailers", "http.response.early_hint", "http.response.push"} <= offered.keys()
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    events = path.startswith("/events")
    kind = [(b"content-type", b"text/event-stream" if events else b"text/plain")]
    start = {"type": "http.response.start", "status": 200, "headers": kind}
    await send({**start, "trailers": True} if path == "/rich" else start)
    if events:
        for number in range(5 if path == "/events" else 10**6):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await asyncio.sleep(0.02)
    await send({"type": "http.response.body", "body": str(size).encode()})
    if path == "/rich":
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})


app = dd.DatadogMiddleware(site, route_patterns=["/page", "/rich", "/upload", "/events", "/events/endless"])
