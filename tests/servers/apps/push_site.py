"""A raw application: WebSockets whose app only sends, or does neither, and a file that the server may send itself."""

from __future__ import annotations

import asyncio
import pathlib
import tempfile

import streaming_dd as dd

FILE = pathlib.Path(tempfile.mkdtemp()) / "big.bin"
FILE.write_bytes(b"x" * 200_000)


async def site(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            if scope["path"] == "/push":
                await send({"type": "websocket.send", "text": "tick"})
            await asyncio.sleep(0.05)
    if scope["type"] != "http":
        raise NotImplementedError
    await receive()
    headers = [(b"content-length", b"200000"), (b"content-type", b"application/octet-stream")]
    if scope["path"] == "/nothing":
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if "http.response.pathsend" in scope.get("extensions", {}):
        await send({"type": "http.response.pathsend", "path": str(FILE)})
    else:
        await send({"type": "http.response.body", "body": FILE.read_bytes()})
    if scope["path"] == "/late":
        await asyncio.sleep(1)


app = dd.DatadogMiddleware(site, route_patterns=["/push", "/silent", "/file", "/late", "/nothing"])
