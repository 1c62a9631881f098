"""An Agent of the tests: takes spans by v0.4, v0.5 and OTLP/JSON, decodes them, and answers as it is told."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

_FIELDS = (
    "service",
    "name",
    "resource",
    "trace_id",
    "span_id",
    "parent_id",
    "start",
    "duration",
    "error",
    "meta",
    "metrics",
    "type",
)


class TraceReceiver:
    """What was received, by phase; a client opens one with `GET /phase/NAME`."""

    def __init__(self) -> None:
        self.phase = ""
        self.traces: list[tuple[str, list[dict[str, Any]]]] = []
        self.posts: list[tuple[str, int]] = []
        self.status = 200
        self.rates: dict[str, float] = {"service:,env:": 1.0}
        self.url = ""
        self._seen: set[bytes] = set()

    def spans(self, phase: str) -> list[dict[str, Any]]:
        return [span for found, trace in self.traces if found == phase for span in trace]

    def take(self, path: str, body: bytes) -> None:
        if body in self._seen:  # the exporter had no patience with a slow machine, and posted it again
            return
        self._seen.add(body)
        if path.endswith("v0.4/traces"):
            traces = [list(map(_uniform, trace)) for trace in msgspec.msgpack.decode(body, strict=False)]
        elif path.endswith("v0.5/traces"):
            strings, packed = msgspec.msgpack.decode(body, strict=False)
            traces = [[_unpacked(strings, span) for span in trace] for trace in packed]
        elif path.endswith("v1/traces") and body[:1] == b"{":
            traces = [_of_otlp(json.loads(body))]
        else:
            return
        self.traces.extend((self.phase, trace) for trace in traces)

    @contextmanager
    def listening(self) -> Iterator[TraceReceiver]:
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.startswith("/phase/"):
                    receiver.phase = self.path.rpartition("/")[2]
                elif self.path.startswith("/answer/"):
                    receiver.status = int(self.path.rpartition("/")[2])
                self.reply(200, {})

            def do_POST(self) -> None:
                body = self.read()
                if "trace" in self.path:
                    receiver.posts.append((self.path, len(body)))
                    if receiver.status < 300:
                        receiver.take(self.path, body)
                    self.reply(receiver.status, {"rate_by_service": receiver.rates})
                else:
                    self.reply(200, {})

            do_PUT = do_POST

            def read(self) -> bytes:
                if "chunked" not in self.headers.get("transfer-encoding", ""):
                    return self.rfile.read(int(self.headers.get("content-length") or 0))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def reply(self, status: int, content: object) -> None:
                rendered = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(rendered)))
                self.end_headers()
                self.wfile.write(rendered)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = (
                100  # where five wait, the sixth is told nothing: who looks for an Agent gives up
            )

        server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _uniform(span: dict[str, Any]) -> dict[str, Any]:
    return {**dict.fromkeys(_FIELDS, ""), "error": 0, "parent_id": 0, "meta": {}, "metrics": {}, **span}


def _unpacked(strings: list[str], span: list[Any]) -> dict[str, Any]:
    found = dict(zip(_FIELDS, span, strict=True))
    for name in ("service", "name", "resource", "type"):
        found[name] = strings[found[name]]
    found["meta"] = {strings[key]: strings[value] for key, value in found["meta"].items()}
    found["metrics"] = {strings[key]: value for key, value in found["metrics"].items()}
    return found


def _of_otlp(content: dict[str, Any]) -> list[dict[str, Any]]:
    spans = []
    for resource in content.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope["spans"]:
                attributes = {
                    item["key"]: next(iter(item["value"].values())) for item in span.get("attributes", ())
                }
                spans.append(
                    _uniform(
                        {
                            "name": attributes.pop("operation.name", span["name"]),
                            "resource": span["name"],
                            "trace_id": int(span["traceId"], 16),
                            "span_id": int(span["spanId"], 16),
                            "parent_id": int(span.get("parentSpanId") or "0", 16),
                            "start": int(span["startTimeUnixNano"]),
                            "duration": int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]),
                            "meta": {key: str(value) for key, value in attributes.items()},
                        }
                    )
                )
    return spans
