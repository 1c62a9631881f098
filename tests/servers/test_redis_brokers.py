"""Brokers over Redis, with the workers that their users start: what a request enqueues, what becomes of it, SIGTERM."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from free_ports import free_port
from served import APPS, DEADLINE, Emitted, Process, wait_until

pytestmark = pytest.mark.process

MODULES = {
    "celery": ["celery", "redis"],
    "dramatiq": ["dramatiq", "redis"],
    "taskiq": ["taskiq_redis"],
    "arq": ["arq"],
    "rq": ["rq"],
}
WORKERS = {
    "celery": ["celery", "-A", "broker_celery", "worker", "--pool", "prefork", "-c", "2", "--loglevel", "WARNING"],
    "dramatiq": ["dramatiq", "broker_dramatiq", "--processes", "1", "--threads", "2"],
    "taskiq": ["taskiq", "worker", "broker_taskiq:broker", "--workers", "1"],
    "arq": ["arq", "broker_arq.WorkerSettings"],
    "rq": ["rq.cli", "worker", "-c", "broker_rq"],
}  # fmt: skip
#: What SIGTERM makes of a job that runs: these wait for it.
ENDS = {
    "celery": "completed",
    "dramatiq": "completed",
    "taskiq": "completed",
    "rq": "completed",
    "arq": "cancelled",
}
#: Seconds that the first run of the job that fails takes at least.
FAILS_AFTER = 1
#: The half of a trace id that goes over the wire as a number.
LOW = 2**64 - 1


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of our own."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed")
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _answers(port), "Redis")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("broker", WORKERS)
def test_a_broker(broker: str, redis_url: str, start: Any, emitted: Emitted) -> None:
    """Enqueued, waited, completed, failed, retried, linked to what enqueued it; at SIGTERM the worker sends what it has."""
    if missing := [name for name in MODULES[broker] if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    path = os.pathsep.join([str(APPS), *filter(None, [os.environ.get("PYTHONPATH")])])
    number = list(WORKERS).index(broker)
    environment = emitted.environment(
        REDIS_URL=f"{redis_url[:-1]}{number}",
        PYTHONPATH=path,
        PYTHONUNBUFFERED="1",
    )
    worker: Process = start(Process, [sys.executable, "-m", *WORKERS[broker]], environment)

    def enqueue(*names: str) -> None:
        command = [sys.executable, str(APPS / f"broker_{broker}.py"), *names]
        subprocess.run(command, env=environment, check=True, timeout=DEADLINE, capture_output=True)

    enqueue("add", "fail")
    emitted.wait_for(lambda: emitted.count("streaming.queue.enqueued", broker=broker) == 2)
    emitted.wait_for(lambda: emitted.count("streaming.queue.ended", broker=broker, outcome="completed") == 1)
    emitted.wait_for(lambda: emitted.count("streaming.queue.ended", broker=broker, outcome="failed") == 2)
    emitted.wait_for(lambda: emitted.count("streaming.queue.retries", broker=broker) == 1)
    enqueue("long")
    wait_until(lambda: "long began" in worker.out, "the long job")
    worker.end(15)
    emitted.wait_for(lambda: len(emitted.spans("task.run")) == 4)
    emitted.wait_for(lambda: emitted.count("streaming.queue.ended", broker=broker) == 4)
    assert emitted.count("streaming.queue.retries", broker=broker) == 1
    assert emitted.count("streaming.queue.ended", broker=broker, outcome=ENDS[broker]) == 1 + (
        ENDS[broker] == "completed"
    )
    emitted.wait_for(lambda: emitted.count("streaming.tasks.started") == 4)
    waits = emitted.timings("streaming.queue.wait", broker=broker)
    assert len(waits) == 4
    assert all(0 <= wait < DEADLINE * 1000 for wait in waits)
    failed = [span for span in emitted.spans("task.run") if span.resource.endswith("fail")]
    first, again = sorted(failed, key=lambda span: span.start_ns)
    between = (again.start_ns - first.start_ns) / 1e6
    waited = again.metrics["task.queue_time_ms"]
    assert waited <= between - 1000 * FAILS_AFTER + 200, "from the retry on, not from the first time"
    submits = {
        span.resource: int(span.meta["task.trace_id"], 16) & LOW for span in emitted.spans("task.submit")
    }
    runs = {(span.resource, int(span.trace_id, 16) & LOW) for span in emitted.spans("task.run")}
    assert len(submits) == 3
    assert runs == set(submits.items()), "each run in the trace that its request has foretold, retries too"
    assert not [line for line in worker.printed() if "timestamp" in line["message"]], "a line within a line"


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_what_a_celery_worker_shows(pool: str, redis_url: str, start: Any, emitted: Emitted) -> None:
    """Celery makes a logger of sys.stdout: what tasks print, what they log, Celery's lines and ours come out once each."""
    if missing := [name for name in MODULES["celery"] if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    path = os.pathsep.join([str(APPS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = emitted.environment(
        REDIS_URL=f"{redis_url[:-1]}{8 + len(pool)}", PYTHONPATH=path, PYTHONUNBUFFERED="1"
    )
    command = ["celery", "-A", "celery_prints", "worker", "--pool", pool, "-c", "1", "--loglevel", "INFO"]
    worker: Process = start(Process, [sys.executable, "-m", *command], environment)
    enqueue = [sys.executable, str(APPS / "celery_prints.py")]
    subprocess.run(enqueue, env=environment, check=True, timeout=DEADLINE, capture_output=True)
    ended = ["task shop.talk completed", "task shop.fail failed", "raised unexpected"]
    wait_until(lambda: all(text in worker.out + worker.err for text in ended), "the ends of both tasks")
    worker.end(15)
    shown = (worker.out + worker.err).splitlines()
    once = [
        *("printed by talk", "logged by talk", "] succeeded in ", "raised unexpected"),
        *(
            "task shop.talk started",
            "task shop.talk completed",
            "task shop.fail started",
            "task shop.fail failed",
        ),
    ]
    assert {text: sum(text in line for line in shown) for text in once} == dict.fromkeys(once, 1)
    assert not [line for line in worker.printed() if "timestamp" in line["message"]], "a line within a line"
