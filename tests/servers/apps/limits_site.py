"""A raw application that says how many seconds after a signal what is open is recorded as ended: by its server's limits."""

from __future__ import annotations

import streaming_dd as dd
from streaming_dd import recorder


async def site(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    body = str(recorder.get().ending.drain_after).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = dd.instrument(site)
