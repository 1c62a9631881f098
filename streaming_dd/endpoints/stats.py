"""What /stats tells an operator about this worker: tasks, clients, rates, the running tasks, process, totals.

State: `Stats` (one for each recorder) remembers how many tasks had ended in the last minutes. Everything else is
read where it lives, in a thread, while the event loop goes on changing it. docs/endpoints.md has the keys.
"""

from __future__ import annotations

import heapq
import os
import platform
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..output import metrics
from ..output.failure import shown
from ..output.notices import say
from ..output.peaks import Peak
from ..recorder import Recorder
from ..tasks import report as task_report
from ..tasks.hooks.instances import describe_task
from ..tasks.hooks.wrapping import doubles
from ..tasks.kinds import TaskKind
from .health import Health
from .health.runs import iso

#: Running tasks that are listed, oldest first.
RUNNING_LIMIT: Final = 100
#: Seconds over which rates are counted, and between two counts.
RATE_WINDOW: Final = 300.0
_RATE_STEP: Final = 10.0
_COPY_ATTEMPTS: Final = 20


class Stats:
    """The statistics of this process. Find them with `recorder.get().part(Stats)`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._started = time.time()
        self._peak = Peak()
        self._ended: deque[tuple[float, int]] = deque(
            [(time.monotonic(), 0)], maxlen=int(RATE_WINDOW / _RATE_STEP) + 1
        )
        recorder.jobs.append(self._job)

    def _job(self, now: float) -> None:
        """Called by the recorder's thread: note the peak and how many tasks have ended."""
        self._peak.note(sum(len(kind.live) for kind in self._kinds()))
        if now - self._ended[-1][0] >= _RATE_STEP:
            self._ended.append((now, _ended(self._kinds())))

    def _kinds(self) -> list[TaskKind]:
        return list(dict.fromkeys(list(self._recorder.tasks.kinds.values())))

    def collect(self, coordinator: Any = None) -> dict[str, object]:
        """Return everything; a section that cannot be read says so. Blocks: call it off the event loop."""
        self._recorder.take_in()
        kinds = self._kinds()
        state = CoordinatorState(coordinator)
        by_status = self._by_status(kinds, state)
        sections: dict[str, Callable[[], object]] = {
            "timestamp": lambda: iso(time.time()),
            "worker": self.worker,
            "tasks": lambda: self._tasks(by_status, state),
            "tasks_by_status": lambda: by_status,
            "client_connections": lambda: self._clients(state),
            "peaks": lambda: self._peaks(kinds),
            "rates": lambda: self._rates(kinds),
            "running": self._running,
            "process": self._process,
            "telemetry": self._telemetry,
            "totals": self._totals,
        }
        found = {name: _section(name, read) for name, read in sections.items()}
        for name, read in list(self._recorder.stats_sections.items()):
            own, added = found.get(name), _section(name, read)
            found[name] = {**own, **added} if isinstance(own, dict) and isinstance(added, dict) else added
        return found

    # --- tasks ----------------------------------------------------------------------------------------------

    def _by_status(self, kinds: Iterable[TaskKind], state: CoordinatorState) -> dict[str, dict[str, int]]:
        """Per `app.model`: tasks running now, and those that have ended since the process started, by outcome."""
        found = {
            kind.resource: {
                "running": len(kind.live),
                "done": int(kind.completed.total),
                "failed": kind.failed,
                "cancelled": int(kind.cancelled.total),
                "lost": int(kind.lost.total),
            }
            for kind in kinds
        }
        for (
            name,
            running,
        ) in state.running().items():  # more than we know of: the coordinator is not instrumented
            status = found.setdefault(name, {"running": 0, "done": 0, "failed": 0, "cancelled": 0, "lost": 0})
            status["running"] = max(status["running"], running)
        return found

    def _tasks(self, by_status: Mapping[str, Mapping[str, int]], state: CoordinatorState) -> dict[str, int]:
        active = sum(status["running"] for status in by_status.values())
        self._peak.note(active)
        return {
            "active": active,
            "peak": self._peak.highest,
            "cached_instances": len(state.instances),
            "locks": len(state.locks),
            "stale_entries": state.stale,
        }

    def _rates(self, kinds: list[TaskKind]) -> dict[str, object]:
        """Tasks that ended per second over the last minutes, and their durations over the last ones of each kind."""
        now, ended = time.monotonic(), _ended(kinds)
        begun, before = self._ended[0]
        seconds = now - begun
        durations = self.durations()
        return {
            "window_seconds": round(seconds, 1),
            "tasks_per_second": round((ended - before) / seconds, 4) if seconds >= 1 else None,
            **durations_of(durations.values()),
            "by_kind": {kind: durations_of([one]) for kind, one in durations.items()},
        }

    def durations(self) -> dict[str, dict[str, Any]]:
        """Return by kind how many tasks have run, their seconds together, and the durations of the last ones."""
        return {
            kind.resource: {"ended": kind.ended, "seconds": kind.seconds, "recent": list(kind.recent.copy())}
            for kind in self._kinds()
            if kind.ended
        }

    def _peaks(self, kinds: Iterable[TaskKind]) -> dict[str, object]:
        """The highest numbers since the process started."""
        clients = list(self._recorder.traffic.clients.items())
        return {
            "tasks": {kind.resource: kind.peak.highest for kind in kinds},
            "clients": {".".join(names): kind.peak.highest for names, kind in clients},
            "websockets": self._recorder.traffic.websocket_peak.highest,
        }

    def _running(self) -> dict[str, object]:
        runs = list(self._recorder.tasks.live())
        oldest = heapq.nsmallest(RUNNING_LIMIT, runs, key=lambda run: run.submitted)
        count = self._recorder.tasks.client_count
        shown = [task_report.snapshot(run, clients=count(run), awaits=True) for run in oldest]
        return {"total": len(runs), "shown": len(shown), "tasks": shown}

    def _clients(self, state: CoordinatorState) -> dict[str, int]:
        """Connected clients per `app.model`: open sockets, or, where no stream passed here, what instances hold."""
        sockets = {
            ".".join(names): len(kind.live) for names, kind in list(self._recorder.traffic.clients.items())
        }
        held = state.clients()
        return {**dict.fromkeys(held, 0), **sockets} if sockets else held

    # --- the process ----------------------------------------------------------------------------------------

    def worker(self) -> dict[str, object]:
        """Who answers: with several workers on a port it is one of them."""
        config = self._recorder.config
        return {
            "slot": self._recorder.metrics.worker,
            "pid": os.getpid(),
            "host": platform.node(),
            "service": config.service,
            "env": config.env,
            "version": config.version,
            "seen_since": iso(self._started),
            "uptime_seconds": round(time.time() - self._started, 1),
        }

    def _process(self) -> dict[str, object]:
        """How late the loop is; the recorder's own section of this name adds memory, CPU, threads and files."""
        watch = self._recorder.part(Health).watch
        return {
            "loop_lag_seconds": round(watch.lag(time.monotonic()), 4) if watch.loop is not None else None,
        }

    def _telemetry(self) -> dict[str, object]:
        """What this package says about itself."""
        recorder = self._recorder
        handles = recorder.metrics.handles()
        return {
            "enabled": recorder.enabled,
            "metrics_to": recorder.config.dogstatsd_address() if recorder.metrics.enabled else None,
            "series": len(handles),
            "samples_dropped": dict(recorder.metrics.dropped),
            "lines_dropped": dict(recorder.logs.dropped) if recorder.logs is not None else {},
            "instrumented_twice": doubles(),
        }

    def _totals(self) -> dict[str, float]:
        """Every counter since the process started, added up over its tags."""
        totals: Tally[str] = Tally()
        for handle in self._recorder.metrics.handles():
            if isinstance(handle, metrics.Counter):
                totals[handle.metric.full_name(self._recorder.config.metric_prefix)] += handle.total  # type: ignore[assignment]
        return dict(sorted(totals.items()))


class CoordinatorState:
    """Copies of a coordinator's dictionaries, which other threads and tasks go on changing."""

    def __init__(self, coordinator: Any) -> None:
        self.tasks = _copy(coordinator, "_tasks")
        self.instances = _copy(coordinator, "_task_instances")
        self.locks = _copy(coordinator, "_locks")
        alive = {key: task for key, task in self.tasks.items() if not _is_done(task)}
        #: Tasks that are done and were never taken out: a leak of the coordinator's.
        self.stale = len(self.tasks) - len(alive)
        self._alive = alive

    def running(self) -> dict[str, int]:
        """Return how many tasks run, per `app.model`."""
        return dict(Tally(self._name(key) for key in self._alive))

    def clients(self) -> dict[str, int]:
        """Return how many clients the instances hold, per `app.model`."""
        found: Tally[str] = Tally()
        for key, instance in self.instances.items():
            clients: Any = getattr(instance, "_clients", None)
            found[self._name(key)] += len(clients) if hasattr(clients, "__len__") else 0
        return dict(found)

    def _name(self, key: object) -> str:
        app, model, _ = describe_task(self.instances.get(key), key) or ("unknown", "unknown", "")
        return f"{metrics.clean_tag_value(app)}.{metrics.clean_tag_value(model)}"


def _copy(owner: Any, name: str) -> dict[Any, Any]:
    """Return a copy of a dictionary attribute; {} where there is none, or where it never holds still."""
    for _ in range(_COPY_ATTEMPTS):
        try:
            return dict(getattr(owner, name, None) or {})
        except RuntimeError:  # it changed its size meanwhile
            time.sleep(0.001)
        except Exception as error:  # noqa: BLE001 - the coordinator is not ours
            say(f"stats:{name}", f"the coordinator's {name} cannot be read: {shown(error)}")
            return {}
    say(f"stats:{name}", f"the coordinator's {name} changes too fast to be read")
    return {}


def _is_done(task: Any) -> bool:
    done = getattr(task, "done", None)
    return bool(done()) if callable(done) else False


def _section(name: str, read: Callable[[], object]) -> object:
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - one broken section must not hide the others
        say(f"stats:{name}", f"the section {name} of /stats cannot be read: {shown(error)}", exc_info=True)
        return {"error": type(error).__name__}


def _ended(kinds: Iterable[TaskKind]) -> int:
    return sum(int(kind.completed.total + kind.cancelled.total) + kind.failed for kind in kinds)


def durations_of(kinds: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Mean of all tasks that have run, and 95th percentile of the last ones, in seconds; of several kinds or workers."""
    kinds = list(kinds)
    ended = sum(kind["ended"] for kind in kinds)
    recent = sorted(seconds for kind in kinds for seconds in kind["recent"])
    return {
        "mean_seconds": round(sum(kind["seconds"] for kind in kinds) / ended, 4) if ended else None,
        "p95_seconds": round(recent[max(0, -(-len(recent) * 95 // 100) - 1)], 4) if recent else None,
    }
