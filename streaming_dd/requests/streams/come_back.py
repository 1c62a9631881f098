"""What a browser that opens a stream is told while the process is about to end: come back in a while. No state."""

from __future__ import annotations

import random
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_STREAM: Final = b"text/event-stream"
_HEADERS: Final = [(b"content-type", _STREAM), (b"cache-control", b"no-store"), (b"connection", b"close")]


def asks_for_stream(scope: Scope) -> bool:
    """Tell whether a request is an EventSource's, or that of somebody who reads its format."""
    return scope["method"] == "GET" and any(
        name == b"accept" and _STREAM in value for name, value in scope["headers"]
    )


def come_back(seconds: float) -> ASGIApp:
    """Return an application whose answer is an empty stream, to be opened again in `seconds` to twice as many.

    It closes the connection: the next one leads to a process that stays. A 5xx would end an EventSource for good.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        # Spread: whoever was cut off at the same moment does not come back at the same moment.
        wait = round(random.uniform(seconds, 2 * seconds) * 1000)
        headers = _HEADERS if scope.get("http_version", "1.1").startswith("1") else _HEADERS[:-1]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"retry: %d\n\n" % wait})

    return answer
