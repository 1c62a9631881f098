"""A raw application that writes down what it receives and what its send() returns or raises: bare, and observed."""

from __future__ import annotations

import asyncio
import json

import streaming_dd as dd

#: What was seen of each request or socket, by the name that the client gave it.
SEEN: dict[str, list] = {}


class Recorded:
    """receive() and send() of one request, written down."""

    def __init__(self, scope, receive, send):
        self.notes = SEEN.setdefault(scope["query_string"].decode(), [])
        self.offered = scope.get("extensions") or {}
        self._receive, self._send = receive, send

    async def receive(self):
        message = await self._receive()
        # Some servers leave out what has its default.
        self.notes.append(["received", message["type"], *(_plain(v) for _, v in sorted(message.items()))])
        return message

    async def send(self, message):
        try:
            returned = await self._send(message)
        except Exception as error:
            self.notes.append(["send raised", type(error).__name__])
            raise
        self.notes.append(["sent", message["type"], repr(returned)])

    async def start(self, status=200, headers=((b"content-type", b"text/event-stream"),)):
        await self.send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def body(self, data, more=True):
        await self.send({"type": "http.response.body", "body": data, "more_body": more})


def _plain(value):
    return len(value) if isinstance(value, bytes) and len(value) > 1000 else str(value)


async def talk(io):
    """Answer each piece of an upload before the next one is sent."""
    await io.start()
    more = True
    while more:
        message = await io.receive()
        more = message.get("more_body", False)
        await io.body(b"data: %b\n\n" % message.get("body", b""))
    await io.body(b"", more=False)


async def page(io):
    """Read the request and answer."""
    await io.receive()
    await io.start(headers=[(b"content-length", b"2"), (b"content-type", b"text/plain")])
    await io.body(b"hi", more=False)


async def unread(io):
    """Answer without reading."""
    await io.start(413, [(b"content-length", b"0")])
    await io.body(b"", more=False)


async def left(io):
    """Wait until the client has left, and send all the same."""
    await io.start()
    await io.body(b"data: 1\n\n")
    while (await io.receive())["type"] != "http.disconnect":
        pass
    await io.body(b"data: 2\n\n")
    await io.receive()


async def raises(io):
    await io.start()
    await io.body(b"data: 1\n\n")
    raise ValueError("on purpose")


async def fails(io):
    raise ValueError("on purpose")


async def ticking(io):
    """Stream while a large upload arrives, and say how much it was."""
    await io.start()
    got, more = 0, True

    async def tick():
        while True:
            await io._send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await asyncio.sleep(0.02)

    ticks = asyncio.create_task(tick())
    while more:
        message = await io._receive()
        got += len(message.get("body", b""))
        more = message.get("more_body", False)
    ticks.cancel()
    await io.body(b"data: got %d\n\n" % got)
    await io.body(b"", more=False)


async def socket(io):
    """Send back what a socket says until it closes."""
    await io.receive()
    await io.send({"type": "websocket.accept"})
    while (message := await io.receive())["type"] == "websocket.receive":
        await io.send({"type": "websocket.send", "text": message.get("text")})


async def empty(io):
    """Answer without a body."""
    await io.receive()
    await io.start(204, ())
    await io.send({"type": "http.response.body"})


async def cut(io):
    """Read an upload whose client leaves in its middle; there is nobody to answer."""
    while (await io.receive())["type"] != "http.disconnect":
        pass


async def hinted(io):
    """Send early hints and trailers where the server takes them."""
    await io.receive()
    if "http.response.early_hint" in io.offered:
        await io.send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    trailers = "http.response.trailers" in io.offered
    start = {"type": "http.response.start", "status": 200, "headers": [(b"trailer", b"x-sum")]}
    await io.send({**start, "trailers": True} if trailers else start)
    await io.body(b"hi", more=False)
    if trailers:
        await io.send({"type": "http.response.trailers", "headers": [(b"x-sum", b"2")]})


async def stranger(io):
    """Send a message that no server knows, as some test clients' extensions are."""
    await io.receive()
    await io.send({"type": "http.response.debug", "info": {"template": "x"}})
    await io.start()
    await io.body(b"hi", more=False)


async def denied(io):
    """Refuse a handshake with an answer of its own where the server lets it, else plainly."""
    await io.receive()
    if "websocket.http.response" not in io.offered:
        await io.send({"type": "websocket.close"})
        return
    headers = [(b"content-length", b"5")]
    await io.send({"type": "websocket.http.response.start", "status": 418, "headers": headers})
    await io.send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
    await io.send({"type": "websocket.http.response.body", "body": b"!!!"})


async def crashed(io):
    await io.receive()
    raise ValueError("on purpose")


async def chosen(io):
    """Choose a subprotocol, add a header, and close with a code of the application's."""
    await io.receive()
    accept = {"type": "websocket.accept", "subprotocol": "two", "headers": [(b"x-more", b"1")]}
    await io.send(accept)
    await io.send({"type": "websocket.close", "code": 4001, "reason": "enough"})


async def late(io):
    """Send on after the client has closed."""
    await io.receive()
    await io.send({"type": "websocket.accept"})
    while (await io.receive())["type"] != "websocket.disconnect":
        pass
    await io.send({"type": "websocket.send", "text": "too late"})


KINDS = {
    kind.__name__: kind
    for kind in (
        talk, page, unread, left, raises, fails, ticking, socket,
        empty, cut, hinted, stranger, denied, crashed, chosen, late,
    )
}  # fmt: skip


async def site(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await KINDS[scope["path"].rpartition("/")[2]](Recorded(scope, receive, send))


observed = dd.DatadogMiddleware(site, route_patterns=["/observed/{kind}"])


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await observed(scope, receive, send)
    elif scope["path"] == "/seen":
        body = json.dumps(SEEN).encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})
    else:
        await (observed if scope["path"].startswith("/observed/") else site)(scope, receive, send)
