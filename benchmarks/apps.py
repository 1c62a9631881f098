"""The applications and settings that the benchmarks share."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from typing import Any

# Before anything imports ddtrace: its own telemetry costs every variant that has it on.
os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
os.environ["DD_REMOTE_CONFIGURATION_ENABLED"] = "false"
os.environ["DD_SERVICE"] = "benchmark"
os.environ["DD_ENV"] = "test"
os.environ["DD_VERSION"] = "1"

Prepared = tuple[Callable[[int], None], Callable[[], None]]

HEADERS = [(b"host", b"localhost:8000"), (b"user-agent", b"benchmark/1.0"), (b"accept", b"*/*")]


class Sink:
    """A sender that forgets: what a socket costs is the same for everybody and left out."""

    payload_limit = 1432
    tags = ("service:benchmark", "env:test")
    suffix = ""

    def send(self, payload: bytes) -> bool:
        return True

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        pass

    def close(self) -> None:
        pass


def ddtrace_alone() -> Callable[[], None]:
    """Return what sends ddtrace's spans: they are encoded and posted in every variant alike."""
    from ddtrace.trace import tracer

    return tracer.flush


def settings() -> dict[str, Any]:
    """Return the settings of a variant: everything goes to the stand-in, lines to a file."""
    log = os.environ.get("BENCHMARK_LOG") or os.path.join(tempfile.mkdtemp(), "access.log")
    return {"service": "benchmark", "worker": "0", "log_stdout": False, "log_file": log, "log_bridge": False}


def configure(**chosen: Any) -> Callable[[], None]:
    """Configure streaming_dd as users do, and return its flush."""
    from streaming_dd import recorder

    recorder.configure(**{**settings(), **chosen})
    return flusher()


def flusher() -> Callable[[], None]:
    """Return what sends everything that was recorded."""
    from streaming_dd import recorder

    found = recorder.get()
    send_spans = ddtrace_alone() if found.tracing.enabled else nothing

    def flush() -> None:
        found.round(flush=True)
        if found.logs is not None:
            found.logs.flush(10)
        send_spans()

    return flush


def nothing() -> None:
    """Flush nothing."""


def scope(path: str) -> dict[str, Any]:
    """A request as uvicorn hands it over."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": HEADERS,
        "client": ("127.0.0.1", 54321),
        "server": ("127.0.0.1", 8000),
    }


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    pass


def looped(app: Any, path: Callable[[int], str]) -> Callable[[int], None]:
    """Return `run(count)`: `count` requests one after the other on one loop."""
    runner = asyncio.Runner()

    async def requests(count: int) -> None:
        for number in range(count):
            await app(scope(path(number)), receive, send)

    return lambda count: runner.run(requests(count))
