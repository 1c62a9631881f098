"""The instrumented example under several servers: what the agent has when they run, stop, and are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from example_site import DEADLINE, GUNICORN, UVICORN, Site, environment, listening_socket, server, wait_until

from examples.demo.expected import wrong_after_exit
from examples.demo.view import Totals
from streaming_dd import catalog
from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.process


@pytest.fixture
def agent() -> Iterator[LocalAgent]:
    """An agent of the test's own."""
    with LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=None).running() as running:
        yield running


def observed(agent: LocalAgent, database: Path, prices: str) -> dict[str, str]:
    """Return a server's environment that leads everything to the agent."""
    env = environment(database, prices)
    del env["STREAMING_ENABLED"]
    return {
        **env,
        "DD_SERVICE": "reports",
        "DD_AGENT_HOST": "127.0.0.1",
        "DD_DOGSTATSD_PORT": str(agent.dogstatsd_port),
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agent.trace_port}",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "STREAMING_FLUSH_INTERVAL": "0.5",
        "STREAMING_LOG_AGENT": f"127.0.0.1:{agent.logs_port}",
    }


def totals(agent: LocalAgent) -> Totals:
    """Return the sums of what has arrived."""
    return Totals(agent.snapshot())


@contextlib.contextmanager
def endless_streams(sites: list[Site]) -> Iterator[None]:
    """Keep a stream of an endless task open for each site, until the server ends it."""

    def watch(site: Site) -> None:
        with contextlib.suppress(httpx.HTTPError):
            site.stream("WarehouseSync", site.create("WarehouseSync", 600))

    readers = [threading.Thread(target=watch, args=(site,)) for site in sites]
    for reader in readers:
        reader.start()
    yield
    for reader in readers:
        reader.join(DEADLINE)
    assert not any(reader.is_alive() for reader in readers)


@pytest.mark.parametrize(
    ("command", "workers"),
    [
        ([*UVICORN, "--loop", "uvloop"], 1),
        ([*UVICORN, "--loop", "asyncio"], 1),
        ([*UVICORN, "--workers", "2", "--timeout-worker-healthcheck", "120"], 2),
        (GUNICORN, 2),
    ],
    ids=["uvloop", "asyncio", "uvicorn-2", "gunicorn-2"],
)
def test_numbers_are_true_while_workers_run_and_when_they_have_stopped(
    command: list[str], workers: int, agent: LocalAgent, database: Path, prices: str, tmp_path: Path
) -> None:
    """Open streams and running tasks add up over the workers; after SIGTERM gauges are 0 and every start has its end."""
    streams = contextlib.ExitStack()
    with server(command, listening_socket(), observed(agent, database, prices), tmp_path / "log") as url:
        sites = [Site(url, database) for _ in range(6)]
        for model in ("SalesReport", "ProductImport", "StockAudit", "FeedDigest"):
            sites[0].stream(model, sites[0].create(model))
        streams.enter_context(endless_streams(sites))
        wait_until(lambda: totals(agent).now(catalog.CLIENTS_ACTIVE) == 6, "six clients to be seen")
        wait_until(lambda: totals(agent).now(catalog.TASKS_ACTIVE) == 6, "six tasks to be seen")
        assert 1 <= len(totals(agent).values(catalog.TASKS_ACTIVE, "worker")) <= workers
    streams.close()
    agent.wait_for(lambda received: [span.name for span in received.spans].count(catalog.TASK_RUN.name) >= 10)
    wait_until(
        lambda: wrong_after_exit(agent) == [], lambda: f"the sums to be right: {wrong_after_exit(agent)}"
    )
    seen = totals(agent)
    assert seen.count(catalog.TASKS_STARTED) == 10
    assert seen.count(catalog.TASKS_COMPLETED) == 3
    assert seen.count(catalog.TASKS_FAILED, error_type="badrow") == 1
    assert seen.count(catalog.TASKS_CANCELLED) == 6
    assert seen.count(catalog.STREAMS_CLOSED, outcome="server_shutdown") == 6
    assert seen.count(catalog.STREAMS_CLOSED, outcome="completed") == 4
    runs = [span for span in agent.received.spans if span.name == catalog.TASK_RUN.name]
    assert sorted(run.meta["task.status"] for run in runs) == ["cancelled"] * 6 + ["completed"] * 3 + [
        "failed"
    ]
    assert [run.error for run in runs].count(1) == 1
    agent.wait_for(lambda received: sum(1 for log in received.logs if log.get("task.status")) >= 10)
    ends = [log for log in agent.received.logs if log.get("task.status")]
    assert len(ends) == 10
    assert {log["dd.trace_id"][-16:] for log in ends} == {run.trace_id[-16:] for run in runs}
    for site in sites:
        site.client.close()


def test_what_had_finished_survives_a_kill(
    agent: LocalAgent, database: Path, prices: str, tmp_path: Path
) -> None:
    """kill -9 with a task running: the spans, counts and lines of finished tasks are with the agent already."""
    with server(UVICORN, listening_socket(), observed(agent, database, prices), tmp_path / "log") as url:
        with Site(url, database).client as client:
            site = Site(url, database, client)
            site.stream("SalesReport", site.create("SalesReport"))
            site.stream("WarehouseSync", site.create("WarehouseSync", 600), events=1)
        agent.wait_for(lambda received: any(log.get("task.status") == "completed" for log in received.logs))
        names = (catalog.TASK_RUN.name, catalog.SSE_REQUEST.name, catalog.TASK_SUBMIT.name)
        agent.wait_for(lambda received: set(names) <= {span.name for span in received.spans})
        wait_until(lambda: totals(agent).count(catalog.TASKS_COMPLETED) == 1, "the count")
        pid = next(
            int(log["message"].split("[")[1].rstrip("]"))
            for log in agent.received.logs
            if "server process" in str(log.get("message"))
        )
        os.kill(pid, signal.SIGKILL)
    assert set(names) <= {span.name for span in agent.received.spans}
