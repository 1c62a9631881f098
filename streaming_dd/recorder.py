"""The one process-wide object: configuration, metrics, tracing, logs, live tasks and live traffic, and their thread.

State: `current`, the recorder in use (None until the first use or `configure()`), replaced as a whole by
`configure()` and `reset()`. Its background thread, started when the process begins to serve or to record, flushes
metrics, writes access lines and cuts long spans; it is started anew in a forked child.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from .config import Config, differing, django_settings, load, named
from .errors import ConfigError
from .output import redaction
from .output.failure import shown
from .output.forks import first_use
from .output.metrics import Metrics, Sender
from .output.misspelt import tell_complaints
from .output.notices import say
from .output.redirect import Redirect
from .output.tracing import Tracing
from .process import hooks, worker
from .process.ending import Ending
from .process.insight import Insight
from .process.losses import Losses
from .process.signals import WakeUp
from .requests.traffic import Traffic
from .tasks.board import TaskBoard

if TYPE_CHECKING:
    from .logs import Logs

#: Seconds between two rounds of the background thread: how far access lines lag behind.
_ROUND: Final = 0.2
#: The same once a signal has told a server without a lifespan to end: uvicorn needs a tenth of a second for that.
_LAST_ROUND: Final = 0.02
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
        self._every = min(_ROUND, config.flush_interval)
        self._pid = os.getpid()
        self.wake = WakeUp()
        self._leave = threading.Event()
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()
        #: Serving, between the start-up and the shutdown of a lifespan.
        self.serving = False
        self._round_lock = threading.Lock()
        self._last_flush = float("-inf")
        self._last_check = float("-inf")
        self._slot: worker.Slot | None = None
        self.logs: Logs | None = _start_logs(config) if config.enabled and config.logs_enabled else None
        redaction.use(config.log_redact)
        try:
            self.tracing = Tracing(config)
            self.metrics = Metrics(config, sender, wake=self.wake.set)
        except ConfigError:  # nobody would end what writes the lines
            if self.logs is not None:
                self.logs.stop(config.shutdown_timeout)
            raise
        tell_complaints(config, os.environ if self.tracing.enabled else {})
        self.losses = Losses(self.metrics, self.tracing, self.logs)
        self.traffic = Traffic(config, self.metrics, self.logs)
        self.tasks = TaskBoard(config, self.metrics, self.tracing, self.logs)
        #: Called in every round of the background thread with the monotonic time.
        self.jobs: list[Job] = []
        #: What has to be done before metrics go out.
        self.before_flush: list[Callable[[], None]] = []
        #: Called when all is sent, at the end of serving and of the process, and when this recorder is replaced.
        self.endings: list[Callable[[], None]] = []
        #: Sections of /stats beside its own: name -> what returns JSON values. Called off the event loop.
        self.stats_sections: dict[str, Callable[[], object]] = {}
        self._parts: dict[Any, Any] = {}
        self.insight = Insight(self)
        self.ending = Ending(self)
        self.tasks.fault, self.tasks.drain = self.fault, self.ending.drain

    def part(self, kind: Callable[[Recorder], Part]) -> Part:
        """Return this recorder's one object of a module above (its Health, its Stats), made by the first call."""
        with first_use:
            if kind not in self._parts:
                self._parts[kind] = kind(self)
            return cast(Part, self._parts[kind])

    # --- the thread -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the background thread and take a worker slot, if that has not been done in this process."""
        with first_use, self._thread_lock:
            if self._thread is not None or not self.enabled or self.ending.ended:
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
        self.ending.begin()
        self.serving = True
        self.ending.watch_signals()
        if self.logs is not None:
            self.logs.refresh_bridge()
        with first_use:  # ddtrace's profiler may be imported
            self.guarded(self.insight.serve)
        self.start()

    def serve_unannounced(self) -> None:
        """Start with a server that has no lifespan, at its first request: only a signal will tell of its end."""
        if self.enabled and not self.serving:
            self.ending.watch_signals()
            with first_use:
                self.guarded(self.insight.serve)

    def _run(self, leave: threading.Event) -> None:
        while True:
            # No lifespan will tell when the last request has ended.
            alone = self.ending.told and not self.serving
            woken = self.wake.wait(_LAST_ROUND if alone else self._every)
            if leave.is_set():
                return
            self.round(flush=woken)
            if alone and not self.traffic.active and not self.traffic.websockets:
                self.ending.drain()
                return

    def round(self, *, flush: bool = False) -> None:
        """Do what is due. With `flush`, or while the process shuts down, flush at once."""
        now = time.monotonic()
        due = now - self._last_flush >= self.config.flush_interval - self._every / 2  # at the nearest round
        steps: list[Callable[[], None]] = [
            self.losses.spans,
            self.traffic.settle,
            self.tasks.settle,
            self.losses.traces,
        ]
        if due or flush or self.stopping:
            self._last_flush = now
            steps += [self.tasks.cut_long_runs, self._count_clients, self.losses.lines]
            steps += [*self.before_flush, self.ending.flush]
        if now - self._last_check >= _BRIDGE_CHECK and self.logs is not None:
            self._last_check = now
            steps.append(self.logs.refresh_bridge)
        with self._round_lock:
            for step in steps:
                self.guarded(step)
        for job in (*self.jobs, self.ending.look):
            self.guarded(job, now)

    def catch_up(self) -> None:
        """Count what has ended and flush, in the caller's thread: for whoever reads right after."""
        with self._round_lock:  # what the thread has in hand is counted first
            steps = (self.traffic.settle, self.tasks.settle, self._count_clients, self.losses.lines)
            for step in (*steps, self.metrics.flush):
                self.guarded(step)

    def guarded(self, step: Callable[..., Any], *arguments: Any) -> None:
        """Take a step whose fault must not stop the others."""
        try:
            step(*arguments)
        except Exception as error:  # noqa: BLE001 - the thread must go on for the other steps
            self.fault(error)

    def fault(self, error: Exception) -> None:
        """Count a fault of this package's own, and say where it was; the application never sees it."""
        told = f"streaming_dd failed, the application is not affected: {shown(error)}"
        self.metrics.drop("internal_error", told)
        say("internal", told, exc_info=True)

    def _count_clients(self) -> None:
        self.tasks.clients_of = self.traffic.clients_by_instance() if self.traffic.clients else None

    def take_in(self) -> None:
        """Bring totals and gauges up to date for those who read them; waits for no socket. Call it off the event loop."""
        self.guarded(self.traffic.settle)
        self.guarded(self.tasks.settle)
        if self.is_own_process():
            self.guarded(self.metrics.take_in)

    # --- the end --------------------------------------------------------------------------------------------

    def end_rounds(self, timeout: float) -> bool:
        """End the background thread; False if that is not this process' to do."""
        if not self.enabled or not self.is_own_process():
            return False
        with self._thread_lock:
            thread, self._thread = self._thread, None
        self._leave.set()
        self.wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        return True

    def is_own_process(self) -> bool:
        """Return whether this is the process in which recording began, and no fork that we have not been told of."""
        return self._pid == os.getpid()

    @property
    def recorded(self) -> bool:
        """Whether anything was recorded here: else the gauges are those of another process."""
        return self._slot is not None

    def stop(self) -> None:
        """Send everything, within the shutdown timeout: for whoever ends a process in a way that calls no exit handler."""
        self.ending.stop()

    def close(self) -> None:
        """Stop recording for good, without what only the end of a process needs (for tests and `configure()`)."""
        self.ending.close()
        self._leave.set()
        self.wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2)
        for step in (self.insight.close, *self.endings):
            self.guarded(step)
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
        self.wake = WakeUp()
        self._slot = None
        self.serving = False
        for part in (self.ending, self.metrics, self.tracing, self.traffic, self.tasks, self.insight):
            part.after_fork()


def _start_logs(config: Config) -> Logs:
    from . import logs  # brings loguru: only where lines are written

    return logs.start(config)


#: The recorder of this process; read it through `get()`.
current: Recorder | None = None
#: In force while a test captures: every `configure()` obeys it, also one that the tested application calls.
redirect: Redirect | None = None


def get() -> Recorder:
    """Return the recorder, made from Django settings and the environment if nobody configured it."""
    found = current
    if found is None:
        with first_use:
            found = current or configure()
    if found._thread is None:
        found.start()
    return found


def configure(*, sender: Sender | None = None, **settings: Any) -> Recorder:
    """Set this process up; arguments win over Django settings, those over the environment.

    Raises ConfigError, naming the setting and what to write. Calling it again replaces the configuration when all that
    was recorded has been sent, and says what changed; while requests or tasks are under way it says what does not.
    """
    return use(configuration(settings), sender)


def configuration(settings: Mapping[str, Any]) -> Config:
    """Return what `configure()` would set up with these settings; raises ConfigError as it does."""
    return named(load({**settings, **(redirect.settings if redirect else {})}, django=django_settings()))


def use(config: Config, sender: Sender | None = None, *, leaving: Collection[str] = ()) -> Recorder:
    """Record by `config` from now on, if nothing is under way; whoever keeps the fields `leaving` sees to them."""
    global current
    with first_use:
        previous = current
        changed = differing(previous.config, config, leaving) if previous is not None else []
        if previous is not None and redirect is None and not previous.ending.may_be_replaced(changed):
            return previous
        current = None
        if previous is not None:
            previous.ending.hand_over(final=bool(changed))
            previous.close()
        current = Recorder(config, (redirect and redirect.sender) or sender)
        if redirect is not None and redirect.log_destination is not None and current.logs is not None:
            current.logs.add(redirect.log_destination)
        hooks.install(_Hooks())
        if config.enabled:
            current.ending.guard()
            _say_new(config, changed)
        if previous is not None and previous.serving:  # configured by the application's own start-up
            current.serve()
        return current


def _say_new(config: Config, changed: list[str]) -> None:
    if config.origins.get("service") == "inferred":
        text = f"DD_SERVICE is not set: the service is called {config.service!r}, after what was started"
        say("service", text, level=logging.INFO)
    if changed and redirect is None:
        say(f"configured:{changed}", f"configured anew; changed: {', '.join(changed)}", level=logging.INFO)


def reset() -> None:
    """Forget everything: the next use begins anew (for tests)."""
    global current
    with first_use:
        if current is not None:
            current.close()
        current = None


class _Hooks:
    """What the recorder in use does when the interpreter tells it something."""

    def at_exit(self) -> None:
        if current is not None:
            current.stop()

    def after_fork(self) -> bool:
        if current is not None:
            current.after_fork()
        return current is not None

    def at_end_of_child(self) -> None:
        if current is not None:
            current.ending.drain()
