"""What is measured for the capacity view: arrivals, durations, concurrency, CPU and memory per task. No state.

A figure is `{"value", "samples", "note"}`; value None where nothing was measured, and `note` says why. Metrics are
found by what follows the prefix, which is a setting of the application.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..store.series import Series, Store
from ..store.sketch import Sketch, merged

LEAST_POINTS = 30
"""Points that a regression of memory over active tasks needs."""
LEAST_TASKS = 100
MINUTE = 60

Figure = dict[str, Any]
Select = Callable[[str], list[Series]]
ByTime = dict[int, float]


def prefix(store: Store) -> str:
    """Return the prefix of this package's metrics, with its dot; the default while there are none."""
    for ending in ("http.requests", "tasks.started", "process.workers"):
        for name in store.names():
            if name.endswith(f".{ending}"):
                return name.removesuffix(ending)
    return "streaming."


def timers(store: Store) -> str:
    """Return how the application sends its latencies: `timer` if the Agent's aggregates are there, else `distribution`."""
    name = f"{prefix(store)}http.time_to_first_byte"
    return (
        "timer" if f"{name}.95percentile" in store.names() and name not in store.names() else "distribution"
    )


def figures(store: Store, start: float, end: float) -> dict[str, Any]:
    """Return the measured inputs of the capacity formula over a range."""
    first = prefix(store)

    def select(name: str) -> list[Series]:
        return store.select(f"{first}{name}", None, start, end)

    started, active = _summed(select("tasks.started")), _summed(select("tasks.active"))
    tasks = sum(started.values())
    ended = sum(_total(select(f"tasks.{name}")) for name in ("completed", "failed", "cancelled"))
    seconds = _covered(_summed(select("process.workers")), started)
    task_seconds, cpu_seconds = select("tasks.seconds"), select("process.cpu_seconds")
    own_cpu, metered = _mean_of(select, "task.cpu_time")
    p95, of, how = _p95_of(select, "task.duration")
    rate = tasks / seconds if seconds else None
    return {
        "prefix": first,
        "start": start,
        "end": end,
        "seconds": seconds,
        "tasks": tasks,
        "ended": ended,
        "enough_tasks": tasks >= LEAST_TASKS,
        "arrival_rate": _figure(rate, tasks, "tasks started ÷ seconds"),
        "peak_rate": _figure(_peak_rate(started), tasks, "tasks started in the busiest minute ÷ 60"),
        "duration": _figure(
            _quotient(task_seconds, ended),
            ended,
            "seconds that tasks were active ÷ tasks ended, queue included",
        ),
        "duration_p95": _figure(_seconds(p95), of, how),
        "concurrency": _figure(
            _quotient(task_seconds, seconds), len(active), "seconds that tasks were active ÷ seconds"
        ),
        "peak_concurrency": _peaks(select, "tasks"),
        "cpu_per_task": _figure(
            _quotient(cpu_seconds, ended), ended, "CPU seconds of all that the workers did ÷ tasks ended"
        ),
        "own_cpu_per_task": _figure(_seconds(own_cpu), metered, "mean of task.cpu_time: its own steps alone"),
        "memory_per_task": _memory(_summed(select("process.rss")), active),
        "worker_memory": _idle_memory(select("process.rss")),
        "clients": _peaks(select, "clients"),
    }


def _figure(value: float | None, samples: float, note: str) -> Figure:
    return {"value": value, "samples": samples, "note": note}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _summed(series: list[Series]) -> ByTime:
    """Add up the series of all workers and tags, bucket by bucket."""
    total: ByTime = {}
    for each in series:
        for time, value in zip(each.times, each.values, strict=True):
            total[time] = total.get(time, 0.0) + value
    return total


def _total(series: list[Series]) -> float:
    return sum(sum(each.values) for each in series)


def _quotient(series: list[Series], divisor: float) -> float | None:
    """Return what was counted, by something; None if it was not sent, or there is nothing to divide by."""
    return _total(series) / divisor if series and divisor else None


def _covered(workers: ByTime, started: ByTime) -> float:
    """Return the seconds in which a worker ran; without their gauge, those from the first to the last count.

    Counters of a worker that has gone are sent as zeros for five more minutes, which were no time of it.
    """
    if workers:
        return float(10 * sum(1 for value in workers.values() if value > 0))
    return float(max(started) - min(started) + 10) if started else 0.0


def _peak_rate(started: ByTime) -> float | None:
    """Return tasks per second in the busiest minute; None before a whole minute was seen."""
    if _covered({}, started) < MINUTE:
        return None
    return (
        max(sum(started.get(time + step, 0.0) for step in range(0, MINUTE, 10)) for time in started) / MINUTE
    )


def _sketches(series: list[Series]) -> Sketch:
    return merged(sketch for each in series for sketch in each.sketches)


def _mean_of(select: Select, name: str) -> tuple[float | None, float]:
    """Return the mean of all values of a timer, and how many they were, whichever way it is sent."""
    whole = select(name)
    if whole:
        sketch = _sketches(whole)
        return (sketch.sum / sketch.count if sketch.count else None), sketch.count
    return _weighted(select(f"{name}.avg"), select(f"{name}.count"))


def _p95_of(select: Select, name: str) -> tuple[float | None, float, str]:
    """Return the 95th percentile of all values of a timer, how many they were, and what it is."""
    whole = select(name)
    if whole:
        sketch = _sketches(whole)
        return (sketch.quantile(0.95) if sketch.count else None), sketch.count, f"95th percentile of {name}"
    percentiles = [value for each in select(f"{name}.95percentile") for value in each.values]
    note = "highest of the Agents' 95th percentiles: timers cannot be put together"
    return max(percentiles, default=None), _total(select(f"{name}.count")), note


def _weighted(values: list[Series], counts: list[Series]) -> tuple[float | None, float]:
    """Return the mean of aggregates, each weighed by how many samples it is of; and how many those are."""
    known = {each.tags: dict(zip(each.times, each.values, strict=True)) for each in counts}
    total = weight = 0.0
    for each in values:
        count_at = known.get(each.tags, {})
        for time, value in zip(each.times, each.values, strict=True):
            count = count_at.get(time, 0.0)
            total += value * count
            weight += count
    return (total / weight if weight else None), weight


def _peaks(select: Select, what: str) -> Figure:
    """Return how many there were at once, at most: the worst case, as `streaming-dd capacity` has it from /stats.

    Workers need not have peaked at the same moment. A gauge of what is active is a sample, and may miss every peak.
    """
    peaks = [max(each.values) for each in select(f"{what}.worker_peak") if len(each.values)]
    if not peaks:
        sampled = _summed(select(f"{what}.active"))
        return _figure(max(sampled.values(), default=None), len(sampled), f"highest sample of {what}.active")
    return _figure(
        sum(peaks), len(peaks), "the workers' peaks, added up: no more than that were there at once"
    )


def _idle_memory(rss: list[Series]) -> Figure:
    """Return what the largest worker took when it took least."""
    least = [min(each.values) for each in rss if len(each.values)]
    return _figure(max(least, default=None), len(least), "highest of the workers' lowest process.rss")


def _memory(rss: ByTime, active: ByTime) -> Figure:
    """Return the slope of resident memory over active tasks, with R²; refuse to guess from too little."""
    pairs = [(active[time], rss[time]) for time in rss if time in active]
    if len(pairs) < LEAST_POINTS:
        return _figure(
            None, len(pairs), f"{len(pairs)} points of memory and tasks: {LEAST_POINTS} are needed"
        )
    mean_x = sum(x for x, _ in pairs) / len(pairs)
    mean_y = sum(y for _, y in pairs) / len(pairs)
    square_x = sum((x - mean_x) ** 2 for x, _ in pairs)
    square_y = sum((y - mean_y) ** 2 for _, y in pairs)
    product = sum((x - mean_x) * (y - mean_y) for x, y in pairs)
    if not square_x or not square_y:
        return _figure(None, len(pairs), "the number of tasks or the memory did not change: no slope")
    slope, fit = product / square_x, product**2 / (square_x * square_y)
    if slope <= 0 or fit < 0.25:
        return _figure(None, len(pairs), f"memory does not follow the tasks (R² {fit:.2f}): assume a figure")
    return _figure(slope, len(pairs), f"slope of process.rss over tasks.active, R² {fit:.2f}")
