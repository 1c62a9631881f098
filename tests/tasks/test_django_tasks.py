"""Django's background tasks, with real backends and worker processes: counted, traced and linked on both sides."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from streaming_dd.tasks.brokers.queued import names_of

pytestmark = pytest.mark.skipif(
    find_spec("django_tasks_db") is None,
    reason="django-tasks-db is not installed (pip install django-tasks-db)",
)
PROGRAM = Path(__file__).with_name("django_tasks_program.py")


def program(folder: Path, *arguments: str, **env: str) -> Any:
    """Run the site's program to its end; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAM), str(folder), *arguments],
        capture_output=True,
        timeout=120,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout) if done.stdout else {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the site's database."""
    program(tmp_path, "migrate")
    return tmp_path


def spans(found: Any, name: str) -> dict[str, Any]:
    return {span["resource"].rpartition(".")[2]: span for span in found["spans"] if span["name"] == name}


def total(found: Any, name: str, **tags: str) -> float:
    return float(
        sum(
            value
            for one, value, own in found["samples"]
            if one == f"streaming.{name}" and tags.items() <= own.items()
        )
    )


def shown(trace_id: int) -> str:
    return f"{trace_id:032x}"


def assert_runs(found: Any) -> None:
    """Three tasks ran: one plain, one async, one that failed."""
    tags = {"broker": "django"}
    assert total(found, "tasks.completed", model="add") == 1
    assert total(found, "tasks.completed", model="wait") == 1
    assert total(found, "tasks.failed", model="fail", error_type="LookupError") == 1
    assert total(found, "queue.ended", outcome="completed", **tags) == 2
    assert total(found, "queue.ended", outcome="failed", **tags) == 1
    assert total(found, "queue.retries") == 0
    runs = spans(found, "task.run")
    assert {name: run["tags"]["task.status"] for name, run in runs.items()} == {
        "add": "completed",
        "wait": "completed",
        "fail": "failed",
    }
    assert runs["add"]["tags"]["task.final_value"] == "3"
    assert runs["fail"]["tags"]["error.type"] == "LookupError"


def assert_linked(submitted: Any, ran: Any) -> None:
    """Each run links to the span that enqueued it, which names the trace of the run."""
    submits, runs = spans(submitted, "task.submit"), spans(ran, "task.run")
    (request,) = (span for span in submitted["spans"] if span["name"] == "web.request")
    assert submits.keys() == runs.keys() == {"add", "wait", "fail"}
    for name, run in runs.items():
        submit = submits[name]
        assert submit["trace"] == request["trace"] != run["trace"]
        assert [submit["trace"], submit["id"]] in run["links"]
        assert submit["tags"]["task.trace_id"] == shown(run["trace"])
        assert submit["tags"]["task.id"] == run["tags"]["task.id"]


@pytest.mark.process
def test_tasks_through_the_database(folder: Path) -> None:
    """Enqueued in one process, run by `db_worker` in another: queue time, outcomes, backlog, and links both ways."""
    submitted = program(folder, "enqueue", "default")
    assert total(submitted, "queue.enqueued", broker="django", queue="default.default") == 3
    assert [value for name, value, _ in submitted["samples"] if name == "streaming.queue.depth"][-1] == 3
    assert spans(submitted, "task.run") == {}
    ran = program(folder, "work")
    assert_runs(ran)
    assert_linked(submitted, ran)
    waits = [value for name, value, _ in ran["samples"] if name == "streaming.queue.wait"]
    assert sum(waits) > 0
    assert all(run["tags"]["task.queue_time_ms"] > 0 for run in spans(ran, "task.run").values())
    assert total(ran, "queue.enqueued") == 0


@pytest.mark.process
@pytest.mark.parametrize(("rows", "tasks", "minutes"), [("one", 1, 1), ("both", 2, 2)])
def test_a_task_that_was_put_off_is_as_old_as_it_is_due(
    folder: Path, rows: str, tasks: int, minutes: int
) -> None:
    """A queue's oldest waits from its enqueuing, or from `run_after`: not from an enqueuing an hour before that."""
    found = program(folder, "later", rows)
    last = {name: value for name, value, _ in found["samples"]}
    assert last["streaming.queue.depth"] == tasks
    assert minutes * 60 <= last["streaming.queue.oldest"] < minutes * 60 + 600


@pytest.mark.process
def test_tasks_that_run_at_once(folder: Path) -> None:
    """The immediate backend runs them where they are enqueued; the request's own span is active again afterwards."""
    found = program(folder, "enqueue", "immediate")
    assert_runs(found)
    assert_linked(found, found)
    assert total(found, "queue.enqueued", queue="immediate.default") == 3


@pytest.mark.process
def test_tasks_that_never_run(folder: Path) -> None:
    """The dummy backend keeps them: enqueued, and nothing else."""
    found = program(folder, "enqueue", "dummy")
    assert total(found, "queue.enqueued", queue="dummy.default") == 3
    assert total(found, "tasks.started") == 0
    assert spans(found, "task.run") == {}


@pytest.mark.process
def test_a_worker_without_this_package_runs_them_as_ever(folder: Path) -> None:
    """What goes along with a task is seen by nobody who does not look for it."""
    program(folder, "enqueue", "default")
    program(folder, "bare")
    left = program(folder, "work")
    assert spans(left, "task.run") == {}


@pytest.mark.process
def test_a_worker_that_is_told_to_end_drains(folder: Path, eventually: Any) -> None:
    """SIGTERM while a task runs: it ends as it would, and its end, its gauges' zeros and its counters are sent."""
    program(folder, "hold")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(60)
        port = sink.getsockname()[1]
        worker = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(PROGRAM), str(folder), "serve"],
            env={
                **os.environ,
                "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{port}",
                "STREAMING_TRACING_ENABLED": "false",
                "STREAMING_FLUSH_INTERVAL": "0.2",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        lines: list[str] = []
        try:
            while not any(_active(line) == 1 for line in lines):
                lines += sink.recv(65535).decode().split("\n")
            eventually((folder / "held").exists)  # it is active a moment before its first line
            worker.send_signal(signal.SIGTERM)
            (folder / "free").touch()
            sink.settimeout(0.5)
            ended = False
            while not ended:  # read all the time: a socket that is full loses what comes last
                ended = worker.poll() is not None
                with contextlib.suppress(TimeoutError):
                    while True:
                        lines += sink.recv(65535).decode().split("\n")
        finally:
            worker.kill()
            worker.wait()
    completed = [line for line in lines if line.startswith("streaming.tasks.completed:")]
    assert sum(float(line.split(":")[1].split("|")[0]) for line in completed if "model:hold" in line) == 1
    assert [_active(line) for line in lines if _active(line) is not None][-1] == 0


def _active(line: str) -> float | None:
    if not line.startswith("streaming.tasks.active:") or "model:hold" not in line:
        return None
    return float(line.split(":")[1].split("|")[0])


@pytest.mark.parametrize(
    ("path", "names"),
    [("reports.tasks.export", ("reports", "export")), ("export", ("app", "export")), ("a.b", ("a", "b"))],
)
def test_names_of_a_path(path: str, names: tuple[str, str]) -> None:
    """A task's dotted path gives app and model."""
    assert names_of(path) == names
