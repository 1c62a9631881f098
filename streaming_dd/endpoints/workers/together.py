"""What the workers of one server say together: this one's own numbers, and those of its siblings. docs/decisions/0101.

State: `Workers` (one for each recorder): the siblings, where each series is in the totals, and the coordinator.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ... import catalog
from ...output.notices import logger, say
from ...process.siblings import Siblings, Silent
from ...recorder import Recorder
from ..answers import Answer, answer
from ..health import Health
from .series import Series
from .state import State, keys_of, metric_of
from .totals import Places, Total, merged

#: Seconds that another worker may take to tell its numbers, and how it is.
NUMBERS_LIMIT: Final = 1.0
HEALTH_LIMIT: Final = 0.25
#: Seconds for which what a worker has published at a flush is taken by a scrape. docs/decisions/0093.
FRESH: Final = 2.5


@dataclass(frozen=True, slots=True)
class Whole:
    """The numbers of all workers, and of each that lives why it did not answer; "" if it did."""

    total: Total
    workers: dict[str, str]


class Workers:
    """This worker and its siblings. Find them with `recorder.get().part(Workers)`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._series = recorder.part(Series)
        self._places = Places()
        #: The coordinator whose tasks are shown and cancelled, if the endpoints were given one.
        self.coordinator: Any = None
        self.siblings = Siblings(recorder.config, self)
        self.siblings.handle("numbers", self._numbers)
        recorder.before_flush.append(self._publish)
        recorder.jobs.append(self.siblings.job)
        recorder.endings.append(self.siblings.leave)

    def join(self) -> None:
        """Meet the other workers of this server; called when the process begins to serve."""
        if self._recorder.enabled:
            self.siblings.join(self.slot)

    def _publish(self) -> None:
        """Publish what the flush is about to send: a sibling sends 0 for the gauges of one that is killed after it."""
        if self.siblings.joined:
            self._recorder.metrics.take_in()
            self.siblings.publish()

    @property
    def slot(self) -> str:
        """The value of the tag `worker`."""
        return self._recorder.metrics.worker

    # --- what siblings keep of this one -----------------------------------------------------------------------

    def state(self, *, last: bool) -> bytes:
        """Return what this worker has counted."""
        return self._series.state(last=last).encode()

    def merge(self, states: list[bytes]) -> bytes:
        """Add workers that have ended to one."""
        return merged(states)

    def died(self, state: bytes, living: list[bytes]) -> None:
        """Send 0 for the gauges of a worker that was killed, but for those of one that has its slot now; count its tasks."""
        try:
            dead = State.decode(state)
            if dead.about.get("last"):
                return  # it has sent them itself
            slot = dead.about["slot"]
            others = [one for one in map(State.decode, living) if one.about["slot"] == slot]
            taken = {series for one in others for series, _ in one.levels()}
            left = [series for series, value in dead.levels() if value and series not in taken]
        except ValueError as error:
            say("siblings:died", f"the gauges of a worker that was killed stay where they were: {error}")
            return
        gauges = []
        for name, values in left:
            metric = metric_of(name)
            if metric is not None and "worker" in metric.tags:
                tags = zip(keys_of(metric.tags), values, strict=True)
                gauges.append((metric, (*tags, ("worker", slot))))
        self._recorder.metrics.zero(gauges)
        self._count_lost(dead)

    def _count_lost(self, dead: State) -> None:
        """Count the tasks that a killed worker ran when it last spoke: they were counted as started, and never end."""
        lost = {
            values: int(value)
            for name, values, value in ((*series, value) for series, value in dead.levels())
            if name.prefixed and name.name == catalog.TASKS_ACTIVE.name and value > 0
        }
        for (app, model), number in lost.items():
            self._recorder.tasks.kind(app, model).lost.increment(number)
        if lost:
            shown = ", ".join(f"{number} of {app}.{model}" for (app, model), number in sorted(lost.items()))
            logger.error(
                "worker %s (pid %s) was killed, and with it the tasks that it ran: %s",
                dead.about["slot"],
                dead.about["pid"],
                shown,
                extra={
                    "tasks.lost_pid": dead.about["pid"],
                    "tasks.lost": [
                        {"app": app, "model": model, "count": number} for (app, model), number in lost.items()
                    ],
                },
            )

    # --- the numbers ------------------------------------------------------------------------------------------

    def _numbers(self, question: Mapping[str, Any]) -> bytes:
        self._recorder.take_in()
        data = self.siblings.publish()
        state = State.decode(data)
        if state.mark not in question["known"]:
            return data
        state.declared = b""  # whoever asks has it from another time, or from a worker that counts the same
        return state.encode()

    def whole(self, *, by_worker: bool = False, fresh: float = -1) -> Whole:
        """Return the numbers of all workers; blocks for NUMBERS_LIMIT seconds at most: call it off the event loop.

        Those that others have published in the last `fresh` seconds are taken as they are.
        """
        self._recorder.take_in()
        own = self.siblings.publish()
        whole = Whole(Total(self._places), {self.slot: ""})
        self._add(whole, self.slot, own, by_worker=by_worker)
        answers = self.siblings.ask("numbers", NUMBERS_LIMIT, fresh=fresh, known=self._places.known())
        for slot, data in answers.by_slot.items():
            whole.workers[slot] = self._add(whole, slot, data, by_worker=by_worker)
        for silent in answers.silent:
            whole.workers[silent.slot] = silent.why
            if silent.state is not None:
                self._add(whole, silent.slot, silent.state, by_worker=by_worker)
        for data in answers.ended:
            self._add(whole, "ended", data, by_worker=by_worker, ended=True)
        return whole

    def _add(self, whole: Whole, slot: str, data: bytes, *, by_worker: bool, ended: bool = False) -> str:
        """Add a worker's numbers, and return what is wrong with them."""
        try:
            state = State.decode(data)
            whole.total.add(state, worker=slot if by_worker else None, ended=ended)
        except ValueError as error:
            say(f"worker:{slot}", f"the numbers of worker {slot} cannot be added: {error}")
            return str(error)
        return ""

    def of(self, silent: Iterable[Silent]) -> Total:
        """Return the numbers that silent workers had published last."""
        whole = Whole(Total(self._places), {})
        for one in silent:
            if one.state is not None:
                self._add(whole, one.slot, one.state, by_worker=False)
        return whole.total

    # --- health -----------------------------------------------------------------------------------------------

    def own_health(self, active_tasks: int) -> dict[str, object]:
        """Return how this worker is, in a word or two that strangers may read, and how many tasks run; from any thread."""
        health = self._recorder.part(Health)
        lag = health.watch.lag(time.monotonic())
        failing = health.failing
        state = f"unhealthy: {', '.join(failing)}" if failing else "healthy"
        if self._recorder.stopping:
            state = "shutting down"
        if lag > self._recorder.config.health_loop_lag:
            state = f"unhealthy: event loop held for {lag:.1f} s"
        return {"state": state, "active_tasks": active_tasks}

    def others_health(self) -> dict[str, dict[str, Any]]:
        """Return how every other worker is; blocks for HEALTH_LIMIT seconds at most."""
        answers = self.siblings.ask("health", HEALTH_LIMIT)
        found = {slot: orjson.loads(data) for slot, data in answers.by_slot.items()}
        for one in answers.silent:
            active = sum(value for _, value in self.of([one]).levels("tasks.active"))
            found[one.slot] = {"state": f"unhealthy: {one.why}", "active_tasks": int(active)}
        return found


def no_worker(worker: str, silent: Iterable[Silent]) -> Answer:
    """Return the answer to a question for a worker that is not there, or does not answer."""
    for one in silent:
        return answer(503, {"error": f"worker {worker[:50]} {one.why}", "pid": one.pid})
    return answer(404, {"error": f"there is no worker {worker[:50]!r}"})
