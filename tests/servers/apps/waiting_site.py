"""A raw application whose requests and WebSockets never end by themselves."""

from __future__ import annotations

import asyncio
import os

import streaming_dd as dd


async def site(scope, receive, send):
    if scope["type"] not in ("http", "websocket"):
        raise NotImplementedError
    await receive()
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "here"})
    else:
        os.write(1, b"a request has begun\n")
    await asyncio.Event().wait()


app = dd.DatadogMiddleware(site, route_patterns=["/slow", "/socket"])
