"""`dd_agent`: everything goes over sockets to a real local agent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from loguru import logger

import streaming_dd as dd
from streaming_dd import catalog, recorder, testing
from streaming_dd.testing import RunningAgent

#: Seconds for what takes a moment, but on a busy machine.
PATIENCE = 60.0
ROWS = dd.Metric("reports.rows", "count", unit="row", tags=("kind",), help="Rows written.")


@dd.task("reports.export")
async def export() -> int:
    logger.info("exporting")
    return 3


def names(got: Any) -> set[str]:
    """The names of the metrics that have arrived: each comes by a datagram of its own."""
    return {sample.name for sample in got.metrics}


@pytest.fixture
def dd_settings() -> dict[str, Any]:
    return {"service": "reports"}


@pytest.mark.parametrize("turn", ["first", "second"])
def test_all_three_arrive(dd_agent: RunningAgent, turn: str) -> None:
    """Metrics, spans and logs of a task arrive at this test's own agent, in every test anew."""
    asyncio.run(export())
    dd.increment(ROWS, 12, kind=turn)
    dd_agent.wait_for(lambda got: got.spans, PATIENCE)
    dd_agent.wait_for(lambda got: "exporting" in [log["message"] for log in got.logs], PATIENCE)
    for name in ("reports.rows", "streaming.tasks.started"):
        dd_agent.wait_for(lambda got, name=name: name in names(got), PATIENCE)
    assert [span.name for span in dd_agent.received.spans] == ["task.run"]
    rows = [
        (s.values, s.tags) for s in dd_agent.received.metrics if s.name == "reports.rows" and any(s.values)
    ]
    assert rows == [((12.0,), (f"kind:{turn}", "service:reports"))]
    started = [sample for sample in dd_agent.received.metrics if sample.name == "streaming.tasks.started"]
    assert sum(sum(sample.values) for sample in started) == 1
    assert not dd_agent.received.malformed


@pytest.mark.process
def test_another_process_sends_to_it_by_its_environment(dd_agent: RunningAgent) -> None:
    """`environment` is all that a child process needs."""
    script = (
        "import asyncio, streaming_dd as dd\n"
        "@dd.task('reports.export')\n"
        "async def export(): pass\n"
        "asyncio.run(export())\n"
    )
    environment = {
        "PYTHONPATH": ":".join(sys.path),
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "STREAMING_SHUTDOWN_TIMEOUT": "60",
        **dd_agent.environment,
    }
    subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, timeout=200, capture_output=True
    )
    dd_agent.wait_for(lambda got: got.spans and len(got.logs) >= 2 and got.metrics, PATIENCE)
    assert dd_agent.received.spans[0].resource == "reports.export"


def test_the_addresses_are_as_before_afterwards() -> None:
    """Neither the recorder nor ddtrace goes on to send to an agent that is gone."""
    from ddtrace.trace import tracer

    recorder.reset()  # what an earlier module has left would be back afterwards
    before = tracer.agent_trace_url
    with testing.agent(service="shop") as running:
        assert str(running.local.trace_port) in str(tracer.agent_trace_url)
        assert recorder.get().config.service == "shop"
    assert tracer.agent_trace_url == before
    assert recorder.current is None


def test_not_beside_a_capture_in_memory(dd_agent: RunningAgent) -> None:
    """A test has either: both at once would leave the one or the other empty."""
    with pytest.raises(dd.StreamingDDError, match="a test uses either"), testing.capture():
        pass


def test_what_does_not_arrive_is_said(dd_agent: RunningAgent) -> None:
    """Waiting in vain names what has arrived."""
    dd.increment(ROWS, kind="csv")
    dd_agent.wait_for(lambda got: "reports.rows" in names(got), PATIENCE)
    with pytest.raises(TimeoutError, match=r"reports\.rows"):
        dd_agent.wait_for(lambda got: got.events, timeout=0.1)
    assert catalog.TASKS_STARTED.full_name("streaming") not in {
        sample.name for sample in dd_agent.received.metrics
    }
