"""/stats of all workers of a server: totals, the running tasks of all, and a section for each worker.

What has ended is counted from the same numbers as /metrics, so that a worker which is gone stays in it; what runs now is
what the workers that live say. No state of its own.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from ..process.siblings import Silent
from ..recorder import Recorder
from .answers import Answer, encode
from .stats import RUNNING_LIMIT, Stats, durations_of
from .workers import Total, Whole, Workers, no_worker
from .workers.together import NUMBERS_LIMIT

Sections = dict[str, Any]

#: Numbers of several workers that are added up; of the others the highest is told, or they are told by worker alone.
_SUMS: Final = frozenset(
    {"active", "cached_instances", "locks", "stale_entries"}
    | {"rss_bytes", "cpu_percent", "cpu_seconds", "threads", "open_files"}
    | {"series", "samples_dropped", "lines_dropped", "blocked_by_location"}
)
_HIGHEST: Final = frozenset({"peak", "loop_lag_seconds"})


class WholeStats:
    """The statistics of all workers. Find them with `recorder.get().part(WholeStats)`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._stats = recorder.part(Stats)
        self._workers = recorder.part(Workers)
        self._workers.siblings.handle("stats", lambda _: encode(self._told()))

    def _told(self) -> Sections:
        """What one worker tells another: its sections, and what percentiles of all are made from."""
        return {
            "sections": self._stats.collect(self._workers.coordinator),
            "durations": self._stats.durations(),
        }

    def answer(self, worker: str | None = None) -> Answer:
        """Return /stats of all workers, or of one; blocks: call it off the event loop."""
        if worker is None:
            return Answer(200, encode(self.collect()))
        if worker == self._workers.slot:
            return Answer(200, encode(self._stats.collect(self._workers.coordinator)))
        answers = self._workers.siblings.ask("stats", NUMBERS_LIMIT, worker)
        for data in answers.by_slot.values():
            return Answer(200, encode(orjson.loads(data)["sections"]))
        return no_worker(worker, answers.silent)

    def collect(self) -> Sections:
        """Return the statistics of all workers."""
        own = self._told()
        slot = self._workers.slot
        if not self._workers.siblings.joined:
            return {**own["sections"], "workers": {slot: _brief(own["sections"])}, "missing": []}
        whole = self._workers.whole()
        answers = self._workers.siblings.ask("stats", NUMBERS_LIMIT)
        told: dict[str, Sections] = {slot: own}
        told |= {name: orjson.loads(data) for name, data in answers.by_slot.items()}
        all_sections = [one["sections"] for one in told.values()]
        found: Sections = {
            name: merged for name in own["sections"] if (merged := _merged(name, all_sections)) is not None
        }
        found["worker"] = own["sections"]["worker"]
        found["timestamp"] = own["sections"]["timestamp"]
        found["running"] = _running(told, answers.silent)
        found["rates"] = _rates([one["sections"]["rates"] for one in told.values()], told)
        found["totals"] = self._totals(whole.total)
        silent = [one for one in answers.silent if one.state is not None]
        self._count(found, whole, self._workers.of(silent), all_sections)
        found["workers"] = {name: _brief(one["sections"]) for name, one in told.items()}
        found["missing"] = [
            {"worker": one.slot, "pid": one.pid, "why": one.why, "counted": one.state is not None}
            for one in answers.silent
        ]
        return found

    def _count(self, found: Sections, whole: Whole, silent: Total, told: list[Sections]) -> None:
        """Tasks by status and clients: those of silent workers by what they published last."""
        by_status: dict[str, Tally[str]] = {}

        def add(kind: str, status: str, number: float) -> None:
            by_status.setdefault(kind, Tally(running=0, done=0, failed=0, cancelled=0, lost=0))[status] += (
                int(number)
            )

        for sections in told:
            for kind, status in sections["tasks_by_status"].items():
                add(kind, "running", status["running"])
        for (app, model), number in silent.levels("tasks.active"):
            add(f"{app}.{model}", "running", number)
        for (app, model), number in whole.total.counts("tasks.completed"):
            add(f"{app}.{model}", "done", number)
        for (app, _, model), number in whole.total.counts("tasks.failed"):
            add(f"{app}.{model}", "failed", number)
        for (app, model), number in whole.total.counts("tasks.cancelled"):
            add(f"{app}.{model}", "cancelled", number)
        for (app, model), number in whole.total.counts("tasks.lost"):
            add(f"{app}.{model}", "lost", number)
        clients: Tally[str] = Tally()
        for sections in told:
            clients.update(sections["client_connections"])
        for (app, model), number in silent.levels("clients.active"):
            clients[f"{app}.{model}"] += int(number)
        found["tasks_by_status"] = {kind: dict(status) for kind, status in sorted(by_status.items())}
        found["tasks"]["active"] = sum(status["running"] for status in by_status.values())
        found["client_connections"] = dict(clients)

    def _totals(self, total: Total) -> dict[str, float]:
        prefix = self._recorder.config.metric_prefix
        found: Tally[str] = Tally()
        for point, values in total.points():
            if point.name.kind == "count":
                name = point.name.name
                found[f"{prefix}.{name}" if point.name.prefixed and prefix else name] += values[0]  # type: ignore[assignment]
        return {name: int(value) if value == int(value) else value for name, value in sorted(found.items())}


def _brief(sections: Sections) -> Sections:
    """A worker's section: all but the rows of its tasks, which are in those of all."""
    running = sections.get("running")
    total = running.get("total") if isinstance(running, dict) else None
    return {**{name: value for name, value in sections.items() if name != "totals"}, "running": total}


def _merged(name: str, told: list[Sections]) -> Any:
    """One section of all workers: numbers by their rule, other values where all agree; None where nothing is left."""
    values = [sections[name] for sections in told if name in sections]
    if name == "capacity":
        return None  # each worker has its own, and `streaming-dd capacity` knows how to add them up
    if all(isinstance(value, dict) for value in values):
        return _merged_dicts(values, highest=name == "peaks")
    return values[0] if all(value == values[0] for value in values) else None


def _merged_dicts(values: list[Mapping[str, Any]], *, highest: bool = False, sums: bool = False) -> Sections:
    found: Sections = {}
    for key in dict.fromkeys(key for value in values for key in value):
        several = [value[key] for value in values if value.get(key) is not None]
        if not several:
            found[key] = None
        elif all(isinstance(one, dict) for one in several):
            found[key] = _merged_dicts(several, highest=highest, sums=sums or key in _SUMS)
        elif all(isinstance(one, int | float) and not isinstance(one, bool) for one in several):
            if sums or (key in _SUMS and not highest):
                found[key] = _rounded(sum(several))
            elif highest or key in _HIGHEST:
                found[key] = max(several)
            elif all(one == several[0] for one in several):
                found[key] = several[0]
        elif all(one == several[0] for one in several):
            found[key] = several[0]
    return found


def _rounded(number: float) -> float:
    return round(number, 3) if isinstance(number, float) else number


def _running(told: Mapping[str, Sections], silent: Iterable[Silent]) -> Sections:
    """The oldest tasks of all workers, with the worker of each."""
    rows = []
    total = 0
    for slot, one in told.items():
        running = one["sections"]["running"]
        total += running.get("total", 0)
        rows += [{**row, "worker": slot} for row in running.get("tasks", ())]
    rows.sort(key=lambda row: row["age_seconds"], reverse=True)
    shown = rows[:RUNNING_LIMIT]
    return {
        "total": total,
        "shown": len(shown),
        "tasks": shown,
        "not_shown_of": [one.slot for one in silent],
    }


def _rates(rates: list[Sections], told: Mapping[str, Sections]) -> Sections:
    """Rates add up; means are weighted by the tasks that ended, percentiles are those of all durations together."""
    by_kind: dict[str, list[Sections]] = {}
    for one in told.values():
        for kind, durations in one["durations"].items():
            by_kind.setdefault(kind, []).append(durations)
    per_second = [rate["tasks_per_second"] for rate in rates if rate.get("tasks_per_second") is not None]
    return {
        "window_seconds": max(rate.get("window_seconds", 0.0) for rate in rates),
        "tasks_per_second": round(sum(per_second), 4) if per_second else None,
        **durations_of([durations for several in by_kind.values() for durations in several]),
        "by_kind": {kind: durations_of(several) for kind, several in by_kind.items()},
    }
