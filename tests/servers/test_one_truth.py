"""Whichever worker is asked answers for all: the totals of /metrics and /stats are what the clients counted, also when
workers are killed, stopped, held and recycled."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from free_ports import free_port
from prometheus_client.parser import text_string_to_metric_families
from served import APPS, DEADLINE, Emitted, Server, wait_until

pytestmark = pytest.mark.process

WORKERS = 3
GUNICORN = ["gunicorn", "-b", "fd://{fd}", "--chdir", str(APPS), "-k", "uvicorn_worker.UvicornWorker"]
GUNICORN += ["--timeout", "120"]  # it kills a worker that says nothing for so long, as one that is stopped
GRANIAN = ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "--workers", "3"]
#: uvicorn kills a worker that does not answer within 5 s, as one that is stopped, or on a busy machine any.
PATIENT = ["--timeout-worker-healthcheck", "120"]
WAYS = {
    "uvicorn --workers": ["uvicorn", "--fd", "{fd}", "--workers", "3", *PATIENT, "--app-dir", str(APPS), "workers_site:app"],
    "gunicorn": [*GUNICORN, "-w", "3", "--graceful-timeout", "2", "workers_site:app"],
    "gunicorn --preload": [*GUNICORN, "-w", "3", "--graceful-timeout", "2", "--preload", "workers_site:app"],
    "granian": [*GRANIAN, "--respawn-failed-workers", "--workers-kill-timeout", "2", "workers_site:app"],
}  # fmt: skip
#: It ends as a whole when a worker is killed.
HYPERCORN = ["hypercorn", "-b", "fd://{fd}", "-w", "3", "workers_site:app"]
RELOAD = [
    "uvicorn",
    "--fd",
    "{fd}",
    "--reload",
    "--reload-dir",
    "{code}",
    "--app-dir",
    str(APPS),
    "workers_site:app",
]


class Site:
    """A server with several workers, asked by clients that count."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        #: What was answered, by (path, pid of the worker); clients in several threads count.
        self.answered: Counter[tuple[str, int]] = Counter()
        self._counting = threading.Lock()

    def get(self, path: str, *, limit: float = DEADLINE, token: str = "operator") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=limit)
        try:
            connection.request(
                "GET", path, headers={"Authorization": f"Bearer {token}", "Connection": "close"}
            )
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def call(self, path: str) -> int:
        """Request a path of the application, and return the pid of the worker that answered."""
        status, body = self.get(path)
        assert status == 200, (status, body, self.server.out, self.server.err)
        with self._counting:
            self.answered[path.partition("?")[0], int(body)] += 1
        return int(body)

    def again(self, path: str) -> bytes:
        """Ask for a path as often as it takes until a worker answers that is not stopped; more patiently each time."""
        for number in range(100):
            try:
                status, body = self.get(path, limit=min(1.0 + number / 2, DEADLINE))
            except (OSError, http.client.HTTPException):
                continue
            assert status in (200, 503), body
            return body
        raise AssertionError(f"nobody answers {path}")

    def stats(self, path: str = "/stats") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.again(path))
        return found

    def metrics(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        text = self.again("/metrics").decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def told(self, path: str) -> bytes:
        """Ask until there is an answer: a worker on a busy machine may be too late for the one that asks it."""
        answers = []

        def answered() -> bool:
            answers.append(self.get(path))
            return answers[-1][0] != 503

        wait_until(answered, path)
        assert answers[-1][0] == 200, answers[-1]
        return answers[-1][1]

    def slots(self, workers: int = WORKERS) -> dict[str, int]:
        """The pid of every worker by its slot, once all of them say theirs."""
        found: dict[str, int] = {}

        def all_of_them() -> bool:
            found.clear()
            found.update((slot, one["worker"]["pid"]) for slot, one in self.stats()["workers"].items())
            return len(found) == workers

        wait_until(all_of_them, f"{workers} workers")
        return found

    def pids(self) -> set[int]:
        """The workers that take part, by what any of them says."""
        return {section["worker"]["pid"] for section in self.stats()["workers"].values()}

    def total(self, path: str) -> int:
        return sum(number for (asked, _), number in self.answered.items() if asked == path)


def wanted(site: Site) -> dict[str, float]:
    """What the clients counted, by the names of /stats' totals."""
    tasks = site.total("/work") + site.total("/start")
    return {"streaming.tasks.started": tasks, "streaming.tasks.completed": site.total("/work")}


@pytest.fixture
def site(serve: Any, emitted: Emitted) -> Callable[..., Site]:
    """Start a server and wait until all of its workers take part."""

    def make(way: list[str], *, workers: int = WORKERS, **settings: str) -> Site:
        port = free_port()
        environment = emitted.environment(DD_TRACE_ENABLED="false", **settings)
        environment["PYTHONPATH"] = os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")])
        server = serve([part.replace("{port}", str(port)) for part in way], environment)
        made = Site(server, port if "{port}" in way else server.port)
        wait_until(lambda: answers(made), "an answer")
        wait_until(lambda: len(made.pids()) == workers, f"{workers} workers")
        return made

    return make


def answers(site: Site) -> bool:
    try:
        return site.get("/hello", limit=5)[0] == 200
    except OSError:
        return False


def total(site: Site, name: str) -> float:
    """The total that a scrape told."""
    return sum(value for (sample, _), value in site.metrics().items() if sample == name)


def spread(site: Site, name: str, asked: int, wanted: float) -> set[float]:
    """The totals that as many scrapes told, once the workers have published what they counted last."""
    wait_until(lambda: total(site, name) == wanted, f"{name} to be {wanted:g}")
    return {total(site, name) for _ in range(asked)}


@pytest.mark.parametrize("way", WAYS)
def test_totals_are_what_the_clients_counted(way: str, site: Callable[..., Site]) -> None:
    """Under load no total ever goes down; afterwards every scrape tells the same, also after one worker was killed
    and given again and while another is stopped."""
    found = site(WAYS[way])
    last: dict[Any, float] = {}
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(found.call, "/work") for _ in range(160)]
        while not all(call.done() for call in calls):
            for key, value in found.metrics().items():
                if key[0].endswith(("_total", "_count", "_bucket")):
                    assert value >= last.get(key, 0), key
                    last[key] = value
        for call in calls:
            call.result()
    while len({pid for (path, pid) in found.answered if path == "/start"}) < 2:
        found.call("/start")  # tasks that go on, in two workers at least
    running = found.total("/start")

    def check(running: int) -> None:
        completed = found.total("/work")
        assert spread(found, "streaming_tasks_completed_total", 6, completed) == {completed}
        assert spread(found, "streaming_task_duration_seconds_count", 6, completed) == {completed}
        assert spread(found, "streaming_active_tasks", 6, running) == {running}
        for _ in range(4):
            stats = found.stats()
            assert {name: stats["totals"][name] for name in wanted(found)} == wanted(found)
            assert stats["tasks"]["active"] == running
            assert stats["tasks_by_status"]["tests.Quick"]["done"] == completed

    check(running)
    pids = sorted(found.slots().values())
    victim = pids[0]
    lost = found.answered["/start", victim]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in found.pids() and len(found.pids()) == WORKERS, "a new worker")
    check(running - lost)
    stopped = pids[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        check(running - lost)
        # One that is late on a busy machine is missing for a moment as well.
        wait_until(lambda: missing(found) == [(stopped, "is stopped")], "the stopped worker alone")
        worst = "unhealthy: is stopped"
        wait_until(lambda: json.loads(found.again("/health"))["workers"]["worst"] == worst, worst)
        wait_until(lambda: up(found) == [0.0, *[1.0] * (WORKERS - 1)], "one worker that is not up")
    finally:
        os.kill(stopped, signal.SIGCONT)
    wait_until(lambda: not missing(found), "the worker that goes on")
    check(running - lost)


def missing(site: Site) -> list[tuple[int, str]]:
    return [(one["pid"], one["why"]) for one in site.stats()["missing"]]


def up(site: Site) -> list[float]:
    return sorted(value for (name, _), value in site.metrics().items() if name == "streaming_worker_up")


def test_hypercorns_workers_answer_for_each_other(site: Callable[..., Site]) -> None:
    """Workers that hypercorn has spawned meet as well: one total, whichever is asked."""
    found = site(HYPERCORN)
    for _ in range(30):
        found.call("/work")
    assert spread(found, "streaming_tasks_completed_total", 6, 30) == {30}
    assert {found.stats()["totals"]["streaming.tasks.completed"] for _ in range(4)} == {30}


def test_a_reloaded_application_goes_on_counting(site: Callable[..., Site], tmp_path: Path) -> None:
    """`uvicorn --reload` ends its one worker and starts another, which tells what the first had counted."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "touched.py").write_text("VERSION = 1\n")
    found = site([part.replace("{code}", str(code)) for part in RELOAD], workers=1)
    for _ in range(5):
        found.call("/work")
    (before,) = found.pids()
    (code / "touched.py").write_text("VERSION = 2\n")
    wait_until(lambda: before not in found.pids(), "the new worker")
    found.call("/work")
    assert spread(found, "streaming_tasks_completed_total", 4, 6) == {6}


def test_what_was_counted_before_a_fork_is_counted_once(site: Callable[..., Site]) -> None:
    """With --preload the master has counted something: no worker tells it as its own."""
    found = site(WAYS["gunicorn --preload"])
    found.call("/work")
    assert spread(found, "site_before_fork_total", 4, 0) == {0}


@pytest.mark.parametrize(
    "way",
    [
        [*GUNICORN, "-w", "2", "--max-requests", "20", "--graceful-timeout", "2", "workers_site:app"],
        [*GUNICORN, "-w", "1", "--max-requests", "20", "--graceful-timeout", "2", "workers_site:app"],
    ],
)
def test_recycled_workers_lose_nothing(way: list[str], site: Callable[..., Site]) -> None:
    """A server that ends its workers after so many requests goes on counting where they stopped, in the same slots."""
    workers = int(way[way.index("-w") + 1])
    found = site(way, workers=workers)
    seen = found.pids()
    calls = 0
    while len(seen) < workers + 3:
        assert calls < 600
        try:
            found.call("/work")
        except OSError:
            continue  # the worker that took it was leaving
        calls += 1
        if calls % 10 == 0:
            seen |= found.pids()
    wait_until(lambda: len(found.pids()) == workers, "the last new worker")
    assert spread(found, "streaming_tasks_completed_total", 4, calls) == {calls}
    assert set(found.stats()["workers"]) <= {str(number) for number in range(workers + 1)}


def test_a_held_loop_shows_in_its_siblings_answer(site: Callable[..., Site]) -> None:
    """A worker whose event loop is held says so itself, by a thread; its sibling does not wait for the loop."""
    found = site(WAYS["uvicorn --workers"], STREAMING_HEALTH_LOOP_LAG="0.5")
    slots = {pid: slot for slot, pid in found.slots().items()}
    held = slots[found.call("/hold?seconds=120")]

    def is_told() -> bool:
        told = json.loads(found.again("/health"))["workers"]
        return told["worst"].startswith("unhealthy: event loop held for") and "held" in told["states"][held]

    wait_until(is_told, "the loop that is held")


def test_one_worker_is_asked_for_by_its_slot(site: Callable[..., Site]) -> None:
    """`?worker=` brings that worker's own statistics and profile from whoever answers; an unknown one is 404."""
    found = site(WAYS["uvicorn --workers"])
    for slot, pid in found.slots().items():
        for _ in range(4):
            stats = json.loads(found.told(f"/stats?worker={slot}"))
            assert stats["worker"]["pid"] == pid
            assert "workers" not in stats
        assert json.loads(found.told(f"/stats/profile?seconds=0.2&worker={slot}"))["profiles"]
    assert found.get("/stats/profile?seconds=0.2&worker=77")[0] == 404
    assert found.get("/stats?worker=77")[0] == 404
    assert found.get("/stats?worker=../../x")[0] == 404
    assert found.get("/stats?worker=1", token="wrong")[0] == 401


def test_gauges_of_a_killed_worker_go_to_zero(site: Callable[..., Site], emitted: Emitted) -> None:
    """What a worker had running when the kernel killed it is not shown for ever: a sibling sends 0 in its place."""
    found = site(WAYS["uvicorn --workers"])
    while len({pid for (path, pid) in found.answered if path == "/start"}) < 2:
        found.call("/start")
    emitted.wait_for(lambda: emitted.level("streaming.tasks.active") == found.total("/start"))
    victim = max(pid for (path, pid) in found.answered if path == "/start")
    left = found.total("/start") - found.answered["/start", victim]
    os.kill(victim, signal.SIGKILL)
    emitted.wait_for(lambda: emitted.level("streaming.tasks.active") == left)
    for _ in range(4):
        assert found.stats()["tasks"]["active"] == left


def test_tasks_of_a_killed_worker_are_counted_as_lost(site: Callable[..., Site], emitted: Emitted) -> None:
    """Started, and neither completed, failed nor cancelled: a sibling counts them, once, and any worker shows them."""
    found = site(WAYS["uvicorn --workers"])
    while len({pid for (path, pid) in found.answered if path == "/start"}) < 2:
        found.call("/start")
    emitted.wait_for(lambda: emitted.level("streaming.tasks.active") == found.total("/start"))
    emitted.wait_for(lambda: emitted.count("streaming.tasks.started") == found.total("/start"))
    victim = max(pid for (path, pid) in found.answered if path == "/start")
    lost = found.answered["/start", victim]
    os.kill(victim, signal.SIGKILL)
    emitted.wait_for(lambda: emitted.count("streaming.tasks.lost") == lost)
    for _ in range(4):
        by_status = found.stats()["tasks_by_status"].values()
        assert sum(status["lost"] for status in by_status) == lost
        assert sum(status["running"] for status in by_status) == found.total("/start") - lost
    started = emitted.count("streaming.tasks.started")
    assert (started, emitted.count("streaming.tasks.lost")) == (found.total("/start"), lost)


def test_a_task_is_cancelled_in_the_worker_where_it_runs(site: Callable[..., Site]) -> None:
    """Any worker shows the task and has it cancelled by its own coordinator; the log there says who asked."""
    found = site(WAYS["uvicorn --workers"])
    for number in range(6):
        found.call(f"/row?id={number}")
    for left in range(6, 0, -1):
        rows = shown(found, left)
        row = rows[0]
        query = urlencode({"worker": row["worker"], "key": row["key"]})
        assert cancelled(found, query) == b"cancelled"
        wait_until(lambda left=left: found.stats()["tasks"]["active"] == left - 1, "the task's end")  # type: ignore[misc]
        assert cancelled(found, query) == b"ended"
    wait_until(lambda: found.stats()["tasks_by_status"]["tests.Row"]["cancelled"] == 6, "six in the totals")
    assert found.stats()["tasks_by_status"]["tests.Row"]["cancelled"] == 6


def shown(site: Site, rows: int) -> list[dict[str, Any]]:
    """The tasks that whoever answers shows: all, once no worker was too late to tell its own."""
    told: dict[str, Any] = {}

    def all_of_them() -> bool:
        told.update(json.loads(site.get("/tasks")[1]))
        return not told["missing"]

    wait_until(all_of_them, "every worker's tasks")
    assert told["total"] == len(told["tasks"]) == rows
    found: list[dict[str, Any]] = told["tasks"]
    return found


def cancelled(site: Site, query: str) -> bytes:
    """What became of asking for the end of a task, once its worker was not too late to say so."""
    said: list[bytes] = []

    def is_said() -> bool:
        said.append(site.get(f"/cancel?{query}")[1])
        return said[-1] != b"silent"

    wait_until(is_said, "the answer of the task's worker")
    return said[-1]
