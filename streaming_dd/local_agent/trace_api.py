"""The Agent's trace port as an ASGI app: what ddtrace and OTLP exporters post to. State: none of its own.

`GET /info` advertises v0.4 and v0.5 and no client-side statistics, so that every span arrives and trace metrics
are computed here. Unknown posts (telemetry, remote configuration, profiling) are answered and dropped: a client
must never stumble over what a laptop does not need.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable

import msgspec
from starlette.types import Receive, Scope, Send

from . import otlp, traces
from .traces import Span

MAX_BODY = 50 * 1024 * 1024
"""Bytes of a payload, after decompression: the Agent's `max_request_bytes` is 25 MB."""

INFO = {
    "version": "7.64.0",
    "git_commit": "",
    "endpoints": ["/v0.4/traces", "/v0.5/traces", "/telemetry/proxy/", "/v1/traces"],
    "feature_flags": [],
    "client_drop_p0s": False,
    "span_meta_structs": True,
    "span_events": True,
    "long_running_spans": False,
}
KEEP_ALL = msgspec.json.encode({"rate_by_service": {"service:,env:": 1.0}})


class TooLarge(Exception):
    """The body is longer than `MAX_BODY`."""


class TraceAPI:
    """Answers the trace port.

    `take` gets the decoded chunks of each payload, and whether the client has marked the top-level spans.
    """

    def __init__(self, take: Callable[[list[list[Span]], bool], None]) -> None:
        self._take = take
        self.statsd_port: int | None = None
        self.page_port: int | None = None
        self.payloads: Counter[str] = Counter()
        """Requests by path, for the health view."""
        self.rejected: Counter[str] = Counter()
        """Bodies that could not be read, by path."""
        self.clients: dict[str, str] = {}
        """Tracer version by language, from the headers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if path in self.payloads or len(self.payloads) < 100:
            self.payloads[path] += 1
        if method == "GET":
            await _answer(send, *((200, self._info()) if path == "/info" else (404, b"{}")))
            return
        try:
            body = await _body(scope, receive)
        except TooLarge:
            self.rejected[path] += 1
            await _answer(send, 413, _problem(f"the payload is larger than {MAX_BODY} bytes"))
            return
        except (OSError, zlib.error, EOFError) as error:
            self.rejected[path] += 1
            await _answer(send, 400, _problem(f"the body does not decompress: {error}"))
            return
        await _answer(send, *self._post(scope, path, body))

    def _post(self, scope: Scope, path: str, body: bytes) -> tuple[int, bytes]:
        version = path.removesuffix("/traces").removeprefix("/")
        if version not in ("v0.4", "v0.5", "v1"):
            return (202 if path.startswith("/telemetry/") else 200), b"{}"
        headers = dict(scope["headers"])
        language = headers.get(b"datadog-meta-lang", b"").decode("latin-1")
        if language and len(self.clients) < 20:
            self.clients[language] = headers.get(b"datadog-meta-tracer-version", b"").decode("latin-1")
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        try:
            chunks = otlp.decode(body, content_type) if version == "v1" else traces.decode(version, body)
        except ValueError as error:
            self.rejected[path] += 1
            return 400, _problem(str(error))
        self._take(chunks, version == "v1" or bool(headers.get(b"datadog-client-computed-top-level")))
        if version == "v1":
            return 200, b"{}" if "json" in content_type else b""
        return 200, KEEP_ALL

    def _info(self) -> bytes:
        own = {"config": {"statsd_port": self.statsd_port or 0}, "local_agent": {"page_port": self.page_port}}
        return msgspec.json.encode({**INFO, **own})


async def _body(scope: Scope, receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            raise TooLarge
        parts.append(part)
        if not message.get("more_body"):
            break
    body = b"".join(parts)
    encoding = dict(scope["headers"]).get(b"content-encoding", b"")
    return _decompress(body) if encoding in (b"gzip", b"deflate") else body


def _decompress(body: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=47)  # gzip or zlib, by its header
    plain = decompressor.decompress(body, MAX_BODY)
    if decompressor.unconsumed_tail:
        raise TooLarge
    if not decompressor.eof:
        raise EOFError("the compressed body is incomplete")
    return plain


def _problem(text: str) -> bytes:
    return msgspec.json.encode({"error": text})


async def _answer(send: Send, status: int, body: bytes) -> None:
    # An empty body is an empty protobuf message: what OTLP exporters expect for success.
    content_type = b"application/json" if body else b"application/x-protobuf"
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
