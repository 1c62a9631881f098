"""Celery, dramatiq and taskiq with brokers in memory: started, completed, failed, retried, and linked on both sides."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streaming_dd import recorder, timers

#: Of Celery's workers; how long they take to end depends on the machine.
SETTINGS: dict[str, Any] = {"perform_ping_check": False, "loglevel": "ERROR", "shutdown_timeout": 60}


def look(captured: Any, broker: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check what every broker has in common; return the submitting spans and the runs by what they are called."""
    metrics = captured.metrics
    metrics.assert_count("queue.enqueued", 2, broker=broker)
    assert metrics.count("queue.ended", broker=broker, outcome="completed") == 1
    assert metrics.count("tasks.failed", error_type="LookupError") >= 1
    metrics.assert_count("tasks.completed", 1)
    submits = {span.resource: span for span in captured.spans.find("task.submit")}
    runs = {span.resource: span for span in captured.spans.find("task.run")}
    assert submits.keys() == runs.keys()
    for name, run in runs.items():
        assert run.links_to(submits[name])
        assert submits[name].tags["task.trace_id"] == f"{run.trace_id:032x}"
        assert run.tags["task.tags.broker"] == broker
    return submits, runs


@pytest.fixture
def request_span() -> Any:
    """A span in which tasks are enqueued."""
    from ddtrace.trace import tracer

    return lambda: tracer.trace("web.request")


@pytest.mark.slow
def test_celery(capture: Any, request_span: Any) -> None:
    """A worker in a thread over Celery's memory transport; a retry is a run of its own."""
    celery = pytest.importorskip("celery")
    from celery.contrib.testing.worker import start_worker

    from streaming_dd.tasks.brokers import celery as adapter

    app = celery.Celery("shop", broker="memory://", backend="cache+memory://")
    app.conf.update(task_default_queue="mail", worker_hijack_root_logger=False)

    @app.task(name="shop.add")  # type: ignore[untyped-decorator, unused-ignore]
    def add(left: int, right: int) -> int:
        assert timers.current_task().name == "shop.add"
        return left + right

    @app.task(name="shop.fail", bind=True, max_retries=1, default_retry_delay=0)  # type: ignore[untyped-decorator, unused-ignore]
    def fail(self: Any) -> None:
        raise self.retry(exc=LookupError("no such row"))

    with capture() as captured:
        assert timers.instrument(timers.instrument(app)) is app
        with start_worker(app, **SETTINGS, pool="solo"):
            with request_span():
                sent = [add.delay(1, 2), fail.delay()]
            assert sent[0].get(timeout=60) == 3
            with pytest.raises(LookupError):
                sent[1].get(timeout=60)
        adapter.uninstrument()
        assert captured.metrics.count("queue.retries", broker="celery") == 1
        assert captured.metrics.count("queue.ended", broker="celery", outcome="failed") == 2
        _, runs = look(captured, "celery")
        assert runs["shop.add"].tags["task.final_value"] == "3"


@pytest.mark.slow
def test_a_retry_of_celery_that_begins_before_its_failed_run_has_ended(capture: Any) -> None:
    """In a pool of threads the retry, which has the same id, may run before the end of the failed run is told."""
    celery = pytest.importorskip("celery")
    from celery.contrib.testing.worker import start_worker
    from celery.signals import task_retry

    from streaming_dd.tasks.brokers import celery as adapter

    app = celery.Celery("shop", broker="memory://", backend="cache+memory://")
    app.conf.update(task_default_queue="again", worker_hijack_root_logger=False)
    began, told = threading.Event(), threading.Event()

    @app.task(name="shop.load", bind=True, max_retries=1, default_retry_delay=0, shared=False)  # type: ignore[untyped-decorator, unused-ignore]
    def load(self: Any) -> str:
        if self.request.retries:
            began.set()
            assert told.wait(60)
            return "loaded"
        raise self.retry(exc=LookupError("no such row"))

    def wait(**kwargs: Any) -> None:
        began.wait(60)

    def go_on(**kwargs: Any) -> None:
        told.set()

    with capture() as captured:
        task_retry.connect(wait, weak=False)  # before ours, which tells that the first run has failed
        timers.instrument(app)
        task_retry.connect(go_on, weak=False)
        try:
            with start_worker(app, **SETTINGS, pool="threads", concurrency=2):
                assert load.delay().get(timeout=60) == "loaded"
        finally:
            task_retry.disconnect(wait)
            task_retry.disconnect(go_on)
            adapter.uninstrument()
        captured.metrics.assert_count("queue.ended", 1, broker="celery", outcome="failed")
        captured.metrics.assert_count("queue.ended", 1, broker="celery", outcome="completed")
        captured.metrics.assert_count("tasks.failed", 1, error_type="LookupError")
        captured.metrics.assert_count("tasks.completed", 1)


def compare_waits(captured: Any, broker: str, due: list[float], began: list[float]) -> None:
    """Check that no run waited longer than from what it was put off to until its function began."""
    assert len(due) == len(began)
    limits = sorted(1000 * (start - moment) + 50 for moment, start in zip(due, began, strict=True))
    for name, tags in (("queue.wait", {"broker": broker}), ("task.queue_time", {})):
        waits = sorted(captured.metrics.assert_values(name, len(due), **tags))
        assert all(wait <= limit for wait, limit in zip(waits, limits, strict=True)), (name, waits, limits)
    captured.metrics.assert_count("queue.enqueued", 1, broker=broker)
    assert captured.metrics.count("queue.retries", broker=broker) == len(due) - 1


@pytest.mark.slow
def test_what_celery_puts_off_does_not_wait(capture: Any, request_span: Any) -> None:
    """A countdown is no waiting, and the wait of a retry begins with the retry: both keep the trace that was foretold."""
    celery = pytest.importorskip("celery")
    from celery.contrib.testing.worker import start_worker

    from streaming_dd.tasks.brokers import celery as adapter

    app = celery.Celery("shop", broker="memory://", backend="cache+memory://")
    app.conf.update(task_default_queue="later", worker_hijack_root_logger=False)
    due: list[float] = []
    began: list[float] = []

    @app.task(name="shop.late", bind=True, max_retries=2, shared=False)  # type: ignore[untyped-decorator, unused-ignore]
    def late(self: Any) -> str:
        began.append(time.time())
        if len(began) < 3:
            due.append(time.time() + 1)
            raise self.retry(countdown=1)
        return "done"

    with capture() as captured:
        timers.instrument(app)
        try:
            with start_worker(app, **SETTINGS, pool="solo"):
                due.append(time.time() + 1)
                with request_span():
                    sent = late.apply_async(countdown=1)
                assert sent.get(timeout=60) == "done"
        finally:
            adapter.uninstrument()
        compare_waits(captured, "celery", due, began)
        assert len({span.trace_id for span in captured.spans.find("task.run")}) == 1


def test_the_moment_that_celery_puts_a_task_off_to() -> None:
    """As its messages have it: with a zone, without one (UTC), or what its worker refuses."""
    from streaming_dd.tasks.brokers.celery import _moment

    assert _moment("1970-01-01T01:00:01+01:00") == _moment("1970-01-01T00:00:01") == 1
    assert [_moment(eta) for eta in (None, 7, "", "soon")] == [0, 0, 0, 0]


@pytest.mark.slow
def test_tasks_that_celery_does_not_run(capture: Any) -> None:
    """One that has expired and one that was revoked end as cancelled, and are no runs."""
    celery = pytest.importorskip("celery")
    from celery.contrib.testing.worker import start_worker

    from streaming_dd.tasks.brokers import celery as adapter

    app = celery.Celery("shop", broker="memory://", backend="cache+memory://")
    app.conf.update(task_default_queue="mail", worker_hijack_root_logger=False)

    @app.task(name="shop.sum")  # type: ignore[untyped-decorator, unused-ignore]
    def add(left: int, right: int) -> int:
        return left + right

    with capture() as captured:
        timers.instrument(app)
        with start_worker(app, **SETTINGS, pool="solo") as worker:
            worker.ensure_started()
            from celery.worker.state import revoked

            revoked.add("unwanted")
            add.apply_async((1, 2), expires=datetime.now(UTC) - timedelta(seconds=5))
            add.apply_async((1, 2), task_id="unwanted")
            assert add.delay(1, 2).get(timeout=60) == 3
        adapter.uninstrument()
        revoked.discard("unwanted")
        assert captured.metrics.count("queue.ended", broker="celery", queue="mail", outcome="cancelled") == 2
        assert captured.metrics.count("queue.ended", broker="celery", queue="mail", outcome="completed") == 1
        captured.metrics.assert_count("tasks.started", 1)


def test_dramatiq(capture: Any, request_span: Any) -> None:
    """A worker over dramatiq's stub broker; a retry is a run of its own, and counts as one task enqueued."""
    dramatiq = pytest.importorskip("dramatiq")
    from dramatiq.brokers.stub import StubBroker

    broker = StubBroker()

    @dramatiq.actor(broker=broker, actor_name="add", queue_name="mail")  # type: ignore[untyped-decorator, unused-ignore]
    def add(left: int, right: int) -> int:
        assert timers.current_task().name == "mail.add"
        return left + right

    @dramatiq.actor(
        broker=broker, actor_name="fail", queue_name="mail", max_retries=1, min_backoff=1, max_backoff=1
    )  # type: ignore[untyped-decorator, unused-ignore]
    def fail() -> None:
        raise LookupError("no such row")

    with capture() as captured:
        timers.instrument(timers.instrument(broker))
        worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
        with request_span():
            add.send(1, 2)
            fail.send()
        worker.start()
        broker.join("mail", timeout=60_000, fail_fast=False)
        worker.join()
        worker.stop()
        assert captured.metrics.count("queue.retries", broker="dramatiq") == 1
        look(captured, "dramatiq")


def test_what_dramatiq_puts_off_does_not_wait(capture: Any) -> None:
    """A delay is no waiting, that of a retry neither."""
    dramatiq = pytest.importorskip("dramatiq")
    from dramatiq.brokers.stub import StubBroker

    broker = StubBroker()
    due: list[float] = []
    began: list[float] = []

    @dramatiq.actor(
        broker=broker, actor_name="late", queue_name="mail", max_retries=2, min_backoff=1000, max_backoff=1000
    )  # type: ignore[untyped-decorator, unused-ignore]
    def late() -> None:
        began.append(time.time())
        if len(began) < 3:
            due.append(time.time() + 1)
            raise dramatiq.errors.Retry(delay=1000)

    with capture() as captured:
        timers.instrument(broker)
        worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
        due.append(time.time() + 1)
        late.send_with_options(delay=1000)
        worker.start()
        broker.join("mail", timeout=60_000, fail_fast=False)
        worker.join()
        worker.stop()
        compare_waits(captured, "dramatiq", due, began)


@pytest.mark.slow
def test_taskiq(capture: Any, request_span: Any) -> None:
    """taskiq's in-memory broker, with an async and a plain function."""
    taskiq = pytest.importorskip("taskiq")
    broker = taskiq.InMemoryBroker(await_inplace=True)

    @broker.task(task_name="shop:add")  # type: ignore[untyped-decorator, unused-ignore]
    async def add(left: int, right: int) -> int:
        assert timers.current_task().name == "shop.add"
        return left + right

    @broker.task(task_name="shop:fail")  # type: ignore[untyped-decorator, unused-ignore]
    def fail() -> None:
        raise LookupError("no such row")

    async def main() -> None:
        await broker.startup()
        with request_span():
            done = [await add.kiq(1, 2), await fail.kiq()]
        results = [await one.wait_result(timeout=60) for one in done]
        assert results[0].return_value == 3
        assert results[1].is_err
        await broker.shutdown()

    with capture() as captured:
        timers.instrument(timers.instrument(broker))
        asyncio.run(main())
        look(captured, "taskiq")


def test_a_retry_that_begins_before_its_failed_run_has_ended(capture: Any) -> None:
    """taskiq gives a retry the id of the run that failed, and enqueues it before it tells of that run's end."""
    taskiq = pytest.importorskip("taskiq")
    began = asyncio.Event()

    class Retry(taskiq.SimpleRetryMiddleware):  # type: ignore[misc, unused-ignore]
        async def on_error(self, message: Any, result: Any, exception: BaseException) -> None:
            await super().on_error(message, result, exception)
            await began.wait()

    broker = taskiq.InMemoryBroker().with_middlewares(Retry())
    runs: list[int] = []

    @broker.task(task_name="shop:fail", retry_on_error=True, max_retries=2)  # type: ignore[untyped-decorator, unused-ignore]
    async def fail() -> None:
        runs.append(1)
        if len(runs) == 2:
            began.set()
        raise LookupError("no such row")

    async def main() -> None:
        await broker.startup()
        await fail.kiq()
        await began.wait()
        await broker.wait_all()
        await broker.shutdown()

    with capture() as captured:
        timers.instrument(broker)
        asyncio.run(main())
        captured.metrics.assert_count("queue.ended", 2, broker="taskiq", outcome="failed")
        captured.metrics.assert_count("queue.retries", 1, broker="taskiq")
        captured.metrics.assert_count("tasks.failed", 2)
        assert not list(recorder.get().tasks.live())


def test_a_retry_of_taskiq_waits_since_it_was_enqueued(capture: Any) -> None:
    """What its first run took is no waiting."""
    taskiq = pytest.importorskip("taskiq")
    broker = taskiq.InMemoryBroker().with_middlewares(taskiq.SimpleRetryMiddleware())
    again = asyncio.Event()
    due: list[float] = []
    began: list[float] = []

    @broker.task(task_name="shop:late", retry_on_error=True, max_retries=2)  # type: ignore[untyped-decorator, unused-ignore]
    async def late() -> None:
        began.append(time.time())
        if len(began) == 1:
            await asyncio.sleep(1)
            due.append(time.time())
            raise LookupError("no such row")
        again.set()

    async def main() -> None:
        await broker.startup()
        due.append(time.time())
        await late.kiq()
        await again.wait()
        await broker.wait_all()
        await broker.shutdown()

    with capture() as captured:
        timers.instrument(broker)
        asyncio.run(asyncio.wait_for(main(), 60))
        compare_waits(captured, "taskiq", due, began)


class Cannot:
    """What no serializer takes."""

    def __reduce__(self) -> Any:
        raise TypeError("this cannot be serialized")


def failing_enqueue(broker: str, instrumented: bool, argument: object) -> BaseException:
    """Put a task into a queue whose Redis does not listen, and return what it raises."""
    closed = "redis://127.0.0.1:1/0"
    put: Any
    if broker == "celery":
        celery = pytest.importorskip("celery")
        thing: Any = celery.Celery("shop", broker=closed)
        thing.conf.update(broker_transport_options={"max_retries": 0}, broker_connection_retry=False)
        task = thing.task(name="shop.add")(print)
        put = lambda: task.apply_async((argument,), retry=False)  # noqa: E731
    elif broker == "dramatiq":
        dramatiq = pytest.importorskip("dramatiq")
        thing = pytest.importorskip("dramatiq.brokers.redis").RedisBroker(url=closed)
        actor = dramatiq.actor(print, broker=thing, actor_name="add")
        put = lambda: actor.send(argument)  # noqa: E731
    elif broker == "taskiq":
        thing = pytest.importorskip("taskiq_redis").ListQueueBroker(closed)
        kicked = thing.register_task(lambda value: value, task_name="shop:add")
        put = lambda: asyncio.run(kicked.kiq(argument))  # noqa: E731
    elif broker == "rq":
        rq = pytest.importorskip("rq")
        thing = rq.Queue("mail", connection=pytest.importorskip("redis").Redis.from_url(closed))
        put = lambda: thing.enqueue(print, argument)  # noqa: E731
    else:
        arq = pytest.importorskip("arq.connections")
        thing = arq.ArqRedis.from_url(closed)
        put = lambda: asyncio.run(thing.enqueue_job("add", argument))  # noqa: E731
    if instrumented:
        timers.instrument(thing)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the type is what is compared
        put()
    return raised.value


@pytest.fixture
def collected() -> Iterator[None]:
    """Have what a test leaves open go with it, and not in a test to come."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "argument", [1, Cannot()], ids=["a backend that is away", "arguments that cannot be serialized"]
)
@pytest.mark.parametrize("broker", ["celery", "dramatiq", "taskiq", "rq", "arq"])
def test_what_an_enqueue_raises_is_untouched(
    broker: str, argument: object, capture: Any, collected: None
) -> None:
    """The application gets its broker's own exception, as without this package; nothing counts as enqueued."""
    from importlib import import_module

    bare = failing_enqueue(broker, False, argument)
    with capture() as captured:
        try:
            seen = failing_enqueue(broker, True, argument)
        finally:
            adapter = import_module(f"streaming_dd.tasks.brokers.{broker}")
            if hasattr(adapter, "uninstrument"):
                adapter.uninstrument()
        assert (type(seen), str(seen)) == (type(bare), str(bare))
        assert captured.metrics.count("queue.enqueued", broker=broker) == (1 if broker == "rq" else 0)
        assert recorder.get().metrics.dropped == {}
