"""Receivers that are not an Agent: the local agent's OTLP endpoint, and Datadog's own test receiver."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from backend_runs import DEADLINE
from free_ports import free_port

from streaming_dd.local_agent import LocalAgent


@pytest.fixture
def local_agent() -> Iterator[LocalAgent]:
    """The local agent, with a trace port only: the same port takes OTLP."""
    agent = LocalAgent(dogstatsd_port=None, trace_port=0, logs_port=None, page_port=None)
    with agent.running():
        yield agent


@pytest.fixture(scope="session")
def otlp_receiver() -> Iterator[str]:
    """The address of ddapm-test-agent's OTLP port: a receiver that is none of ours."""
    for _ in range(3):  # somebody may take a port in between
        ports = [free_port() for _ in range(3)]
        options = zip(("--port", "--otlp-http-port", "--otlp-grpc-port"), map(str, ports), strict=True)
        command = [
            str(Path(sys.executable).with_name("ddapm-test-agent")),
            *(word for pair in options for word in pair),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{ports[1]}"
            if _answers(f"{address}/test/session/traces", process):
                yield address
                return
        finally:
            process.terminate()
            process.wait(DEADLINE)
    pytest.fail("ddapm-test-agent does not start")


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=60).status_code == 200:
                return True
        time.sleep(0.1)
    return False
