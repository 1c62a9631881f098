"""Runs of health checks: outcomes, limits, hung checks, sharing, caching, service checks, log lines."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streaming_dd as dd
from streaming_dd import ConfigError
from streaming_dd.endpoints import health
from streaming_dd.endpoints.health import Check, Health, Report, Unhealthy
from streaming_dd.endpoints.health.check import name_of

Make = Callable[..., Health]
Run = Callable[[Health], Report]
Wait = Callable[..., None]


@dataclass
class Probe(Check):
    """A check that does what it is told, and counts its runs."""

    raises: BaseException | None = None
    returns: object = None
    runs: int = 0

    def run(self) -> object:
        self.runs += 1
        if self.raises is not None:
            raise self.raises
        return self.returns


@dataclass
class Hung(Check):
    """A check that hangs until it is let go."""

    go: threading.Event = field(default_factory=threading.Event)
    runs: int = 0

    def run(self) -> None:
        self.runs += 1
        self.go.wait(200)


def threads(name: str = "streaming-dd-health") -> int:
    return sum(thread.name.startswith(name) for thread in threading.enumerate())


def test_an_own_check_is_a_class_and_one_call(make_health: Make, run: Run) -> None:
    """A registered check runs with the others under the name of its class."""

    @dataclass
    class QueueDepth(health.Check):
        limit: int

        def run(self) -> None:
            if self.limit < 5:
                raise health.Unhealthy(f"more than {self.limit} jobs wait")

    dd.health.register(QueueDepth(10))
    report = run(make_health())
    assert (report.healthy, report.summaries) == (True, {"queue_depth": "ok"})
    dd.health.register(QueueDepth(3))
    report = run(make_health())
    assert report.summaries == {"queue_depth": "error: more than 3 jobs wait"}
    assert not report.healthy


def test_strangers_see_the_type_of_an_error_only(make_health: Make, run: Run) -> None:
    """The text of an exception is in the details alone, and there without its secrets."""
    error = ConnectionError("cannot reach postgres://app:hunter2@db/prod password=hunter2")
    health.register(Probe(name="db", raises=error))
    (result,) = run(make_health()).results
    assert result.summary == "error: ConnectionError"
    assert "cannot reach" in result.error
    assert "hunter2" not in result.error
    assert result.details()["error_type"] == "ConnectionError"


def test_optional_checks_are_reported_and_do_not_decide(make_health: Make, run: Run) -> None:
    """A failing check is decisive if it is required: by itself, or by the settings, which win."""
    health.register(Probe(name="cache", required=False, raises=OSError()))
    assert run(make_health()).healthy
    assert run(make_health()).summaries == {"cache": "error: OSError"}
    assert not run(make_health(health_required=["cache"])).healthy
    health.register(Probe(name="cache", raises=OSError()))
    assert not run(make_health()).healthy
    assert run(make_health(health_optional=["cache"])).healthy
    assert run(make_health(health_skip=["cache", "database"])).results == ()


def test_a_setting_that_names_no_check_is_said(make_health: Make, run: Run, caplog: Any) -> None:
    """A typing error in the names of checks is in the log, with the names that there are."""
    health.register(Probe(name="redis"))
    run(make_health(health_required=["reddis"]))
    assert "reddis" in caplog.text
    assert "the health checks are redis" in caplog.text


def test_the_agent_cannot_be_required() -> None:
    """An application must not be unhealthy because nobody watches it."""
    with pytest.raises(ConfigError, match="leave 'agent' out"):
        dd.configure(health_required=["agent"])


def test_a_hung_check_costs_its_limit_once_and_one_thread(make_health: Make, run: Run) -> None:
    """The first report comes at the limit, later ones at once, and there is never a second thread of the check."""
    hung = Hung(name="hung", timeout=0.2)
    health.register(hung)
    health.register(Probe(name="fine"))
    checks = make_health()
    try:
        started = time.monotonic()
        first = run(checks)
        took = time.monotonic() - started
        assert first.summaries == {"hung": "error: timed out after 0.2 s", "fine": "ok"}
        assert 0.19 < took < 60
        for _ in range(20):
            assert run(checks).summaries["hung"].startswith("error: timed out: it has been running for")
        assert hung.runs == 1
        assert threads("streaming-dd-health-hung") == 1
    finally:
        hung.go.set()


def test_a_hung_check_comes_back(make_health: Make, run: Run, wait_until: Wait) -> None:
    """Once a hung check has returned, it runs again and is ok."""
    hung = Hung(name="hung", timeout=0.05)
    health.register(hung)
    checks = make_health()
    assert not run(checks).healthy
    hung.go.set()
    wait_until(lambda: threads("streaming-dd-health-hung") == 0)
    hung.timeout = 60  # it hangs no more, and a slow machine may be late with its thread
    assert run(checks).healthy
    assert hung.runs == 2


def test_checks_run_at_the_same_time(make_health: Make, run: Run) -> None:
    """Checks that wait for each other all end: none of them is run after another."""
    together = threading.Barrier(4)

    @dataclass
    class Meets(Check):
        def run(self) -> None:
            together.wait(100)

    for number in range(4):
        health.register(Meets(name=f"meets_{number}", timeout=100))
    assert run(make_health()).healthy


def test_a_storm_of_questions_is_one_run(make_health: Make, wait_until: Wait) -> None:
    """Whoever asks during a run shares it; whoever asks soon after it gets its report; then there is a new run."""
    wait_until(lambda: threads() == 0)  # those of earlier tests
    hung = Hung(name="slow", timeout=100)
    health.register(hung)
    checks = make_health(health_cache=30)
    waiting = [checks.report() for _ in range(500)]
    wait_until(lambda: hung.runs == 1)
    assert threads() == 2  # the run, and the check
    hung.go.set()
    reports = {id(future.result(100)) for future in waiting} | {id(checks.report().result(100))}
    assert (len(reports), hung.runs) == (1, 1)
    assert checks._report is not None
    checks._report = replace(checks._report, monotonic=time.monotonic() - 31)
    checks.report().result(100)
    assert hung.runs == 2


def test_no_thread_is_left_after_a_run(make_health: Make, run: Run, wait_until: Wait) -> None:
    """The threads of checks that returned end."""
    for number in range(5):
        health.register(Probe(name=f"probe_{number}"))
    checks = make_health()
    for _ in range(10):
        run(checks)
    wait_until(lambda: threads() == 0)


class BrokenText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class NotText:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("probe", "summary"),
    [
        (Probe(returns=42), "ok"),
        (Probe(returns=NotText()), "ok"),
        (Probe(returns=False), "ok"),
        (Probe(raises=BrokenText()), "error: BrokenText"),
        (Probe(raises=SystemExit(3)), "error: SystemExit"),
        (Probe(raises=KeyboardInterrupt()), "error: KeyboardInterrupt"),
        (Probe(raises=TimeoutError("socket")), "error: TimeoutError"),
        (Probe(raises=Unhealthy()), "error: Unhealthy"),
        (Probe(raises=Unhealthy("x" * 10_000)), "error: " + "x" * 500),
        (Check(), "error: NotImplementedError"),
    ],
)
def test_nonsense_from_a_check_is_contained(make_health: Make, run: Run, probe: Check, summary: str) -> None:
    """Whatever a check returns or raises, it has a result and the others have theirs."""
    probe.name = "probe"
    health.register(probe)
    health.register(Probe(name="other"))
    assert run(make_health()).summaries == {"probe": summary, "other": "ok"}


def test_a_coroutine_runs_on_the_servers_loop(make_health: Make) -> None:
    """A check that is a coroutine function is awaited where the application's own connections live."""
    loops = []

    class Asks(Check):
        async def run(self) -> str:
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            return "asked"

    health.register(Asks())
    checks = make_health()
    assert checks.report().result(100).healthy  # no loop serves yet: one of its own

    async def main() -> Report:
        checks.watch.watch(asyncio.get_running_loop())
        loops.append(asyncio.get_running_loop())
        return await asyncio.wrap_future(checks.report())

    report = asyncio.run(main())
    assert report.summaries["asks"] == "ok"
    assert loops[1] is loops[2] is not loops[0]
    assert {result.note for result in report.results} >= {"asked"}


def test_a_hung_coroutine_is_cancelled_at_its_limit(make_health: Make, wait_until: Wait) -> None:
    """A coroutine that hangs is cancelled, so that the next run can try again."""
    begun: list[int] = []
    cancelled: list[int] = []

    class Asks(Check):
        async def run(self) -> None:
            begun.append(1)
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

    health.register(Asks(timeout=0.5))
    checks = make_health()

    async def main() -> list[Report]:
        checks.watch.watch(asyncio.get_running_loop())
        reports = []
        for _ in range(2):
            reports.append(await asyncio.wrap_future(checks.report()))
            # One that the loop was too late to begin has nothing to cancel.
            while len(cancelled) < len(begun) or threads("streaming-dd-health-asks"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return reports

    for report in asyncio.run(main()):
        assert report.summaries["asks"] == "error: timed out after 0.5 s"
    assert len(cancelled) == len(begun) > 0


def test_whoever_stops_waiting_does_not_cancel_the_run(make_health: Make) -> None:
    """A probe that leaves takes nothing from the others that wait for the same run."""
    hung = Hung(name="slow", timeout=100)
    health.register(hung)
    checks = make_health(health_skip=["event_loop", "database"])

    async def main() -> Report:
        leaves = asyncio.ensure_future(asyncio.wrap_future(checks.report()))
        stays = asyncio.ensure_future(asyncio.wrap_future(checks.report()))
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.sleep(0)
        hung.go.set()
        return await stays

    assert asyncio.run(main()).healthy
    assert hung.runs == 1


def test_no_thread_left_in_the_system(make_health: Make, monkeypatch: Any) -> None:
    """Where no thread can be started, the question is answered with that error at once."""
    health.register(Probe(name="fine"))
    checks = make_health()

    start = threading.Thread.start

    def fail(self: Any) -> None:
        if not self.name.startswith("streaming-dd-health"):  # somebody else's
            return start(self)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start"):
        checks.report().result(60)


def test_checks_that_cannot_be_found_are_unhealthy(make_health: Make, run: Run, monkeypatch: Any) -> None:
    """Settings of Django that cannot be read are an unhealthy report, not an exception."""
    checks = make_health()

    def fail(*_: object) -> None:
        raise ValueError("settings")

    monkeypatch.setattr("streaming_dd.endpoints.health.runs.builtin", fail)
    report = run(checks)
    assert (report.healthy, report.summaries) == (False, {"checks": "error: ValueError"})


def test_each_run_is_sent_as_service_checks(make_health: Make, sender: Any, wait_until: Wait) -> None:
    """Every check goes out once for each run: ok, warning where it is optional, else critical."""
    health.register(Probe(name="fine", returns="42 rows"))
    health.register(Probe(name="cache", required=False, raises=OSError("gone")))
    health.register(Probe(name="broken", raises=ValueError("password=hunter2")))
    checks = make_health(metrics_enabled=True, health_skip=["agent", "database"])
    dd.recorder.get()
    checks.report().result(100)
    wait_until(lambda: len(sender.checks) == 3)
    assert sender.checks == [
        ("streaming.health", 0, ["check:fine", "worker:7"], "42 rows"),
        ("streaming.health", 1, ["check:cache", "worker:7"], "OSError: gone"),
        ("streaming.health", 2, ["check:broken", "worker:7"], "ValueError: password=***"),
    ]


@pytest.mark.slow
def test_checks_run_also_when_nobody_asks(make_health: Make, sender: Any, wait_until: Wait) -> None:
    """Every interval there is a run, so that Datadog knows how a worker is that no probe asks."""
    probe = Probe(name="fine")
    health.register(probe)
    make_health(metrics_enabled=True, health_interval=0.1, health_skip=["agent", "database"])
    dd.recorder.get()
    wait_until(lambda: probe.runs >= 3 and len(sender.checks) >= 3)


def test_only_changes_are_logged(make_health: Make, caplog: Any, wait_until: Wait) -> None:
    """A check that begins to fail is one line, one that is ok again another, whatever happens in between."""
    caplog.set_level(logging.INFO, "streaming_dd")
    probe = Probe(name="db", raises=ConnectionError("down"))
    health.register(probe)
    make_health(health_interval=0.05)
    dd.recorder.get()
    wait_until(lambda: probe.runs >= 3)
    probe.raises = None
    wait_until(lambda: "is ok again" in caplog.text)
    said = [record.getMessage() for record in caplog.records]
    lines = [line for line in said if line.startswith("health check")]
    assert lines == ["health check db fails: ConnectionError: down", "health check db is ok again"]


@pytest.mark.process
def test_a_forked_child_runs_its_own_checks() -> None:
    """A check that hangs in the parent does not count as hung in a child: its thread is not there."""
    script = """
import os, threading
from dataclasses import dataclass
from streaming_dd import health, recorder
from streaming_dd.endpoints.health import Health

@dataclass
class Slow(health.Check):
    def run(self):
        if os.getpid() == parent:
            threading.Event().wait(3600)

parent = os.getpid()
slow = Slow(timeout=0.1)
health.register(slow)
quiet = {"logs_enabled": False, "tracing_enabled": False, "metrics_enabled": False}
checks = recorder.configure(health_interval=0, health_cache=0, health_timeout=60, **quiet).part(Health)
assert not checks.report().result(100).healthy
child = os.fork()
if not child:
    slow.timeout = 60
    os._exit(0 if checks.report().result(100).healthy else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("both", flush=True)
os._exit(0)
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, env=dict(os.environ))
    assert (done.stdout, done.stderr) == ("both\n", "")


def test_spans_of_a_check_are_dropped(make_health: Make, run: Run) -> None:
    """What ddtrace's integrations trace while a check runs carries the priority by which the Agent drops it."""
    from ddtrace.trace import TraceFilter, tracer

    class Nowhere(TraceFilter):
        def process_trace(self, trace: Any) -> None:
            return None

    seen: list[tuple[str, int | None]] = []
    tracer.context_provider.activate(None)
    tracer.configure(trace_processors=[Nowhere()])

    @dataclass
    class Query(Check):
        def run(self) -> None:
            for name in ("postgres.connect", "postgres.query"):
                with tracer.trace(name) as span:
                    seen.append((name, span.context.sampling_priority))

    health.register(Query())
    try:
        assert run(make_health()).healthy
    finally:
        tracer.configure(trace_processors=[])
    assert seen == [("postgres.connect", -1), ("postgres.query", -1)]
    assert tracer.current_span() is None


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        (object(), "no health check"),
        (Probe, "no health check"),
        (Probe(name="Two words"), "write lower-case"),
        (Probe(name="a\nb"), "write lower-case"),
    ],
)
def test_what_is_no_check_is_refused(check: Any, problem: str) -> None:
    """Registering something that cannot run or be named is an error that says the fix."""
    with pytest.raises(ConfigError, match=problem):
        health.register(check)


def test_any_object_with_a_run_method_is_a_check(make_health: Make, run: Run) -> None:
    """A check need not be derived from ours."""

    class Other:
        name = "other"

        def run(self) -> None:
            raise OSError

    health.register(Other())  # type: ignore[arg-type]
    assert run(make_health()).summaries == {"other": "error: OSError"}


@given(st.from_regex(r"[A-Z][A-Za-z0-9]{0,30}", fullmatch=True))
def test_every_class_name_gives_a_name(name: str) -> None:
    """The name made of a class' name is one that can be registered."""
    made = name_of(type(name, (Check,), {})())
    assert made == made.lower()
    health.register(type(name, (Check,), {})())
    health.unregister(made)
