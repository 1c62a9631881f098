"""A raw application with a lifespan that says on standard output what comes, and fails as it is told: bare, and observed."""

from __future__ import annotations

import os

import streaming_dd as dd


def say(*words):
    os.write(1, f"seen {words}\n".encode())


async def site(scope, receive, send):
    if scope["type"] == "lifespan":
        say((await receive())["type"], "state" in scope)
        if os.environ["STARTUP"] == "raises":
            raise RuntimeError("no database at start")
        if os.environ["STARTUP"] == "failed":
            await send({"type": "lifespan.startup.failed", "message": "no database at start"})
            return
        if "state" in scope:
            scope["state"]["pool"] = "open"
        await send({"type": "lifespan.startup.complete"})
        say((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = str(scope.get("state", {}).get("pool")).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


bare = site
observed = dd.instrument(site)
