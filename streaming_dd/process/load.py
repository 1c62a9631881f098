"""What this process had to do in the last hour: the raw numbers of capacity planning, a minute each.

State: `LoadHistory` (it belongs to the recorder's insight), filled once a second by the recorder's thread. What
follows from it for servers is worked out in capacity.py, which reads this section of every worker's /stats.
"""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from ..requests.traffic import Traffic
from ..tasks.board import TaskBoard
from . import gauges as process

MINUTES: Final = 60
_MINUTE: Final = 60.0
_STEP: Final = 1.0


@dataclass(slots=True)
class Minute:
    """One minute, or what has passed of it. Sums may be added up over minutes and workers, peaks may not."""

    #: Seconds that were observed.
    seconds: float = 0.0
    started: float = 0
    #: Tasks that ended: how many; seconds that tasks were active, queue included; their own CPU seconds.
    ended: float = 0
    task_seconds: float = 0.0
    task_cpu_seconds: float = 0.0
    #: Tasks and clients at once, integrated over the observed seconds, and the most.
    active_seconds: float = 0.0
    active_peak: int = 0
    client_seconds: float = 0.0
    client_peak: int = 0
    #: CPU seconds of the whole process.
    cpu_seconds: float = 0.0
    rss_peak: int = 0
    #: Sums of the straight line through (active tasks, resident bytes): number, x, y, x*x, x*y, y*y.
    points: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0

    def add(self, other: Minute) -> None:
        """Take over another minute's sums and peaks."""
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            setattr(self, field.name, max(mine, theirs) if field.name.endswith("_peak") else mine + theirs)


class LoadHistory:
    """The last hour, and the running totals that it is cut from."""

    def __init__(self, board: TaskBoard, traffic: Traffic, wall: Callable[[], float] = time.time) -> None:
        self._board = board
        self._traffic = traffic
        self._wall = wall
        self._minutes: deque[Minute] = deque([Minute()], maxlen=MINUTES)
        #: [minute of the wall clock (epoch seconds at its start), tasks that started in it]: the same for all workers.
        self._started: deque[list[float]] = deque(maxlen=MINUTES + 1)
        self._last: float | None = None
        self._totals = self._read_totals()
        self._cpu = time.process_time()

    def job(self, now: float) -> None:
        """Take a sample once a second; `now` is monotonic. Called by the recorder's thread."""
        last = self._last
        if last is not None and 0 <= now - last < _STEP:
            return
        self._last = now
        passed = now - last if last is not None else 0.0
        if not 0 <= passed < _MINUTE:  # the process stood still, or the clock jumped: that was no load
            passed = 0.0
        self._sample(passed)

    def _sample(self, passed: float) -> None:
        minute = self._minutes[-1]
        if minute.seconds >= _MINUTE:
            minute = Minute()
            self._minutes.append(minute)
        active, active_peak, clients, client_peak = self._levels()
        minute.seconds += passed
        minute.active_seconds += active * passed
        minute.client_seconds += clients * passed
        minute.active_peak = max(minute.active_peak, active, active_peak)
        minute.client_peak = max(minute.client_peak, clients, client_peak)
        before, self._totals = self._totals, self._read_totals()
        for name, total, old in zip(_TOTALS, self._totals, before, strict=True):
            setattr(minute, name, getattr(minute, name) + total - old)
        self._count_started(self._totals[0] - before[0])
        cpu = time.process_time()
        minute.cpu_seconds += cpu - self._cpu
        self._cpu = cpu
        rss = process.rss()
        minute.rss_peak = max(minute.rss_peak, rss)
        minute.points += 1
        minute.x += active
        minute.y += rss
        minute.xx += active * active
        minute.xy += active * rss
        minute.yy += rss * rss

    def _count_started(self, number: float) -> None:
        begin = self._wall() // _MINUTE * _MINUTE
        if not self._started or self._started[-1][0] != begin:
            self._started.append([begin, 0])
        self._started[-1][1] += number

    def _read_totals(self) -> tuple[float, ...]:
        kinds = self._board.all_kinds()
        clock = time.perf_counter()
        for kind in kinds:
            kind.count_seconds(kind.live.copy(), clock)
        return (
            sum(kind.started.total for kind in kinds),
            sum(kind.completed.total + kind.failed + kind.cancelled.total for kind in kinds),
            sum(kind.task_seconds.total for kind in kinds),
            sum(kind.cpu_seconds for kind in kinds),
        )

    def _levels(self) -> tuple[int, int, int, int]:
        """Tasks and clients now; and the most at once of the last 10 to 20 seconds, of all kinds together."""
        now = time.monotonic()
        active = len(self._board.runs)
        clients = sum(len(kind.live) for kind in list(self._traffic.clients.values()))
        return (
            active,
            self._board.peak.read(active, now),
            clients,
            self._traffic.client_peak.read(clients, now),
        )

    def p95(self) -> float | None:
        """Return the p95 of the last durations of all kinds, in seconds."""
        durations = sorted(seconds for kind in self._board.all_kinds() for seconds in kind.recent.copy())
        return durations[int(0.95 * (len(durations) - 1))] if durations else None

    def stats(self) -> dict[str, Any]:
        """Return the section `capacity` of /stats."""
        minutes = list(self._minutes)
        window = Minute()
        for minute in minutes:
            window.add(minute)
        full = [minute for minute in minutes if minute.seconds >= _MINUTE / 2]
        return {
            "window_seconds": round(window.seconds, 3),
            "started_per_second": _rate(window.started, window.seconds),
            "ended_per_second": _rate(window.ended, window.seconds),
            "busiest_minute_started_per_second": max(
                (_rate(minute.started, minute.seconds) or 0.0 for minute in full), default=None
            ),
            "started_by_minute": [list(pair) for pair in self._started.copy()],
            "duration_mean_seconds": _rate(window.task_seconds, window.ended),
            "duration_p95_seconds": self.p95(),
            "cpu_seconds_per_task": _rate(window.task_cpu_seconds, window.ended),
            "active_now": self._levels()[0],
            "active_mean": _rate(window.active_seconds, window.seconds),
            "active_peak": window.active_peak,
            "clients_now": self._levels()[2],
            "clients_peak": window.client_peak,
            "host": platform.node(),
            "cores": usable_cores(),
            "memory_bytes": memory_size(),
            "open_files_limit": process.open_files_limit(),
            "rss_bytes": process.rss(),
            "pid": os.getpid(),
            "sums": asdict(window),
        }

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._minutes = deque([Minute()], maxlen=MINUTES)
        self._started = deque(maxlen=MINUTES + 1)
        self._last = None
        self._totals = self._read_totals()
        self._cpu = time.process_time()


_TOTALS: Final = ("started", "ended", "task_seconds", "task_cpu_seconds")


def _rate(amount: float, per: float) -> float | None:
    return round(amount / per, 6) if per else None


def usable_cores() -> int:
    """Return how many cores this process may use: its container's share where that is less than the machine."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return max(1, min(cores, int(int(quota) / int(period)))) if quota != "max" else cores
    except (OSError, ValueError):
        return cores


def memory_size() -> int | None:
    """Return how much memory this process may use, in bytes: its container's where that is less."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            limit = file.read().strip()
        return min(size, int(limit)) if limit != "max" else size
    except (OSError, ValueError):
        return size
