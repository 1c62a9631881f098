"""Everything off, or one pillar off: the application runs the same, and what is off is neither imported nor connected."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from served import UVICORN, Emitted, Server, totals

pytestmark = pytest.mark.process

PILLARS = ["METRICS", "TRACING", "LOGS"]


def use(server: Server) -> dict[str, list[str]]:
    """Do the same with every application: pages, a task, a stream that ends; return what is loaded afterwards."""
    assert server.get("/hello") == (200, "hello")
    assert server.get("/no")[0] == 404
    stream = server.stream("/stream/tests/Short/1")
    assert [stream.event() for _ in range(4)] == ["progress", "progress", "complete", ""]
    assert server.get("/start/tests/Failing/1")[0] == 202
    loaded: dict[str, list[str]] = json.loads(server.get("/loaded")[1])
    return loaded


def test_everything_off_leaves_nothing_behind(serve: Any, emitted: Emitted) -> None:
    """No third-party library is imported, no thread runs, no socket is open, nothing is sent, the log is uvicorn's own."""
    server = serve([*UVICORN, "imports:app"], emitted.environment(STREAMING_ENABLED="false"))
    loaded = use(server)
    assert server.end(signal.SIGTERM)[0] == -signal.SIGTERM
    assert loaded["modules"] == ["streaming_dd"]
    assert [name for name in loaded["threads"] if name.startswith("streaming-dd")] == []
    assert only_clients(loaded, emitted)
    assert list(emitted.samples()) == emitted.spans() == emitted.logs() == []
    assert "Finished server process" in server.err
    assert "site stops" in server.err
    assert server.out.count("GET /hello HTTP/1.1") == 1


@pytest.mark.parametrize("off", PILLARS)
def test_one_pillar_off_changes_nothing_else(off: str, serve: Any, emitted: Emitted) -> None:
    """The other two arrive whole; the one that is off sends nothing, and its library is not imported."""
    server = serve([*UVICORN, "imports:app"], emitted.environment(**{f"STREAMING_{off}_ENABLED": "false"}))
    loaded = use(server)
    assert server.end(signal.SIGTERM)[0] == -signal.SIGTERM
    if off != "TRACING":
        expected = {"asgi.request": 4, "sse.request": 1, "task.submit": 2, "task.run": 2}
        emitted.wait_for(lambda: totals(emitted.spans()) == expected)
        assert [span.meta["error.type"] for span in emitted.spans("task.run") if span.error] == ["ValueError"]
    if off != "METRICS":
        emitted.wait_for(lambda: emitted.count("streaming.http.requests") == 5)
        assert emitted.count("streaming.tasks.completed") == emitted.count("streaming.tasks.failed") == 1
        assert emitted.levels() == {0}
    if off != "LOGS":
        emitted.wait_for(lambda: "Application shutdown complete." in emitted.messages())
        assert len(emitted.logs(task__status="failed")) == 1
        ids = [line.get("dd.trace_id") for line in emitted.logs(message="GET /hello 200")]
        assert (ids == [None]) == (off == "TRACING")
    gone = {"METRICS": list(emitted.samples()), "TRACING": emitted.spans(), "LOGS": emitted.logs()}
    assert gone[off] == []
    assert {"METRICS": "datadog", "TRACING": "ddtrace", "LOGS": "loguru"}[off] not in loaded["modules"]


def only_clients(loaded: dict[str, list[str]], emitted: Emitted) -> bool:
    """Say whether no socket leads to the agent."""
    agent = emitted.agent
    ports = (agent.dogstatsd_port, agent.trace_port, agent.logs_port)
    return not any(f"{port})" in peer for port in ports for peer in loaded["sockets"])
