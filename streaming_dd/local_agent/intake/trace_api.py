"""The Agent's trace port as an ASGI app: what ddtrace and OTLP exporters post to. State: counters of what came.

`GET /info` advertises no client-side statistics, so that every span arrives and trace metrics are computed here; nor v1.0,
which is taken, but which no tracer was seen here to send. What Datadog's Agent passes on without looking (telemetry,
profiles, remote configuration) is answered and dropped; what it does not have is 404, counted. Payloads are decoded and
taken in parts, so that a large one does not hold up the loop, and within bounds.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from . import normalize, traces, traces_v1
from .logs import Log
from .otlp import logs as otlp_logs
from .otlp import metrics as otlp_metrics
from .otlp import spans as otlp_spans
from .otlp.metrics import Reading
from .spans import Span, TooMuch

MAX_BODY = 50 * 1024 * 1024
"""Bytes of a payload, after decompression: the Agent's `max_request_bytes` is 25 MB."""
MAX_RATIO = 100
"""How many times its size a compressed body may have, beyond the first megabyte: spans give 5 to 30."""
PART = 500
PART_OF_READINGS = 100
"""Spans and readings that are decoded and taken before the loop gets its turn: about 10 ms."""

VERSIONS = ("v0.3", "v0.4", "v0.5", "v0.7", "v1.0")
PASSED_ON = (
    "/telemetry/proxy/", "/profiling/v1/", "/debugger/", "/evp_proxy/", "/tracer_flare/", "/symdb/", "/appsec/proxy/",
    "/dogstatsd/v2/proxy",
    "/v0.3/services", "/v0.4/services", "/v0.6/stats", "/v0.7/config", "/v0.1/pipeline_stats", "/openlineage/",
)  # fmt: skip
"""Paths of Datadog's Agent whose bodies tell nothing that is shown here."""

INFO = {
    "version": "7.64.0",
    "git_commit": "",
    "endpoints": [
        "/v0.3/traces",
        "/v0.4/traces",
        "/v0.5/traces",
        "/v0.7/traces",
        "/telemetry/proxy/",
        "/v1/traces",
        "/v1/metrics",
        "/v1/logs",
    ],
    "feature_flags": [],
    "client_drop_p0s": False,
    "span_meta_structs": True,
    "span_events": True,
    "long_running_spans": False,
}
KEEP_ALL = msgspec.json.encode({"rate_by_service": {"service:,env:": 1.0}})

Answer = tuple[int, bytes]
T = TypeVar("T")


class TraceAPI:
    """Answers the trace port.

    `take` gets chunks of each payload, and whether the client has marked the top-level spans; `take_readings` and
    `take_logs` what comes by OTLP.
    """

    def __init__(
        self,
        take: Callable[[list[list[Span]], bool], None],
        take_readings: Callable[[list[Reading]], None],
        take_logs: Callable[[list[Log]], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._take = take
        self._take_readings = take_readings
        self._take_logs = take_logs
        self._clock = clock
        self.statsd_port: int | None = None
        self.page_port: int | None = None
        self.payloads: Counter[str] = Counter()
        """Requests by path, for the health view."""
        self.rejected: Counter[str] = Counter()
        """Bodies that could not be read, and posts to paths that there are not, by path."""
        self.put_right: Counter[str] = Counter()
        """Spans that were not as they should be, and chunks that were dropped, by the Agent's name of the reason."""
        self.clients: dict[str, str] = {}
        """Tracer version by language, from the headers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        _count(self.payloads, path)
        if refusal := _from_a_page(headers):
            _count(self.rejected, path)
            await _answer(send, 403, _problem(refusal))
        elif path == "/info":  # by whatever method, as the Agent: proxies between post what they got as GET
            await _answer(send, 200, self._info())
        elif method == "GET":
            await _answer(send, 404, b"{}")
        else:
            status, body = await self._post(path, headers, receive)
            if status >= 400:
                _count(self.rejected, path)
            await _answer(send, status, body)

    async def _post(self, path: str, headers: dict[str, str], receive: Receive) -> Answer:
        try:
            body = await _body(headers, receive)
            if path in ("/v1/traces", "/v1/metrics", "/v1/logs"):
                return await self._otlp(path, body, headers.get("content-type", ""))
            version, _, rest = path.removeprefix("/").partition("/")
            if version in VERSIONS and rest == "traces":
                await self._traces(version, body, headers)
                return 200, KEEP_ALL
        except TooMuch as error:
            return 413, _problem(str(error))
        except (OSError, zlib.error, EOFError) as error:
            return 400, _problem(f"the body does not decompress: {error}")
        except ValueError as error:
            return 400, _problem(str(error))
        if path.startswith(PASSED_ON):
            return (202 if path.startswith("/telemetry/") else 200), b"{}"
        return 404, _problem(f"there is no {path}")

    async def _traces(self, version: str, body: bytes, headers: dict[str, str]) -> None:
        language = headers.get("datadog-meta-lang", "")
        if language and (language in self.clients or len(self.clients) < 20):
            self.clients[language] = headers.get("datadog-meta-tracer-version", "")
        # All of it is decoded before any of it is taken: a client posts again what was answered with 400.
        decoded = await in_parts(
            traces_v1.chunks(body) if version == "v1.0" else traces.chunks(version, body)
        )
        await self._take_in_parts(decoded, bool(headers.get("datadog-client-computed-top-level")), language)

    async def _otlp(self, path: str, body: bytes, content_type: str) -> Answer:
        # Decoded in a thread: in Python a large one takes seconds.
        if path == "/v1/traces":
            await self._take_in_parts(await asyncio.to_thread(otlp_spans.decode, body, content_type), True)
        elif path == "/v1/metrics":
            passed_over: list[str] = []
            readings = await asyncio.to_thread(otlp_metrics.decode, body, content_type, passed_over.append)
            self.put_right.update(passed_over)
            for part in batched(readings, PART_OF_READINGS):
                self._take_readings(part)
                await asyncio.sleep(0)
        else:
            lines = await asyncio.to_thread(otlp_logs.decode, body, content_type, self._clock())
            for some in batched(lines, PART):
                self._take_logs(some)
                await asyncio.sleep(0)
        return 200, b"{}" if "json" in content_type else b""

    async def _take_in_parts(self, chunks: Iterable[list[Span]], known: bool, language: str = "") -> None:
        note = self.note
        for part in _parts(chunks):
            now_ns = int(self._clock() * 1e9)
            self._take(
                [each for each in part if normalize.chunk(each, now_ns=now_ns, language=language, note=note)],
                known,
            )
            await asyncio.sleep(0)

    def note(self, reason: str) -> None:
        """Count what was not as it should be."""
        self.put_right[reason] += 1

    def _info(self) -> bytes:
        own = {"config": {"statsd_port": self.statsd_port or 0}, "local_agent": {"page_port": self.page_port}}
        return msgspec.json.encode({**INFO, **own})


def _from_a_page(headers: dict[str, str]) -> str:
    """Say why a request is refused, "" if it is not: only a browser sends these headers, and no page has business here."""
    if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
        return "requests from web pages are refused"
    return ""


def _count(counter: Counter[str], path: str) -> None:
    if path in counter or len(counter) < 100:
        counter[path] += 1


def batched(items: list[T], size: int) -> Iterator[list[T]]:
    """Return a list in pieces of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _parts(chunks: Iterable[list[Span]]) -> Iterator[list[list[Span]]]:
    part: list[list[Span]] = []
    size = 0
    for chunk in chunks:
        part.append(chunk)
        size += len(chunk) + 1
        if size >= PART:
            yield part
            part, size = [], 0
    if part:
        yield part


async def in_parts(chunks: Iterator[list[Span]]) -> list[list[Span]]:
    """Exhaust a decoder; the loop gets its turn after every `PART` spans."""
    found: list[list[Span]] = []
    for part in _parts(chunks):
        found += part
        await asyncio.sleep(0)
    return found


async def _body(headers: dict[str, str], receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            raise TooMuch(f"the payload is larger than {MAX_BODY} bytes")
        parts.append(part)
        if not message.get("more_body"):
            break
    body = b"".join(parts)
    return _decompress(body) if headers.get("content-encoding") in ("gzip", "deflate") else body


def _decompress(body: bytes) -> bytes:
    most = min(MAX_BODY, max(1024 * 1024, MAX_RATIO * len(body)))
    decompressor = zlib.decompressobj(wbits=47)  # gzip or zlib, by its header
    plain = decompressor.decompress(body, most)
    if decompressor.unconsumed_tail or (len(plain) == most and not decompressor.eof):
        raise TooMuch(f"the body is larger than {most} bytes when it is decompressed")
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
