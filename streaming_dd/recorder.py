"""The one process-wide object: configuration, metrics, tracing, logs, live tasks and live traffic, and their thread.

State: `current`, the recorder in use (None until the first use or `configure()`), replaced as a whole by
`configure()` and `reset()`. Its background thread, started when the process begins to serve or to record, flushes
metrics, writes access lines and cuts long spans; it is started anew in a forked child.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from . import tracing, worker
from .config import Config, django_settings, load
from .insight import Insight
from .log_destinations import Destination
from .metrics import Metrics, Sender
from .notices import say
from .signals import SignalWatch, WakeUp
from .tasks import TaskBoard
from .tracing import Tracing
from .traffic import Traffic

if TYPE_CHECKING:
    from .logs import Logs

#: Seconds between two rounds of the background thread: how far access lines lag behind.
_ROUND: Final = 0.2
#: The same once a signal has told a server without a lifespan to end: uvicorn needs a tenth of a second for that.
_LAST_ROUND: Final = 0.02
#: Seconds that requests may take to end once the server has cancelled them.
_CANCELLED_LIMIT: Final = 0.5
#: Seconds between two looks whether something took the logging bridge away.
_BRIDGE_CHECK: Final = 10.0

Job = Callable[[float], None]
Part = TypeVar("Part")


class Recorder:
    """Everything that records in this process. Make it with `configure()`, find it with `get()`."""

    def __init__(self, config: Config, sender: Sender | None = None) -> None:
        self.config = config
        self.enabled = config.enabled
        self.stopping = False
        self._pid = os.getpid()
        self._wake = WakeUp()
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()
        self._told_to_end = False
        #: Serving, between the start-up and the shutdown of a lifespan.
        self.serving = False
        self._round_lock = threading.Lock()
        self._ended = False
        self._last_flush = float("-inf")
        self._last_check = float("-inf")
        self._slot: worker.Slot | None = None
        self._signals = SignalWatch(self._signalled, self.stop, config.shutdown_timeout + 1)
        self.logs: Logs | None = _start_logs(config) if config.enabled and config.logs_enabled else None
        self.tracing = Tracing(config)
        self.metrics = Metrics(config, sender, wake=self._wake.set)
        self.traffic = Traffic(config, self.metrics, self.logs)
        self.tasks = TaskBoard(config, self.metrics, self.tracing, self.logs)
        self.tasks.fault = self.fault
        #: Called in every round of the background thread with the monotonic time.
        self.jobs: list[Job] = []
        #: Sections of /stats beside its own: name -> what returns JSON values. Called off the event loop.
        self.stats_sections: dict[str, Callable[[], object]] = {}
        self._parts: dict[Any, Any] = {}
        self.insight = Insight(self)

    def part(self, kind: Callable[[Recorder], Part]) -> Part:
        """Return this recorder's one object of a module above (its Health, its Stats), made by the first call."""
        with _lock:
            if kind not in self._parts:
                self._parts[kind] = kind(self)
            return cast(Part, self._parts[kind])

    # --- the thread -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the background thread and take a worker slot, if that has not been done in this process."""
        with self._thread_lock:
            if self._thread is not None or not self.enabled or self._ended:
                return
            if self._slot is None:
                self._slot = worker.take_slot(self.config)
                self.metrics.set_worker(self._slot.name)
            self._leave = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._leave,), name="streaming-dd-flush", daemon=True
            )
            self._thread.start()

    def serve(self) -> None:
        """Start with a server: called at lifespan start-up, inside the running loop of the worker."""
        if not self.enabled:
            return
        self._ended = self._told_to_end = self.stopping = False
        self.serving = True
        self._watch_signals()
        if self.logs is not None:
            self.logs.refresh_bridge()
        self._guarded(self.insight.serve)
        self.start()

    def serve_unannounced(self) -> None:
        """Start with a server that has no lifespan, at its first request: only a signal will tell of its end."""
        if self.enabled and not self.serving:
            self._watch_signals()
            self._guarded(self.insight.serve)

    def _watch_signals(self) -> None:
        if self.tracing.enabled:
            tracing.uncover_server_handlers()
        self._signals.install()

    def guard(self) -> None:
        """Have SIGTERM drain before it kills a process that does not handle it."""
        if self.enabled:
            self._signals.guard(tracing.only_ends_process)

    def _signalled(self) -> None:
        """Learn in a signal handler that the process was told to go: what ends from now on ends by the shutdown."""
        self._told_to_end = self.stopping = True
        self._wake.set()

    def _run(self, leave: threading.Event) -> None:
        while True:
            alone = (
                self._told_to_end and not self.serving
            )  # no lifespan will tell when the last request has ended
            woken = self._wake.wait(_LAST_ROUND if alone else min(_ROUND, self.config.flush_interval))
            if leave.is_set():
                return
            self.round(flush=woken)
            if alone and not self.traffic.active and not self.traffic.websockets:
                self.drain()
                return

    def round(self, *, flush: bool = False) -> None:
        """Do what is due. With `flush`, or while the process shuts down, flush at once."""
        now = time.monotonic()
        due = now - self._last_flush >= self.config.flush_interval
        steps: list[Callable[[], None]] = [self.traffic.settle, self._count_lost_traces]
        if due or flush or self.stopping:
            self._last_flush = now
            steps += [
                self.tasks.cut_long_runs,
                self._count_clients,
                self._count_lost_lines,
                self.metrics.flush,
            ]
        if now - self._last_check >= _BRIDGE_CHECK and self.logs is not None:
            self._last_check = now
            steps.append(self.logs.refresh_bridge)
        with self._round_lock:
            for step in steps:
                self._guarded(step)
        for job in self.jobs:
            self._guarded(job, now)

    def catch_up(self) -> None:
        """Count what has ended and flush, in the caller's thread: for whoever reads right after."""
        with self._round_lock:  # what the thread has in hand is counted first
            for step in (
                self.traffic.settle,
                self._count_clients,
                self._count_lost_lines,
                self.metrics.flush,
            ):
                self._guarded(step)

    def _guarded(self, step: Callable[..., Any], *arguments: Any) -> None:
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001 - the thread must go on for the other steps
            self.fault(error)

    def fault(self, error: Exception) -> None:
        """Count a fault of this package's own, and say where it was; the application never sees it."""
        self.metrics.drop(
            "internal_error", f"streaming_dd failed, the application is not affected: {error!r}"
        )
        say("internal", f"streaming_dd failed, the application is not affected: {error!r}", exc_info=True)

    def _count_clients(self) -> None:
        self.tasks.clients_of = self.traffic.clients_by_instance() if self.traffic.clients else None

    def _count_lost_lines(self) -> None:
        if self.logs is not None:
            for reason, count in self.logs.dropped.items():
                self.metrics.lost_lines(reason, count)

    def _count_lost_traces(self) -> None:
        lost = self.tracing.look_for_agent(time.monotonic())
        if lost:
            self.metrics.drop(
                "no_trace_agent",
                f"no Agent takes traces at {self.tracing.address}; the application is not affected, but they are dropped. "
                "Start one (`streaming-dd agent`), set DD_TRACE_AGENT_URL, or set STREAMING_TRACING_ENABLED=false.",
                lost,
            )

    def take_in(self) -> None:
        """Flush what has been recorded so far, for those who read totals; blocks, so call it off the event loop."""
        self._guarded(self.traffic.settle)
        if self._pid == os.getpid() and not self._ended:
            self._guarded(self.metrics.flush)

    # --- the end --------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Send everything at the end of serving: open tasks end, gauges go to 0, spans and lines are flushed.

        Bounded by the shutdown timeout. What is recorded after a signal's drain goes out when the process ends; where
        no signal ends it, and when a server starts again, recording begins anew.
        """
        if self._end_rounds():
            self._send_the_rest()
            self.serving = False
            self._ended = self._told_to_end

    async def end_serving(self) -> None:
        """Drain beside the running loop, in a thread of our own: the loop's may all be taken by the application."""
        loop = asyncio.get_running_loop()
        await self._see_requests_end(loop.time() + _CANCELLED_LIMIT)
        drained = asyncio.Event()

        def drain() -> None:
            self.drain()
            with contextlib.suppress(RuntimeError):  # the loop did not wait that long
                loop.call_soon_threadsafe(drained.set)

        try:
            threading.Thread(target=drain, name="streaming-dd-drain", daemon=True).start()
        except RuntimeError:  # the system has no more threads
            self.drain()
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(drained.wait(), 2 * self.config.shutdown_timeout + 1)

    async def _see_requests_end(self, deadline: float) -> None:
        """Wait for the requests that the server has just cancelled: uvicorn does not, and some need a few rounds of the
        loop. The streams of those that resist end here.
        """
        loop = asyncio.get_running_loop()
        # An event set at every end of a request would cost each of them; this is the end of the process.
        while (self.traffic.active or self.traffic.websockets) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if self._told_to_end:
            self._guarded(self.traffic.abandon)

    def _end_rounds(self) -> bool:
        """End the thread; False if that has been done, or is not this process' to do."""
        with self._thread_lock:
            if self._ended or not self.enabled or self._pid != os.getpid():
                return False
            self._ended = True
            thread, self._thread = self._thread, None
        self._leave.set()
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(self.config.shutdown_timeout)
        return True

    def _send_the_rest(self) -> None:
        deadline = time.monotonic() + self.config.shutdown_timeout
        steps = [self.insight.stop, self.tasks.abandon, self.traffic.settle, self._count_lost_lines]
        if self._slot is not None:  # else nothing was recorded, and the gauges are those of another process
            steps.append(self.metrics.final_flush)
        for step in steps:
            self._guarded(step)
        if self.logs is not None:
            self._guarded(self.logs.drain, max(0.1, deadline - time.monotonic()))
        self._guarded(self.tracing.flush, max(0.1, deadline - time.monotonic()))

    def stop(self) -> None:
        """Drain at the end of the process, and shut down what would otherwise wait for an Agent that is not there."""
        if not self.enabled or self._pid != os.getpid():
            return
        self._end_rounds()
        self._send_the_rest()
        self._guarded(self.tracing.stop, self.config.shutdown_timeout)

    def close(self) -> None:
        """Stop recording for good, without what only the end of a process needs (for tests and `configure()`)."""
        self._ended = True
        self._leave.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2)
        self._guarded(self.insight.close)
        self._signals.remove()
        if self.logs is not None:
            self.logs.stop(self.config.shutdown_timeout)
        self.metrics.sender.close()
        if self._slot is not None:
            self._slot.release()

    def after_fork(self) -> None:
        """Begin anew in a forked child: no thread, no connections, no tasks, nothing counted twice."""
        self._pid = os.getpid()
        self._thread = None
        self._thread_lock = threading.Lock()
        self._round_lock = threading.Lock()
        self._wake = WakeUp()
        self._slot = None
        self._ended = self._told_to_end = self.stopping = self.serving = False
        self.metrics.after_fork()
        self.traffic.after_fork()
        self.tasks.after_fork()
        self.insight.after_fork()


def _start_logs(config: Config) -> Logs:
    from . import logs  # brings loguru: only where lines are written

    return logs.start(config)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a test has everything go, and the settings that win over every other meanwhile."""

    settings: Mapping[str, Any]
    sender: Sender | None = None
    log_destination: Destination | None = None


#: The recorder of this process; read it through `get()`.
current: Recorder | None = None
#: In force while a test captures: every `configure()` obeys it, also one that the tested application calls.
redirect: Redirect | None = None
_lock = threading.RLock()
_hooks_installed = False


def get() -> Recorder:
    """Return the recorder, made from Django settings and the environment if nobody configured it."""
    found = current
    if found is None:
        with _lock:
            found = current
            if found is None:
                found = configure()
    if found._thread is None:
        found.start()
    return found


def configure(*, sender: Sender | None = None, **settings: Any) -> Recorder:
    """Set this process up; arguments win over Django settings, those over the environment.

    Raises ConfigError, naming the setting and what to write. Calling it again replaces the configuration.
    """
    global current
    if redirect is not None:
        settings = {**settings, **redirect.settings}
        sender = redirect.sender or sender
    config = load(settings, django=django_settings())
    with _lock:
        previous = current
        current = None
        if previous is not None:
            previous.close()
        current = Recorder(config, sender)
        if redirect is not None and redirect.log_destination is not None and current.logs is not None:
            current.logs.add(redirect.log_destination)
        _install_process_hooks()
        current.guard()
        if previous is not None and previous.serving:  # configured by the application's own start-up
            current.serve()
        return current


def reset() -> None:
    """Forget everything: the next use begins anew (for tests)."""
    global current
    with _lock:
        if current is not None:
            current.close()
        current = None


def _install_process_hooks() -> None:
    global _hooks_installed
    if _hooks_installed:
        return
    _hooks_installed = True
    atexit.register(_at_exit)
    _drain_at_end_of_child()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def _at_exit() -> None:
    if current is not None:
        current.stop()


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()
    if current is not None:
        current.after_fork()
        multiprocessing = sys.modules.get("multiprocessing.util")
        if multiprocessing is not None:  # which forgets its finalizers when the child begins
            multiprocessing.register_after_fork(_install_process_hooks, _drain_at_end_of_child)


def _drain_at_end_of_child(_: object = None) -> None:
    """Drain when a multiprocessing child ends: it does so by os._exit, without atexit."""
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        sys.modules["multiprocessing.util"].Finalize(None, _drain_current, exitpriority=1)


def _drain_current() -> None:
    if current is not None:
        current.drain()
