"""Why a task is slow and what a server can carry: the parts that watch, put together for the recorder.

State: one `Insight` per recorder, with the loop monitor and its thread, the watchdog, the process' metrics, the
load of the last hour, and Datadog's profiler where it is on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..config import Config
from ..output import tracing
from ..output.metrics import Metrics
from ..requests.traffic import Traffic
from ..tasks.board import TaskBoard
from ..tasks.heartbeat import Heartbeat
from ..tasks.measuring import memory
from ..tasks.measuring.steps import Meter, Steps
from ..tasks.run import TaskRun
from ..tasks.watchdog import Watchdog
from .gauges import ProcessMetrics
from .load import LoadHistory
from .loop_monitor import LoopMonitor

if TYPE_CHECKING:
    from ..logs import Logs  # brings loguru


class Watched(Protocol):
    """What is watched: the recorder, as far as it is needed here."""

    config: Config
    enabled: bool
    metrics: Metrics
    logs: Logs | None
    tasks: TaskBoard
    traffic: Traffic
    jobs: list[Callable[[float], None]]
    stats_sections: dict[str, Callable[[], object]]

    def fault(self, error: Exception) -> None:
        """Count and say a fault of this package's own."""


class Insight:
    """Everything that looks at tasks, event loops and the process while they run."""

    def __init__(self, recorder: Watched) -> None:
        config, tasks = recorder.config, recorder.tasks
        self._config = config
        self._tasks = tasks
        self._profiler: Any = None
        self._traces_memory = False
        self.watchdog = Watchdog(config, tasks)
        self.monitor = LoopMonitor(
            config,
            recorder.metrics,
            recorder.logs,
            look=self.watchdog.look,
            describe=self._describe,
            fault=recorder.fault,
        )
        self.process = ProcessMetrics(recorder.metrics)
        self.load = LoadHistory(tasks, recorder.traffic)
        self.heartbeat = Heartbeat(tasks, config.task_heartbeat, config.live_tasks_url)
        if recorder.enabled:
            tasks.watcher = self
            recorder.jobs += [self.load.job, self.heartbeat.job]
        if config.task_memory and config.task_cpu and recorder.enabled:
            self._traces_memory = memory.start()
            tasks.measure_memory()
        recorder.stats_sections["loop"] = self.monitor.stats
        recorder.stats_sections["process"] = self.process.stats
        recorder.stats_sections["capacity"] = self.load.stats

    # --- a Watcher for the tasks ------------------------------------------------------------------------------

    def watch(self, meter: Meter) -> None:
        """Look after an event loop on which a task begins, or the server runs."""
        self.monitor.watch(meter)

    def ended(self, run: TaskRun) -> None:
        """Learn that a run that had stalled has ended."""
        self.watchdog.ended(run)

    def _describe(self, steps: Steps) -> dict[str, object]:
        """Whose step holds the loop: the members of a log line."""
        run = steps.run
        if not isinstance(run, TaskRun):
            return {}
        names = {"task": f"task {run.kind.resource} {run.task_id}".rstrip(), **run.kind.span_tags}
        return {**names, **self._tasks.who(run)}

    # --- the process ------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Begin with a server, inside its running loop."""
        self.watch(Meter.of_running_loop())
        tracing.start_runtime_metrics(self._config)
        if self._config.profiling_enabled and self._profiler is None:
            self._profiler = tracing.start_profiler(self._config)

    @property
    def profiles(self) -> bool:
        """Whether Datadog's continuous profiler runs, started by us."""
        return self._profiler is not None

    def stop(self, timeout: float) -> None:
        """Stop watching, and send the last profile, in `timeout` seconds at most."""
        self.monitor.stop()
        profiler, self._profiler = self._profiler, None
        if profiler is not None:  # an Agent that does not answer must not keep the process
            last = threading.Thread(target=profiler.stop, name="streaming-dd-profile", daemon=True)
            last.start()
            last.join(timeout)

    def close(self) -> None:
        """Stop for good, and leave tracemalloc as it was found."""
        self.stop(self._config.shutdown_timeout)
        if self._traces_memory:
            self._traces_memory = False
            memory.stop()

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self.monitor.after_fork()
        self.load.after_fork()
        self.heartbeat.after_fork()
