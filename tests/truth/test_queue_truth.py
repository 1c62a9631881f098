"""The numbers of a broker's queues are what its store says: the rows of the truth table that no visitor sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from truth_books import ROOT
from truth_readers import Readers, Truth, holds, shown, told

from streaming_dd.assets.truth import QUEUES
from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.process
PROGRAM = Path(__file__).with_name("queue_site.py")
DEADLINE = 120.0

pytest.importorskip("django_tasks_db")
pytest.importorskip("dramatiq")


@pytest.fixture
def start(tmp_path: Path, agent: LocalAgent) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start the site's program in a role."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DD_", "STREAMING_"))}
    environment = {
        **kept,
        "PYTHONPATH": str(ROOT),
        "DD_SERVICE": "queues",
        "DD_AGENT_HOST": "127.0.0.1",
        "DD_DOGSTATSD_PORT": str(agent.dogstatsd_port),
        "DD_TRACE_ENABLED": "false",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "STREAMING_LOG_STDOUT": "false",
        "STREAMING_FLUSH_INTERVAL": "0.5",
    }
    started: list[subprocess.Popen[str]] = []

    def make(role: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAM), str(tmp_path), role]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=environment, **pipes))
        return started[-1]

    yield make
    for process in started:
        process.kill()
        process.communicate()


def ran(process: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for a program's end; return what it says it did."""
    printed, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    return dict(json.loads(printed)) if printed else {}


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE:g} s for {what}"
        time.sleep(0.2)


def closed(agent: LocalAgent) -> None:
    """Wait until what has come so far is in closed buckets."""
    until = agent.holdings.aggregator.bucket + 20
    wait_until(lambda: agent.holdings.aggregator.bucket >= until, "a bucket to close")


def of(agent: LocalAgent, name: str) -> float:
    """Return a counter's total, or a gauge's last value."""
    found = [one for one in agent.snapshot() if one.name == f"streaming.queue.{name}"]
    return sum(one.last if one.kind == "g" else one.total for one in found)


@pytest.mark.timeout(390)
def test_queues_show_what_the_store_says(
    agent: LocalAgent, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    """Enqueued, ended by outcome, run again, waiting, and how long: as counted in the store and by the actors."""
    ran(start("migrate"))
    since = time.time() - 10
    enqueuing = start("enqueue")
    assert enqueuing.stdout is not None
    put = json.loads(enqueuing.stdout.readline())
    wait_until(lambda: of(agent, "depth") == put["enqueued"], "the backlog to be looked at")
    closed(agent)  # nobody works yet: all of them wait
    with Readers(agent, since) as readers:
        waiting = {name: readers.read(number.shown[0]) for name, number in NUMBERS.items() if name in LEVELS}
    asked = time.time() - put["at"]
    worked = ran(start("work"))
    ran(enqueuing)
    again = ran(start("again"))
    enqueued = put["enqueued"] + again["enqueued"]
    wait_until(lambda: of(agent, "ended") == enqueued + again["failed"], "the last run")
    closed(agent)
    truth: dict[str, Truth] = {
        "tasks enqueued": enqueued,
        "runs completed": put["enqueued"] - 2 + again["completed"],
        "runs failed": 2 + again["failed"],
        "runs again": again["failed"],
        "longest wait in a queue": (worked["waited"] * 0.9, worked["ended"] * 1.01),
        "tasks that wait": put["enqueued"],
        "age of the oldest that waits": (0.0, asked),
    }
    with Readers(agent, since) as readers:
        rows, wrong = [], []
        for number in QUEUES:
            value = waiting[number.name] if number.name in LEVELS else readers.read(number.shown[0])
            row = (
                f"{number.name:<26} {told(truth[number.name]):>16}  {number.shown[0].what:<44} {shown(value)}"
            )
            rows.append(row)
            wrong += [] if holds(number, value, truth[number.name]) else [row]
    assert wrong == [], "\n" + "\n".join(rows)


NUMBERS = {number.name: number for number in QUEUES}
LEVELS = ("tasks that wait", "age of the oldest that waits")
