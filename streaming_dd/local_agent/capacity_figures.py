"""What is measured for the capacity view: arrivals, durations, concurrency, CPU and memory per task. No state.

A figure is `{"value", "samples", "note"}`; value None where nothing was measured, and `note` says why. Metrics are
found by what follows the prefix, which is a setting of the application.
"""

from __future__ import annotations

from typing import Any

from .store import Series, Store

LEAST_POINTS = 30
"""Points that a regression of memory over active tasks needs."""
LEAST_TASKS = 100
MINUTE = 60

Figure = dict[str, Any]
ByTime = dict[int, float]


def prefix(store: Store) -> str:
    """Return the prefix of this package's metrics, with its dot; the default while there are none."""
    for ending in ("http.requests", "tasks.started", "telemetry.uptime"):
        for name in store.names():
            if name.endswith(f".{ending}"):
                return name.removesuffix(ending)
    return "streaming."


def figures(store: Store, start: float, end: float) -> dict[str, Any]:
    """Return the measured inputs of the capacity formula over a range."""
    first = prefix(store)

    def select(name: str) -> list[Series]:
        return store.select(f"{first}{name}", None, start, end)

    started, active, clients = (
        _summed(select(name)) for name in ("tasks.started", "tasks.active", "clients.active")
    )
    tasks = sum(started.values())
    seconds = _covered(started)
    mean, ended = _weighted(select("task.duration.avg"), select("task.duration.count"))
    p95, _ = _weighted(select("task.duration.95percentile"), select("task.duration.count"))
    cpu, metered = _weighted(select("task.cpu_time.avg"), select("task.cpu_time.count"))
    rate = tasks / seconds if seconds else None
    return {
        "start": start,
        "end": end,
        "seconds": seconds,
        "tasks": tasks,
        "enough_tasks": tasks >= LEAST_TASKS,
        "arrival_rate": _figure(rate, tasks, "tasks started ÷ seconds"),
        "peak_rate": _figure(_peak_rate(started), tasks, "tasks started in the busiest minute ÷ 60"),
        "duration": _figure(_seconds(mean), ended, "mean of task.duration, every outcome"),
        "duration_p95": _figure(_seconds(p95), ended, "mean of the workers' 95th percentiles"),
        "concurrency": _figure(_mean(active), len(active), "mean of tasks.active"),
        "peak_concurrency": _figure(max(active.values(), default=None), len(active), "highest tasks.active"),
        "cpu_per_task": _figure(_seconds(cpu), metered, "mean of task.cpu_time"),
        "memory_per_task": _memory(_summed(select("process.rss")), active),
        "clients": _figure(max(clients.values(), default=None), len(clients), "highest clients.active"),
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


def _covered(points: ByTime) -> float:
    """Return the seconds from the first to the end of the last bucket that has a point."""
    return float(max(points) - min(points) + 10) if points else 0.0


def _mean(points: ByTime) -> float | None:
    return sum(points.values()) / len(points) if points else None


def _peak_rate(started: ByTime) -> float | None:
    """Return tasks per second in the busiest minute; None before a whole minute was seen."""
    if _covered(started) < MINUTE:
        return None
    return (
        max(sum(started.get(time + step, 0.0) for step in range(0, MINUTE, 10)) for time in started) / MINUTE
    )


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
