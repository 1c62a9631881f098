"""What brokers share: any carrier, ends without a start, backends that are away; and gauges of locks and doubled objects."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from streaming_dd import catalog, recorder, timers
from streaming_dd.tasks.brokers.arq import ArqJobs
from streaming_dd.tasks.brokers.backlog import Backlog
from streaming_dd.tasks.brokers.django_tasks import DjangoTasks
from streaming_dd.tasks.brokers.queued import Queued


def board() -> Any:
    return recorder.get().tasks


@pytest.mark.parametrize(
    "carrier",
    [
        None,
        7,
        "x",
        [],
        {"from": 3},
        {"from": "zz-1"},
        {"from": "1-"},
        {"run": "no"},
        {"at": "then"},
        {"at": 1e300},
        {"at": -(10**400)},
    ],
    ids=str,
)
def test_a_carrier_that_is_none_costs_the_link_alone(carrier: Any, capture: Any) -> None:
    """What comes out of a broker may be anything: the run is there, counted, with a trace of its own."""
    with capture() as captured:
        queued = Queued("celery", board)
        queued.started("1", "shop", "add", "mail", "1", carrier=carrier)
        assert timers.current_task().name == "shop.add"
        queued.ended("1", "completed", value=3)
        assert not timers.current_task()
        span = captured.spans.one("task.run")
        assert span.links == ()
        captured.metrics.assert_count(catalog.TASKS_COMPLETED, 1, app="shop", model="add")
        captured.metrics.assert_count(catalog.QUEUE_ENDED, 1, outcome="completed", queue="mail")


def hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


@pytest.mark.parametrize("due", [None, timedelta(hours=1), timedelta(hours=-1)], ids=str)
def test_a_task_of_django_that_was_put_off_waits_from_then_on(due: timedelta | None, capture: Any) -> None:
    """`run_after` is no waiting; one that had passed when the task was enqueued changes nothing."""
    pytest.importorskip("django")
    enqueued_at = hour_ago()
    task = SimpleNamespace(
        module_path="shop.add", queue_name="mail", run_after=None if due is None else enqueued_at + due
    )
    result = SimpleNamespace(id="1", task=task, backend="default", enqueued_at=enqueued_at, worker_ids=[])
    signal = SimpleNamespace(connect=lambda *args, **kwargs: None, disconnect=lambda *args: None)
    signals = SimpleNamespace(task_enqueued=signal, task_started=signal, task_finished=signal)
    with capture() as captured:
        tasks = DjangoTasks("django.tasks", signals, board)
        tasks._on_started(None, result)
        tasks.ended("1", "completed")
        tasks.disconnect()
        (wait,) = captured.metrics.assert_values(catalog.QUEUE_WAIT, 1, broker="django")
    minutes = wait / 60_000
    assert minutes < 30 if due == timedelta(hours=1) else 59 < minutes < 90


def test_a_retry_of_arq_waits_since_the_run_before_it_ended(capture: Any) -> None:
    """Where it is not put off, arq leaves the job's times as they were at first."""
    at = hour_ago()
    function, worker = SimpleNamespace(name="add"), SimpleNamespace(queue_name="mail")
    with capture() as captured:
        jobs = ArqJobs("arq", board)
        for attempt in (1, 2, 3):
            ctx = {"job_id": "1", "job_try": attempt, "enqueue_time": at, "score": at.timestamp() * 1000}
            key = jobs._start(worker, function, ctx)
            if attempt == 1:  # the second ends in another process, which is all that this one does not know
                jobs._leave(ctx)
            jobs.ended(key, "failed")
        first, *others = sorted(captured.metrics.assert_values(catalog.QUEUE_WAIT, 3, broker="arq"))
    assert first / 60_000 < 30
    assert all(59 < wait / 60_000 < 90 for wait in others)


def test_an_end_without_a_start_is_none(capture: Any) -> None:
    """A second end, or one of a run of another process, is not counted."""
    with capture() as captured:
        queued = Queued("celery", board)
        queued.started("1", "shop", "add", "mail")
        for _ in range(2):
            queued.ended("1", "failed", ValueError("x"))
        queued.ended("2", "completed")
        captured.metrics.assert_count(catalog.QUEUE_ENDED, 1)
        captured.metrics.assert_count(catalog.TASKS_FAILED, 1, error_type="ValueError")


def test_runs_within_runs_are_put_back(capture: Any) -> None:
    """A task that runs another one in place finds itself again, and its span."""
    from ddtrace.trace import tracer

    with capture() as captured:
        queued = Queued("django", board)
        queued.started("1", "shop", "outer", "mail")
        outer = tracer.current_span()
        queued.started("2", "shop", "inner", "mail")
        assert timers.current_task().name == "shop.inner"
        queued.ended("2", "completed")
        assert timers.current_task().name == "shop.outer"
        assert tracer.current_span() is outer
        queued.ended("1", "completed")
        assert tracer.current_span() is None
        captured.metrics.assert_count(catalog.TASKS_COMPLETED, 2)


def test_a_retry_in_place_is_a_run_within_its_run(capture: Any) -> None:
    """Where a broker runs a retry in place it has the id of the run that waits for it: both end."""
    with capture() as captured:
        queued = Queued("celery", board)
        queued.started("1", "shop", "add", "mail")
        queued.started("1", "shop", "add", "mail", attempt=2)
        queued.ended("1", "completed")
        assert timers.current_task().name == "shop.add"
        queued.ended("1", "failed", ValueError("x"))
        queued.ended("1", "failed", ValueError("x"))
        assert not timers.current_task()
        assert list(board().live()) == []
        captured.metrics.assert_count(catalog.TASKS_COMPLETED, 1)
        captured.metrics.assert_count(catalog.TASKS_FAILED, 1, error_type="ValueError")
        captured.metrics.assert_count(catalog.QUEUE_ENDED, 2)


def test_our_own_fault_reaches_no_broker(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails in here, the application's enqueue and run go on; it is counted."""
    found = configure()
    monkeypatch.setattr(found.tasks, "submit_carried", lambda *args: 1 / 0)
    queued = Queued("celery", board)
    queued.started("1", "shop", "add", "mail")
    queued.ended("1", "completed")
    assert found.metrics.dropped["internal_error"] == 1


def test_a_backlog_is_told_while_it_can_be_read(configure: Any, flush: Any) -> None:
    """Depth and age by queue; an emptied queue is 0; a broker that is away gives nothing, and no fault."""
    configure()
    answers: list[Any] = [{"mail": (3, 12.5)}, {}, ConnectionError("gone")]

    def ask() -> dict[str, tuple[int, float]]:
        answer = answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    backlog = Backlog(Queued("django", board), ask)
    backlog.look()
    assert flush().last("streaming.queue.depth", queue="mail", broker="django") == 3
    assert flush().last("streaming.queue.oldest", queue="mail") == 12.5
    answers.pop(0)
    backlog.look()
    assert flush().last("streaming.queue.depth", queue="mail") == 0
    answers.pop(0)
    backlog.look()
    assert recorder.get().metrics.dropped == {}


class Row:
    def __init__(self, pk: Any) -> None:
        self.pk = pk

    async def process(self) -> None:
        await asyncio.get_running_loop().create_future()


class Coordinator:
    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self.started: list[asyncio.Task[Any]] = []

    async def start_task(self, task_instance: Any, app_name: str, model_name: str) -> None:
        key = f"{app_name}:{model_name}:{task_instance.pk}"
        self._locks.setdefault(key, asyncio.Lock())
        self.started.append(asyncio.create_task(self._run_task(task_instance, key)))

    async def _run_task(self, task_instance: Any, task_key: str) -> None:
        await task_instance.process()


def test_locks_and_objects_that_run_twice_are_gauges(
    configure: Any, flush: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks that are never given back, and a row under two spellings of its key, show as numbers."""
    configure()
    monkeypatch.setattr(timers._coordinators, "_known", [])  # the coordinators of earlier tests
    coordinator = timers.instrument(Coordinator())

    async def main() -> None:
        for pk, app in ((1, "reports"), (1, "Reports"), (2, "reports")):
            await coordinator.start_task(Row(pk), app, "Row")
        await asyncio.sleep(0)
        sender = flush()
        assert sender.last("streaming.tasks.twice") == 1
        assert sender.last("streaming.coordinator.locks") == 3
        for task in coordinator.started:
            task.cancel()
        await asyncio.gather(*coordinator.started, return_exceptions=True)
        sender = flush()
        assert sender.last("streaming.tasks.twice") == 0
        assert sender.last("streaming.coordinator.locks") == 3

    asyncio.run(main())
