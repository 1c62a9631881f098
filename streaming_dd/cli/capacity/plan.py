"""What a measured window means for servers: Little's law, a utilisation target, and the resource that binds. No state.

A server runs `workers` processes. Each resource is to be used up to the target at most: queueing, which is not
modelled, stays short there. docs/capacity.md explains the arithmetic, docs/decisions/0076 why it is no more than that.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

from ...errors import CapacityError
from .window import Window

MB: Final = 1024.0 * 1024.0
#: Windows that hold less say too little: tasks that ended, seconds, and how often the p95 of the duration fits.
LEAST_TASKS: Final = 100
LEAST_SECONDS: Final = 60.0
LEAST_P95S: Final = 4.0
#: A difference between Little's law and the tasks seen at once beyond which the window was not steady.
STEADY: Final = 0.2
#: Cores that a worker uses below which what it does without any task may be most of it, and the share of the tasks' own
#: steps that says that it is not.
LIGHT: Final = 0.1
OWN_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server that is asked about, and how full it may be."""

    cores: int
    memory: float
    workers: int
    utilisation: float = 0.7
    open_files: float | None = None
    #: Tasks that one worker may run at once, where the application or its database sets a limit.
    tasks_per_worker: float | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """Servers that one resource asks for, unrounded; None where it could not be judged, with the reason."""

    resource: str
    servers: float | None
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer, and everything that it was made of."""

    window: Window
    server: Server
    growth: float
    spare: int
    rate: float
    rate_of: str
    tasks_at_once: float
    needs: list[Need]
    binding: str
    load_servers: int
    warnings: list[str]
    assumed: list[str]

    @property
    def servers(self) -> int:
        """Servers in all."""
        return self.load_servers + self.spare

    def as_json(self) -> dict[str, object]:
        """Return the plan as JSON values."""
        return {**asdict(self), "servers": self.servers, "little": self.window.little}


def make_plan(
    window: Window,
    server: Server,
    *,
    growth: float = 1.0,
    spare: int = 1,
    task_memory: float | None = None,
    least_tasks: int = LEAST_TASKS,
) -> Plan:
    """Return how many servers `growth` times the measured load needs; raise CapacityError where the data is too little.

    `task_memory` is bytes per task where the window could not tell, or where one knows better.
    """
    if missing := too_little(window, least_tasks):
        raise refusal(missing)
    warnings, assumed = _doubts(window), _assumptions(server, growth, spare)
    measured_rate, rate_of = window.rate, "mean of the window"
    if window.busiest_rate is not None and window.busiest_rate > window.rate:
        measured_rate, rate_of = window.busiest_rate, "busiest minute"
    elif window.busiest_rate is None:
        warnings.append("no whole minute was observed: the mean rate stands for the busiest one")
    rate = measured_rate * growth
    at_once = max(rate * window.duration, (window.active_peak or 0.0) * growth)
    if task_memory is not None:
        assumed.append(f"{task_memory / MB:.1f} MB of memory per task")
    needs = [
        _cpu(window, server, rate),
        _memory(window, server, at_once, task_memory if task_memory is not None else window.task_memory),
        _files(window, server, growth),
        _slots(server, at_once),
    ]
    binding = max(needs, key=lambda need: need.servers or 0.0)
    return Plan(
        window=window,
        server=server,
        growth=growth,
        spare=spare,
        rate=rate,
        rate_of=rate_of,
        tasks_at_once=at_once,
        needs=needs,
        binding=binding.resource,
        load_servers=max(1, math.ceil((binding.servers or 0.0) - 1e-9)),
        warnings=warnings,
        assumed=assumed,
    )


def too_little(window: Window, least_tasks: int = LEAST_TASKS) -> list[str]:
    """Return what a window has too little of, a sentence each."""
    found = []
    if window.tasks < least_tasks:
        missing = (least_tasks - window.tasks) / (window.tasks / window.seconds)
        ended = f"{window.tasks:.0f} task{'' if round(window.tasks) == 1 else 's'}"
        found.append(
            f"only {ended} ended in {_time(window.seconds)}; {least_tasks} are needed for means that "
            f"hold. At this rate that takes another {_time(missing)}; --least-tasks accepts fewer."
        )
    if window.seconds < LEAST_SECONDS:
        found.append(
            f"the window is {_time(window.seconds)}; {_time(LEAST_SECONDS)} at least are needed to know a rate. Wait."
        )
    if window.duration_p95 is not None and window.duration_p95 * LEAST_P95S > window.seconds:
        found.append(
            f"the p95 of the duration, {_time(window.duration_p95)}, is long beside the window of "
            f"{_time(window.seconds)}: long tasks that still run are missing from the mean. A window of "
            f"{_time(window.duration_p95 * LEAST_P95S)} is needed."
        )
    if not (window.all_cpu or window.own_cpu):
        found.append("no CPU time was measured: is STREAMING_TASK_CPU switched off in the application?")
    return found


def refusal(missing: list[str]) -> CapacityError:
    """Return the error that names everything that is missing."""
    return CapacityError(missing[0] if len(missing) == 1 else "\n  - ".join(["this is missing:", *missing]))


def _doubts(window: Window) -> list[str]:
    found = []
    imbalance = window.imbalance
    if imbalance is not None and imbalance > STEADY:
        found.append(
            f"Little's law gives {window.little:.1f} tasks at once, {window.active_mean:.1f} were seen: the load was not "
            "steady over the window, or tasks that run long have not ended yet"
        )
    own, every = window.own_cpu, window.all_cpu
    if own is not None and every and window.cores_used < LIGHT and own < OWN_SHARE * every:
        most = f", up to {every / own:.1f} times too much" if own else ""
        found.append(
            f"a worker used {window.cores_used:.1%} of a core, and {own / every:.0%} of that was the steps of tasks: what "
            f"it does without any task counts as theirs{most}. Measure under more load"
        )
    return found


def _assumptions(server: Server, growth: float, spare: int) -> list[str]:
    return [
        f"{growth:g} times the load",
        f"{server.utilisation:.0%} of each resource used at most",
        f"{spare} spare",
        f"servers of {server.cores} cores and {server.memory / MB / 1024:.1f} GB with {_workers(server)}, as fast as "
        "those measured",
    ]


def _workers(server: Server) -> str:
    return f"{server.workers} worker{'s' * (server.workers != 1)}"


# --- what each resource asks for --------------------------------------------------------------------------------


def _cpu(window: Window, server: Server, rate: float) -> Need:
    """CPU: a worker runs Python on one core at a time, however many the server has."""
    per_task = max(window.all_cpu or 0.0, window.own_cpu or 0.0)
    cores = min(server.cores, server.workers)
    used = rate * per_task
    how = f"{rate:.3g} tasks/s x {per_task:.3g} s = {used:.3g} cores of {cores} x {server.utilisation:.0%}"
    return Need("CPU", used / (cores * server.utilisation), how)


def _memory(window: Window, server: Server, at_once: float, per_task: float | None) -> Need:
    base = window.worker_memory
    if base is None:
        return Need("memory", None, "no worker's memory was measured")
    room = server.memory * server.utilisation - server.workers * base
    if room <= 0:
        raise CapacityError(
            f"{_workers(server)} take{'s' * (server.workers == 1)} {server.workers * base / MB:.0f} MB before the first "
            "task; "
            f"{server.utilisation:.0%} of {server.memory / MB:.0f} MB is less. Plan with fewer --workers or more --memory."
        )
    if per_task is None:
        return Need(
            "memory",
            None,
            f"{window.task_memory_note or 'memory per task was not measured'}; --task-memory gives it",
        )
    how = f"{at_once:.3g} tasks at once x {per_task / MB:.3g} MB, {room / MB:.0f} MB for tasks on a server"
    return Need("memory", at_once * per_task / room, how)


def _files(window: Window, server: Server, growth: float) -> Need:
    limit = server.open_files if server.open_files is not None else window.open_files_limit
    if limit is None:
        return Need("open files", None, "no limit of open files is known")
    clients = window.clients_peak * growth
    room = limit * server.workers * server.utilisation
    return Need("open files", clients / room, f"{clients:.0f} clients at once, {room:.0f} on a server")


def _slots(server: Server, at_once: float) -> Need:
    if server.tasks_per_worker is None:
        return Need("task slots", None, "no limit of tasks per worker was given (--tasks-per-worker)")
    room = server.tasks_per_worker * server.workers * server.utilisation
    return Need("task slots", at_once / room, f"{at_once:.3g} tasks at once, {room:.3g} on a server")


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
