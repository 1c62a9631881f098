"""A raw application that raises before its response, or in the middle of it."""

from __future__ import annotations

import streaming_dd as dd


async def site(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    kind = scope["path"][1:]
    if kind == "late":
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    raise LookupError(f"{kind} on purpose")


app = dd.instrument(site)
