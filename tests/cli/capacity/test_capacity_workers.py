"""streaming-dd capacity against a real server with several workers on one port."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from free_ports import free_port

from streaming_dd.cli.capacity import sources

HERE = Path(__file__).parent
TASKS = 60
#: uvicorn kills a worker that does not answer within 5 s: on a busy machine any.
WORKERS = ["--workers", "2", "--timeout-worker-healthcheck", "120"]


@pytest.fixture
def address() -> Iterator[str]:
    """A server with two workers."""
    port = free_port()
    environment = {
        **os.environ,
        "STREAMING_STATS_TOKEN": "operator-token",
        "STREAMING_TRACING_ENABLED": "false",
        "STREAMING_METRICS_ENABLED": "true",
        "DD_DOGSTATSD_URL": "udp://127.0.0.1:9",
        "DD_SERVICE": f"capacity-{port}",
    }
    command = [sys.executable, "-m", "uvicorn", "capacity_site:app", "--port", str(port), *WORKERS]
    server = subprocess.Popen(
        command, cwd=HERE, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _until_it_answers(f"{url}/start", server)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def _until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server has ended"
        try:
            httpx.get(url, timeout=60)
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")


@pytest.mark.process
def test_all_workers_of_a_port_are_measured_together(address: str) -> None:
    """Tasks that ran in different workers add up; the command finds every worker, and refuses a window of seconds."""
    started = 1
    while started < TASKS or _workers(address) < 2:
        httpx.get(f"{address}/start", timeout=60)
        started += 1
        assert started < 50 * TASKS, "one worker gets all requests"
    deadline = time.monotonic() + 120
    while (window := sources.from_stats([f"{address}/stats"], "operator-token", expect=2)).tasks < started:
        assert time.monotonic() < deadline, f"{window.tasks} of {started} tasks were seen to end"
        time.sleep(0.2)
    assert window.tasks == started
    assert window.workers == 2
    assert window.duration >= 0.01
    assert window.own_cpu is not None
    assert window.all_cpu is not None
    assert window.all_cpu > window.own_cpu > 0

    command = [
        sys.executable,
        "-m",
        "streaming_dd.cli",
        "capacity",
        f"{address}/stats",
        "--least-tasks",
        "10",
    ]
    done = subprocess.run(
        [*command, "--token", "operator-token"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "60 s at least are needed to know a rate" in done.stderr


def _workers(address: str) -> int:
    try:
        return sources.from_stats([f"{address}/stats"], "operator-token").workers
    except sources.CapacityError:  # one of them has not had a task yet
        return 0
