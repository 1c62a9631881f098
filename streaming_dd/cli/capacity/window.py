"""What was measured over a window, of all workers together: the input of a plan. No state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...errors import CapacityError

#: Points that a slope of memory over tasks needs, and the share of the variation that it must explain.
SLOPE_POINTS: Final = 30
SLOPE_FIT: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Measurements of some workers over some time. None is what was not measured; seconds and bytes throughout."""

    source: str
    workers: int
    #: Wall time of the window; each worker was observed for about as long.
    seconds: float
    #: Tasks that ended in it.
    tasks: float
    #: Tasks that started, per second: over the window, and in its busiest minute.
    rate: float
    busiest_rate: float | None
    duration: float
    #: Of all tasks, or the highest of the workers' own: a bound, by which a window is found too short.
    duration_p95: float | None
    #: CPU seconds of a task: of its own steps and threads, and of everything that the workers did, by tasks ended.
    own_cpu: float | None
    all_cpu: float | None
    active_mean: float | None
    #: The most at once; of several workers that were looked at apart (`peaks_of`), the sum of their peaks: no more
    #: than that were there at once.
    active_peak: float | None
    clients_peak: float
    peaks_of: int = 1
    #: Memory of one more task at once, and how well that explains what was seen; memory of a worker without tasks.
    task_memory: float | None = None
    task_memory_fit: float | None = None
    task_memory_note: str = ""
    worker_memory: float | None = None
    #: What the machines seemed to have.
    cores: int | None = None
    memory: float | None = None
    open_files_limit: float | None = None

    @property
    def little(self) -> float:
        """Tasks at once that Little's law gives for this window: rate times duration."""
        return self.rate * self.duration

    @property
    def cores_used(self) -> float:
        """Cores that a worker used in the mean, for whatever it did."""
        return self.tasks * (self.all_cpu or 0.0) / self.seconds / self.workers

    @property
    def imbalance(self) -> float | None:
        """How far Little's law is from the tasks that were seen at once, as a share; None if those were not seen."""
        if not self.active_mean:
            return None
        return abs(self.little - self.active_mean) / self.active_mean


def of_sections(sections: Iterable[Mapping[str, Any]], source: str) -> Window:
    """Return the window of several workers from the section `capacity` of their /stats.

    Raises CapacityError if a section is none of ours.
    """
    workers = list(sections)
    try:
        return _merge(workers, source)
    except (KeyError, TypeError, ValueError) as error:
        raise CapacityError(
            f"{source}: the section 'capacity' of /stats is not as expected ({error!r}); do all workers run the "
            "same version of streaming-dd as this command?"
        ) from error


def _merge(workers: list[Mapping[str, Any]], source: str) -> Window:
    sums = [worker["sums"] for worker in workers]
    seconds = sum(float(one["seconds"]) for one in sums) / len(sums)
    tasks = sum(one["ended"] for one in sums)
    if not seconds or not tasks:
        raise CapacityError(
            f"{source}: no task has ended in the last hour, there is nothing to go by. Let it run under its usual load."
        )
    slope, fit, base, note = _memory(sums)
    p95 = [worker["duration_p95_seconds"] for worker in workers if worker["duration_p95_seconds"] is not None]
    return Window(
        source=source,
        workers=len(workers),
        seconds=seconds,
        tasks=tasks,
        rate=sum(one["started"] / one["seconds"] for one in sums if one["seconds"]),
        busiest_rate=_busiest(workers),
        duration=sum(one["task_seconds"] for one in sums) / tasks,
        duration_p95=max(p95, default=None),
        own_cpu=sum(one["task_cpu_seconds"] for one in sums) / tasks,
        all_cpu=sum(one["cpu_seconds"] for one in sums) / tasks,
        active_mean=sum(one["active_seconds"] / one["seconds"] for one in sums if one["seconds"]),
        active_peak=sum(one["active_peak"] for one in sums),
        clients_peak=sum(one["client_peak"] for one in sums),
        peaks_of=len(workers),
        task_memory=slope,
        task_memory_fit=fit,
        task_memory_note=note,
        worker_memory=base,
        cores=min(int(worker["cores"]) for worker in workers),
        memory=min((worker["memory_bytes"] for worker in workers if worker["memory_bytes"]), default=None),
        open_files_limit=min(
            (worker["open_files_limit"] for worker in workers if worker["open_files_limit"]), default=None
        ),
    )


def _busiest(workers: list[Mapping[str, Any]]) -> float | None:
    """Return tasks started per second in the busiest minute of all workers together; None before a whole one was seen.

    That is a minute of the wall clock, or the busiest of one worker's own if that had more. Where a worker tells no minutes
    of the wall clock, the workers' own are added up: more than that was in no minute.
    """
    own = [worker["busiest_minute_started_per_second"] for worker in workers]
    if None in own:
        return None
    told = [dict(map(tuple, worker.get("started_by_minute") or ())) for worker in workers]
    together: Counter[float] = Counter()
    ended = min((max(minutes, default=0.0) for minutes in told), default=0.0)
    for minutes in told:
        together.update({begin: number for begin, number in minutes.items() if begin < ended})
    if not together:
        return float(sum(own))
    return float(max(max(together.values()) / 60, *own))


def _memory(sums: list[Mapping[str, Any]]) -> tuple[float | None, float | None, float | None, str]:
    """Return the slope of memory over tasks (within each worker, all together), its fit, a worker's base, and why not."""
    points = sum(one["points"] for one in sums)
    if not points:
        return None, None, None, "memory was not sampled"
    xx = sum(one["xx"] - one["x"] ** 2 / one["points"] for one in sums if one["points"])
    xy = sum(one["xy"] - one["x"] * one["y"] / one["points"] for one in sums if one["points"])
    yy = sum(one["yy"] - one["y"] ** 2 / one["points"] for one in sums if one["points"])
    mean_y = sum(one["y"] for one in sums) / points
    if points < SLOPE_POINTS or xx <= 0 or yy <= 0:
        return None, None, mean_y, "the number of tasks did not change enough to tell"
    slope, fit = xy / xx, xy**2 / (xx * yy)
    if slope <= 0 or fit < SLOPE_FIT:
        return None, fit, mean_y, f"memory does not follow the number of tasks (R² {fit:.2f})"
    mean_x = sum(one["x"] for one in sums) / points
    return slope, fit, max(mean_y - slope * mean_x, 0.0), ""
