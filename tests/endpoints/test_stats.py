"""What /stats says: its keys, its numbers, a coordinator that changes meanwhile, sections of other modules."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import streaming_dd as dd
from streaming_dd import recorder, timers
from streaming_dd.endpoints import Endpoints
from streaming_dd.endpoints.stats import RUNNING_LIMIT, CoordinatorState, Stats

Get = Callable[..., httpx.Response]
Configure = Callable[..., recorder.Recorder]


class Task:
    """A task of a coordinator that ends as it is told."""

    def __init__(self, pk: int) -> None:
        self.pk = pk
        self._clients: set[int] = set()
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def process(self) -> str:
        await self.send_event("begun", {})
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return "done"

    async def send_event(self, event_type: str, data: Any) -> None:
        """Send nothing."""


class Coordinator:
    """The shape found in the wild: it swallows errors, and keeps what it has run."""

    def __init__(self) -> None:
        self._tasks: dict[str, Any] = {}
        self._task_instances: dict[str, Any] = {}
        self._locks: dict[str, Any] = {}

    async def start_task(self, task_instance: Any, app_name: str, model_name: str) -> None:
        key = f"{app_name}:{model_name}:{task_instance.pk}"
        self._locks.setdefault(key, asyncio.Lock())
        self._task_instances[key] = task_instance
        self._tasks[key] = asyncio.create_task(self._run_task(task_instance, key))

    async def _run_task(self, task_instance: Any, task_key: str) -> None:
        try:
            await task_instance.process()
        except ValueError:
            pass


@pytest.fixture
def coordinator() -> Coordinator:
    return timers.instrument(Coordinator())


def running_state(coordinator: Coordinator, configure: Configure) -> Any:
    """Return what is collected while two tasks run, one is done, one failed and one was cancelled."""
    stats = configure().part(Stats)

    async def main() -> Any:
        tasks = [Task(number) for number in range(5)]
        tasks[1].error = ValueError("broken")
        for task in tasks:
            await coordinator.start_task(task, "reports", "Export")
        await asyncio.sleep(0)
        tasks[3]._clients |= {1, 2}
        tasks[0].go.set()
        tasks[1].go.set()
        cancelled = coordinator._tasks["reports:Export:2"]
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled, *(coordinator._tasks[f"reports:Export:{n}"] for n in (0, 1))])
        found = await asyncio.to_thread(stats.collect, coordinator)
        for task in tasks:
            task.go.set()
        await asyncio.gather(*coordinator._tasks.values(), return_exceptions=True)
        return found

    return asyncio.run(main())


def test_the_numbers_of_a_coordinator(coordinator: Coordinator, configure: Configure) -> None:
    """Active, cached and locked; by kind running, done, failed and cancelled; clients; a leak of ended tasks."""
    found = running_state(coordinator, configure)
    assert found["tasks"] == {
        "active": 2,
        "peak": 2,
        "cached_instances": 5,
        "locks": 5,
        "stale_entries": 3,
    }
    assert found["tasks_by_status"] == {
        "reports.Export": {"running": 2, "done": 1, "failed": 1, "cancelled": 1, "lost": 0}
    }
    assert found["client_connections"] == {"reports.Export": 2}
    assert found["peaks"]["tasks"] == {"reports.Export": 5}
    assert found["totals"]["streaming.tasks.started"] == 5


def test_the_running_tasks(coordinator: Coordinator, configure: Configure) -> None:
    """Each has its age, its clients, its last event and where it waits; the oldest comes first."""
    running = running_state(coordinator, configure)["running"]
    assert (running["total"], running["shown"]) == (2, 2)
    assert [task["id"] for task in running["tasks"]] == ["3", "4"]
    assert [task["clients"] for task in running["tasks"]] == [2, 0]
    task = running["tasks"][0]
    assert {"app": "reports", "model": "Export", "state": "running"}.items() <= task.items()
    assert 0 <= task["last_event_seconds_ago"] <= task["age_seconds"] < 60
    assert "process" in "".join(task["awaits"])


def test_the_clients_of_a_run_that_no_stream_can_name_are_unknown(configure: Configure) -> None:
    """Null, not 0: `@timers.task` has no object that a stream could watch."""
    seen = configure()
    found: list[Any] = []

    @timers.task("reports.export")
    async def export() -> None:
        found.append(seen.part(Stats).collect(None)["running"])

    asyncio.run(export())
    assert [task["clients"] for task in found[0]["tasks"]] == [None]


def test_rates_and_durations(configure: Configure) -> None:
    """Mean and 95th percentile are those of the tasks that ended, over all and by kind."""
    seen = configure()
    stats = seen.part(Stats)
    for seconds in range(1, 101):
        run = seen.tasks.submit("reports", "Export")
        run.started = time.perf_counter() - seconds
        run.finish("completed")
    stats._ended[0] = (time.monotonic() - 200, 0)
    rates: Any = stats.collect()["rates"]
    for found in (rates, rates["by_kind"]["reports.Export"]):
        assert found["mean_seconds"] == pytest.approx(50.5, abs=0.4)
        assert found["p95_seconds"] == pytest.approx(95, abs=0.4)
    assert rates["window_seconds"] == pytest.approx(200, abs=20)
    assert rates["tasks_per_second"] == pytest.approx(0.5, abs=0.05)


def test_the_window_of_the_rate_moves_on(configure: Configure) -> None:
    """Tasks that ended before the window do not count in the rate."""
    seen = configure()
    stats = seen.part(Stats)
    begun = time.monotonic() - 400
    stats._ended[0] = (begun, 0)
    seen.tasks.submit("reports", "Export").finish("completed")
    assert stats._rates(stats._kinds())["tasks_per_second"] == pytest.approx(1 / 400, rel=0.1)
    for step in range(1, 40):
        stats._job(begun + step * 10)
    rates: Any = stats._rates(stats._kinds())
    assert rates["tasks_per_second"] == 0
    assert len(stats._ended) == 31


def test_a_kind_is_named_without_separators(configure: Configure) -> None:
    """Names that come from URLs cannot forge keys."""
    state = CoordinatorState(SimpleNamespace(_tasks={"a b\n:c|d:1": object(), "short": 1, 7: 2}))
    assert set(state.running()) <= {"a_b.c_d", "unknown.unknown"}


def test_a_coordinator_that_is_not_instrumented(configure: Configure, get: Get) -> None:
    """Its running tasks are counted from its own dictionary, in /stats and in /health."""
    coordinator = SimpleNamespace(
        _tasks={"reports:Export:1": SimpleNamespace(done=lambda: False), "reports:Export:2": object()},
        _task_instances={"reports:Export:1": SimpleNamespace(_clients={1, 2, 3})},
        _locks={},
    )
    configure(stats_token="t")
    app = Endpoints(coordinator=coordinator)
    found = get(app, "/stats", headers={"authorization": "Bearer t"}).json()
    assert (found["tasks"]["active"], found["tasks"]["cached_instances"]) == (2, 1)
    assert sum(found["client_connections"].values()) == 3
    assert get(app, "/health").json()["active_tasks"] == 2


def test_open_sockets_win_over_what_instances_hold(configure: Configure) -> None:
    """Where streams pass through the middleware, clients are counted by their sockets."""
    seen = configure()
    instance = SimpleNamespace(_clients={1, 2, 3})
    coordinator = SimpleNamespace(_tasks={}, _task_instances={"reports:Export:1": instance}, _locks={})
    stream: Any = type("Stream", (), {"watched": None})()
    seen.traffic.client_kind(("reports", "Import")).live.add(stream)
    found = seen.part(Stats).collect(coordinator)["client_connections"]
    assert isinstance(found, dict)
    assert found["reports.Import"] == 1
    assert sum(found.values()) == 1
    assert len(found) == 2


# --- a coordinator that changes, or is broken -----------------------------------------------------------------


@pytest.mark.slow
def test_a_coordinator_that_changes_while_it_is_read(configure: Configure, get: Get) -> None:
    """While another thread starts and forgets tasks as fast as it can, every answer is whole."""
    configure(stats_token="t")
    coordinator = SimpleNamespace(_tasks={}, _task_instances={}, _locks={})
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for state in (coordinator._tasks, coordinator._task_instances, coordinator._locks):
                state[f"reports:Export:{number}"] = SimpleNamespace(_clients=set())
                state.pop(f"reports:Export:{number - 500}", None)
            if number % 100 == 0:
                time.sleep(0)  # else who reads waits for the interpreter all the time

    app = Endpoints(coordinator=coordinator)
    changing = [threading.Thread(target=change) for _ in range(2)]
    for thread in changing:
        thread.start()
    try:
        for _ in range(50):
            found = get(app, "/stats", headers={"authorization": "Bearer t"}).json()
            assert isinstance(found["tasks"]["active"], int)
            assert "error" not in str({key: found[key] for key in ("tasks", "tasks_by_status")})
    finally:
        stop.set()
        for thread in changing:
            thread.join()


class NeverStill(UserDict[str, int]):
    """A mapping that changes whenever it is read."""

    def __iter__(self) -> Any:
        raise RuntimeError("dictionary changed size during iteration")


class Raises:
    @property
    def _tasks(self) -> Any:
        raise PermissionError("not now")


@pytest.mark.parametrize(
    "coordinator",
    [SimpleNamespace(_tasks=NeverStill({"a:b:1": 1})), Raises(), SimpleNamespace(_tasks=[1, 2]), object()],
)
def test_a_coordinator_that_cannot_be_read(coordinator: Any, configure: Configure, get: Get) -> None:
    """What cannot be read counts as nothing, and is said; the rest of the answer is there."""
    configure(stats_token="t")
    found = get(Endpoints(coordinator=coordinator), "/stats", headers={"authorization": "Bearer t"}).json()
    assert found["tasks"]["active"] == 0
    assert found["worker"]["slot"] == "3"


def test_ten_thousand_tasks_do_not_hold_the_loop(configure: Configure, get: Get) -> None:
    """The answer about many tasks is bounded, and made in a thread while the loop goes on."""
    seen = configure(stats_token="t")
    runs = [seen.tasks.submit("reports", "Export", number) for number in range(10_000)]
    app = Endpoints()
    threads = []
    seen.stats_sections["thread"] = lambda: threads.append(threading.current_thread())
    found = get(app, "/stats", headers={"authorization": "Bearer t"}).json()
    assert found["running"]["total"] == 10_000
    assert [task["id"] for task in found["running"]["tasks"]] == [str(n) for n in range(RUNNING_LIMIT)]
    assert threads[0] is not threading.current_thread()
    for run in runs:
        run.finish("completed")


# --- sections of other modules --------------------------------------------------------------------------------


def test_other_modules_add_sections(configure: Configure) -> None:
    """A section that another module registered is there; one of an own name is merged; a broken one says so."""
    seen = configure()
    stats = seen.part(Stats)
    seen.stats_sections["queue"] = lambda: {"depth": 3}
    seen.stats_sections["worker"] = lambda: {"zone": "b"}
    seen.stats_sections["broken"] = lambda: 1 / 0
    recorder.get()  # takes the worker's slot
    found: Any = stats.collect()
    assert found["queue"] == {"depth": 3}
    assert (found["worker"]["zone"], found["worker"]["slot"]) == ("b", "3")
    assert found["broken"] == {"error": "ZeroDivisionError"}


def test_what_is_always_there(configure: Configure) -> None:
    """An idle worker without a coordinator has every section, and says who it is."""
    seen = configure(service="reports", env="prod", version="1.2")
    recorder.get()  # takes the worker's slot
    found: Any = seen.part(Stats).collect()
    assert {
        "timestamp",
        "worker",
        "tasks",
        "tasks_by_status",
        "client_connections",
        "peaks",
        "rates",
        "running",
        "process",
        "telemetry",
        "totals",
    } <= set(found)
    worker = found["worker"]
    assert (worker["slot"], worker["service"], worker["env"], worker["version"]) == (
        "3",
        "reports",
        "prod",
        "1.2",
    )
    assert found["process"]["rss_bytes"] > 1_000_000
    assert found["telemetry"]["samples_dropped"] == {}


def test_no_secret_is_in_it(configure: Configure, get: Get) -> None:
    """Neither tokens nor the credentials of other services are in the answer."""
    configure(stats_token="t0ken", redis_url="redis://user:hunter2@localhost", prometheus_token="scr4per")
    text = get(Endpoints(), "/stats", headers={"authorization": "Bearer t0ken"}).text
    assert not any(secret in text for secret in ("t0ken", "hunter2", "scr4per"))
    assert dd.__version__


SECRET = "ghp_" + "Zz09" * 9


@pytest.mark.slow
def test_no_secret_leaves_by_any_answer(configure: Configure, get: Get) -> None:
    """A well-known token is masked wherever it stands: in ids, tags, status, names of threads, added sections."""
    seen = configure(stats_token="right", siblings="off")
    seen.stats_sections["shop"] = lambda: {
        "last_error": f"refused: {SECRET}",
        SECRET: [SECRET, {"deep": SECRET}],
    }
    inside, leave = threading.Event(), threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it is asked for nothing")

    @timers.task("reports.export", id="token_like")
    async def export(token_like: str) -> None:
        task = timers.current_task()
        task.tag("given", SECRET)
        task.status(f"with {SECRET}")
        inside.set()
        await asyncio.to_thread(leave.wait, 60)

    thread = threading.Thread(target=lambda: asyncio.run(export(SECRET)), name=f"worker {SECRET}")
    thread.start()
    assert inside.wait(60)
    try:
        headers = {"Authorization": "Bearer right"}
        for path in (
            "/stats",
            "/stats/profile?seconds=0.2",
            "/stats/profile?seconds=0.2&format=html",
            "/health",
        ):
            answer = get(Endpoints(app), path, headers=headers)
            assert answer.status_code in (200, 503), path
            assert SECRET not in answer.text, path
        assert "reports" in get(Endpoints(app), "/stats", headers=headers).text
        assert "worker ***" in get(Endpoints(app), "/stats/profile?seconds=0.2", headers=headers).text
    finally:
        leave.set()
        thread.join()
