"""Find tasks that stall: running for too long, or sending nothing for too long; and say where they wait.

A look at all live runs takes place about once a second, in the monitor's thread, in slices. State: the `Watchdog`
(it belongs to the recorder's insight); what is found is kept on the runs. docs/decisions/0073.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..catalog import StallReason
from ..config import Config
from .board import TaskBoard
from .kinds import TaskKind
from .measuring import waits
from .run import TaskRun

#: Runs looked at before the interpreter is left to the event loop.
SLICE: Final = 50
#: Runs whose place is noted in one look; with more of them they take turns.
PLACES_PER_LOOK: Final = 300
#: Runs younger than this (seconds) are not noted.
_YOUNG: Final = 1.0
_PLACES_LIMIT: Final = 20
#: Ended runs that a kind needs before its own p95 says anything, and the lowest limit that comes of it (seconds).
P95_NEEDS: Final = 20
_P95_LEAST: Final = 1.0
#: Seconds between two looks beyond which the process stood still, or the clock jumped: no task is older by that.
_GAP: Final = 10.0
_GAPS_LIMIT: Final = 20


@dataclass(slots=True)
class Stall:
    """That a run is stalled: why, since when, and where it was found."""

    reason: StallReason
    #: time.perf_counter() seconds.
    since: float
    at: str
    awaits: list[str]
    events: int

    def as_json(self, now: float) -> dict[str, object]:
        """Return what everybody may know; the code's places are shown with the awaits."""
        return {"reason": self.reason, "seconds": round(max(now - self.since, 0.0), 3)}


class Watchdog:
    """Looks at live tasks. `pause` lets the event loop run between two slices."""

    def __init__(
        self,
        config: Config,
        board: TaskBoard,
        *,
        clock: Callable[[], float] = time.perf_counter,
        pause: Callable[[], None] = lambda: time.sleep(0.001),
    ) -> None:
        self._config = config
        self._board = board
        self._clock = clock
        self._pause = pause
        self._turn = 0
        self._looked: float | None = None
        #: When the process stood still or the clock jumped (the later end of it), and by how much.
        self._gaps: deque[tuple[float, float]] = deque(maxlen=_GAPS_LIMIT)

    def look(self) -> None:
        """Look at every live run once."""
        now = self._clock()
        before, self._looked = self._looked, now
        if before is not None and not 0 <= now - before <= _GAP:
            self._gaps.append((max(before, now), now - before))
        runs: list[tuple[TaskRun, float]] = []
        for kind in self._board.all_kinds():
            limit = self._age_limit(kind)
            runs += [(run, limit) for run in kind.live.copy()]
        noted = self._turn_of(len(runs))
        for number, (run, limit) in enumerate(runs):
            if number % SLICE == SLICE - 1:
                self._pause()
            if run.started is None or run.ended is not None:
                continue
            if number in noted and now - run.started > _YOUNG:
                self._note_place(run)
            self._check(run, now, limit)

    def _turn_of(self, count: int) -> range:
        """The runs whose turn it is to have their place noted."""
        if count <= PLACES_PER_LOOK:
            return range(count)
        start = self._turn % count
        self._turn = start + PLACES_PER_LOOK
        return range(start, min(start + PLACES_PER_LOOK, count))

    def _note_place(self, run: TaskRun) -> None:
        place = waits.look(run.work, deep=False).at
        seen = run.waits
        if place not in seen and len(seen) >= _PLACES_LIMIT:
            place = "elsewhere"
        seen[place] = seen.get(place, 0) + 1

    def _age_limit(self, kind: TaskKind) -> float:
        """Seconds after which a task of this kind is too old."""
        if self._config.task_max_age:
            return self._config.task_max_age
        recent = kind.recent.copy()
        if not self._config.task_max_age_p95 or len(recent) < P95_NEEDS:
            return float("inf")
        p95 = sorted(recent)[int(0.95 * (len(recent) - 1))]
        return max(p95 * self._config.task_max_age_p95, _P95_LEAST)

    # --- stalls ---------------------------------------------------------------------------------------------

    def _check(self, run: TaskRun, now: float, limit: float) -> None:
        stall = run.stall  # which the loop's thread takes away when the run ends
        if stall is not None:
            if self._moves(run, stall):
                self._moved(run, f"moves again after {max(now - stall.since, 0):.1f} s")
            return
        assert run.started is not None
        age = self._since(run.started, now)
        silence = self._config.task_silence
        if age > limit * 2**run.stalls:  # doubled at each time: a long task is not written about every second
            self._stalls(run, "too_old", now, f"running for {age:.1f} s, its limit is {limit:.1f} s")
        elif silence and run.last_event_at is not None:
            quiet = self._since(run.last_event_at, now)
            if quiet > silence:
                self._stalls(run, "silent", now, f"no event for {quiet:.1f} s, its limit is {silence:.1f} s")

    def _since(self, moment: float, now: float) -> float:
        """Seconds since a moment in which the process ran."""
        return now - moment - sum(seconds for end, seconds in self._gaps if end > moment)

    def _stalls(self, run: TaskRun, reason: StallReason, now: float, why: str) -> None:
        wait = waits.look(run.work)
        at = wait.at or "nowhere: its consumer asks for nothing"
        stall = Stall(reason, now, at, wait.lines(), run.events)
        with self._board.span_lock:
            if run.ended is not None or run.outcome is not None:
                return  # it ended between two looks
            run.stall = stall
            run.stalls += 1
            if run.span is not None:
                run.span.set_tag("task.stalled", reason)
                run.span.set_tag("task.waits_at", at)
                run.span.set_tag("task.awaits", "\n".join(stall.awaits))
        run.kind.stalls[reason].increment()
        cancels = cancels_requested(run)
        if cancels:
            why += f", it was cancelled {cancels} times and goes on"
        self._write(
            run,
            f"task {run.kind.resource} stalled: {why}; at {at}",
            "WARNING",
            {"task.stalled": reason, "task.waits_at": at, "task.awaits": stall.awaits},
        )

    def _moves(self, run: TaskRun, stall: Stall) -> bool:
        if stall.reason == "silent":
            return run.events > stall.events
        return (waits.look(run.work).at or stall.at) != stall.at

    def _moved(self, run: TaskRun, how: str) -> None:
        with self._board.span_lock:
            stall, run.stall = run.stall, None
        if stall is not None:
            took = max(self._clock() - stall.since, 0.0)
            self._write(
                run,
                f"task {run.kind.resource} {how}",
                "INFO",
                {"task.stalled": stall.reason, "task.stalled_ms": round(took * 1000, 3)},
            )

    def ended(self, run: TaskRun) -> None:
        """Say of a stalled run that it moved after all: it has ended."""
        self._moved(run, f"moved again: {run.outcome}")

    def _write(self, run: TaskRun, message: str, level: str, fields: dict[str, object]) -> None:
        age = {"task.age_ms": round(run.duration * 1000, 3)}
        self._board.lines.write(run, message, {**age, **fields}, level)


def cancels_requested(run: TaskRun) -> int:
    """Return how often a run that goes on was cancelled: its code swallowed that, or takes its time."""
    task = run.asyncio_task() if run.asyncio_task is not None else None
    return task.cancelling() if task is not None else 0
