"""ddtrace is there before us: imported by the application inside uvicorn's loop, patching Starlette, or ddtrace-run."""

from __future__ import annotations

import signal
import sys
from typing import Any

import pytest
from served import UVICORN, Emitted, totals

pytestmark = pytest.mark.process

NO_FLUSH = {"STREAMING_FLUSH_INTERVAL": "10", "DD_TRACE_WRITER_INTERVAL_SECONDS": "60"}
DDTRACE_RUN = ["ddtrace.commands.ddtrace_run", sys.executable, "-m"]
#: How the server is started, and the operation of its request spans.
WAYS = {
    "imported": ([*UVICORN, "ddtrace_imported_site:app"], "asgi.request"),
    "patched": ([*UVICORN, "ddtrace_first_site:app"], "starlette.request"),
    "ddtrace-run": ([*DDTRACE_RUN, *UVICORN, "observed_starlette_site:app"], "starlette.request"),
    "ddtrace-run, ours inside": ([*DDTRACE_RUN, *UVICORN, "inner_site:app"], "starlette.request"),
}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("way", WAYS)
def test_spans_of_the_graceful_shutdown_arrive_beside_ddtrace(
    way: str, loop: str, serve: Any, emitted: Emitted
) -> None:
    """uvicorn's handler works, a stream that is open at SIGTERM ends gracefully, and no request has two spans."""
    command, operation = WAYS[way]
    server = serve([*command, "--loop", loop], emitted.environment(**NO_FLUSH))
    for _ in range(3):
        assert server.get("/hello") == (200, "hello")
    assert server.get("/start/tests/Endless/1")[0] == 202
    gone = server.stream("/stream/tests/Endless/1")
    gone.leave()
    server.stream("/broken").leave()
    emitted.wait_for(lambda: emitted.logs(outcome="client_disconnect"))
    server.stream("/stream/tests/Silent/2")
    code, _ = server.end(signal.SIGTERM)
    assert code == -signal.SIGTERM

    last = f"Finished server process [{server.process.pid}]"
    emitted.wait_for(lambda: last in emitted.messages())
    expected = {operation: 4, "sse.request": 3, "task.run": 2, "task.submit": 2}
    emitted.wait_for(lambda: sum(totals(emitted.spans()).values()) >= sum(expected.values()))
    assert totals(emitted.spans()) == expected
    streams = {span.meta["stream.outcome"]: span for span in emitted.spans("sse.request")}
    assert set(streams) == {"client_disconnect", "server_shutdown", "error"}
    assert {span.meta["http.status_code"] for span in streams.values()} == {"200"}, "what went over the wire"
    assert {span.resource for span in streams.values()} == {"GET /stream/:app/:model/:id", "GET /broken"}
    assert [span for span in emitted.spans() if span.error] == [streams["error"]]
    assert streams["error"].meta["error.type"].endswith("ValueError")
    assert "error.stack" not in streams["server_shutdown"].meta
    assert {span.meta["task.status"] for span in emitted.spans("task.run")} == {"cancelled"}
    assert emitted.count("streaming.http.requests") == 7
    assert emitted.levels() == {0}

    spans = {
        (span.trace_id, span.span_id) for name in (operation, "sse.request") for span in emitted.spans(name)
    }
    lines = [line for line in emitted.logs() if line["message"].startswith("GET ")]
    assert {(line["dd.trace_id"], line["dd.span_id"]) for line in lines} == spans
    assert len(lines) == len(spans) == 7
