"""Watch event loops from a thread of its own: how late they are, and which code holds one for too long.

A timer on each loop says how late the loop is; the thread looks at the loop's stack while the timer is overdue or
a task's step goes on; where no task has run for a second it sleeps until a timer can be overdue. State: `LoopMonitor`
(it belongs to the recorder's insight) with a `Watched` per loop, which goes when the loop does. docs/decisions/0072
has the reasons and the cost.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Final

from .. import catalog
from ..config import Config
from ..output.metrics import Metrics
from ..tasks.measuring.stacks import Place, innermost, walk_frame
from ..tasks.measuring.steps import LONG_STEP, Meter, Steps
from .blocks import Block, Blocks

if TYPE_CHECKING:
    from ..logs import Logs  # brings loguru

#: Most seconds between two looks, and the least.
_TICK: Final = 0.025
_TICK_LEAST: Final = 0.005
#: Seconds since the last step of a task from which on none is looked out for; the next one rings.
_QUIET: Final = 1.0
#: Most seconds that the thread sleeps.
_LONGEST: Final = 1.0
_RUNS_ONCE: Final = os.path.join("asyncio", "base_events.py")
_MS: Final = 1000.0

Clock = Callable[[], float]


class Watched:
    """One event loop that is looked after."""

    def __init__(self, monitor: LoopMonitor, meter: Meter, loop: asyncio.AbstractEventLoop) -> None:
        self.meter = meter
        self.loop = weakref.ref(loop)
        self._monitor = monitor
        #: When the timer is due, and how many times it has come.
        self.due = float("inf")
        self.beats = 0
        #: The loop was seen not running: how late the timer is says nothing.
        self.paused = False
        #: Code and depth of the frame that runs the loop, where the loop has no frames of its own (uvloop).
        self.runner: tuple[CodeType, int] | None = None
        #: The beat in which a block was reported, and what was said of it.
        self._reported = -1
        self.block: Block | None = None
        self._cpu = time.thread_time()
        self._lock = threading.Lock()
        self.schedule(loop)

    def schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the timer."""
        interval = self._monitor.interval
        self.due = self._monitor.clock() + interval
        loop.call_later(interval, self.beat)

    def beat(self) -> None:
        """Note how late the loop runs its timer; called by the loop."""
        loop = self.loop()
        if loop is None or self.meter.watcher is not self._monitor:
            return
        late = self._monitor.clock() - self.due
        self._see_to_missed(late)
        self.beats += 1
        caller = sys._getframe(1)
        if not caller.f_code.co_filename.endswith("events.py"):
            self.runner = (caller.f_code, _depth(caller))
        if self.paused:
            self.paused = False
        elif late >= 0:
            self._monitor.lag.record(late * _MS)
        if self.block is not None:
            block, self.block = self.block, None
            self._monitor.blocks.ended(block, late)
        self.schedule(loop)

    def may_report(self, beat: int) -> bool:
        """Return whether the block before the next beat is the caller's to report: it is reported once."""
        with self._lock:
            first, self._reported = self._reported != beat, beat
        return first

    def _see_to_missed(self, late: float) -> None:
        """Report a block that the thread could not see: it ended too soon, or C code let no thread run."""
        cpu = time.thread_time()
        used, self._cpu = cpu - self._cpu, cpu
        long_step, self.meter.long_step = self.meter.long_step, None
        monitor = self._monitor
        if long_step is not None and long_step.seconds >= monitor.limit:
            if self.may_report(self.beats):
                self.block = monitor.blocks.report(long_step.seconds, long_step.place, None, long_step.steps)
        elif (
            late >= monitor.limit
            and _worked(used, late, monitor.limit)
            and not self.paused
            and self.may_report(self.beats)
        ):
            self.block = monitor.blocks.report(late, None, None, None)

    def is_idle(self, frame: FrameType) -> bool:
        """Whether the loop's thread, whose innermost frame this is, waits for something to do."""
        if frame.f_code.co_filename.endswith("selectors.py"):
            return True
        runner = self.runner
        return runner is not None and frame.f_code is runner[0] and _depth(frame) == runner[1]

    def inside(self, frame: FrameType) -> list[Place]:
        """Return the places that the loop has called; those that run the loop have nothing to do with it."""
        places = walk_frame(frame)
        if self.runner is not None:
            inner = _depth(frame) - self.runner[1]
            return places[-inner:] if inner > 0 else []
        outer = [at for at, place in enumerate(places) if place.file.endswith(_RUNS_ONCE)]
        return places[outer[-1] + 1 :] if outer else places


class LoopMonitor:
    """The watching thread. `look` is called in it about once a second."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        logs: Logs | None,
        *,
        look: Callable[[], None] = lambda: None,
        describe: Callable[[Steps], dict[str, object]] = lambda steps: {},
        fault: Callable[[Exception], None] = lambda error: None,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.limit = config.loop_block or float("inf")
        self.interval = min(max(self.limit / 2, 0.01), 0.25)
        self.tick = min(max(self.limit / 4, _TICK_LEAST), _TICK) if config.loop_block else 1.0
        self.clock = clock
        self.lag = metrics.timing(catalog.LOOP_LAG)
        self.blocks = Blocks(metrics, logs, describe, clock)
        self._look = look
        self._fault = fault
        self._watched: list[Watched] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        #: Ends the thread's sleep; rung when a task begins to run while that may be long.
        self._bell = threading.Event()
        self._sleeps_long = False
        self._thread: threading.Thread | None = None
        self._looked = self._ticked = float("-inf")
        self._pause = self.tick
        self._cpu = 0.0

    # --- loops ----------------------------------------------------------------------------------------------

    def watch(self, meter: Meter) -> None:
        """Look after the running loop from now on; called in it."""
        loop = meter.loop()
        if loop is None or meter.watcher is self:
            return
        meter.watcher = self
        if self.limit != float("inf"):
            watched = Watched(self, meter, loop)
            with self._lock:
                self._watched.append(watched)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._stop, self._bell = threading.Event(), threading.Event()
                self._ticked = float("-inf")
                self._thread = threading.Thread(
                    target=self._run, args=(self._stop, self._bell), name="streaming-dd-watch", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End the thread; the timers end by themselves when they come next. Loops are watched again when asked."""
        thread, self._thread = self._thread, None
        self._stop.set()
        self._bell.set()
        with self._lock:
            for watched in self._watched:
                watched.meter.watcher = None
            self._watched.clear()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1)

    def after_fork(self) -> None:
        """Forget in a forked child the parent's thread and loops."""
        self._lock = threading.Lock()
        self._bell = threading.Event()
        self._thread = None
        for watched in self._watched:
            watched.meter.watcher = None
        self._watched.clear()

    def runs_begin(self) -> None:
        """Learn that tasks run from now on: their steps are looked at while they are on."""
        if self._sleeps_long:
            self._sleeps_long = False
            self._bell.set()

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self, stop: threading.Event, bell: threading.Event) -> None:
        while True:
            bell.wait(self._next_pause())
            bell.clear()
            if stop.is_set():  # looked at last: who asks for it from here on rings a bell that stays rung
                return
            try:
                self._round()
            except Exception as error:  # noqa: BLE001 - one bad look must not be the last
                self._fault(error)

    def _next_pause(self) -> float:
        """Return the seconds until the next look: until a loop can be overdue, or one tick where tasks run."""
        self._sleeps_long = True  # first: whose task begins from here on rings
        now = self.clock()
        pause = min(self.limit, _LONGEST)
        for watched in self._watched.copy():
            if watched.meter.runs_tasks(now, _QUIET):
                pause = self.tick
            elif not watched.paused:
                pause = min(pause, watched.due + self.limit - now)
        self._pause = pause = max(pause, self.tick)
        self._sleeps_long = pause > self.tick
        return pause

    def _round(self) -> None:
        now = self.clock()
        stood_still = self._stood_still(now)
        for watched in self._watched.copy():
            self.check(watched, now, stood_still=stood_still)
        if now - self._looked >= 1 or now < self._looked:
            self._looked = now
            self._look()

    def _stood_still(self, now: float) -> bool:
        """Whether this thread came late although the process used no CPU: it was paused, or the clock jumped."""
        late = now - self._ticked - self._pause
        cpu = time.process_time()
        used, self._cpu = cpu - self._cpu, cpu
        first, self._ticked = self._ticked == float("-inf"), now
        return not first and late > self.limit / 2 and not _worked(used, late, self.limit)

    def check(self, watched: Watched, now: float, *, stood_still: bool = False) -> None:
        """Look at one loop: note which line a task's long step is at, and report a block, once."""
        loop = watched.loop()
        if loop is None or loop.is_closed():
            with self._lock:
                if watched in self._watched:  # unless it was stopped meanwhile
                    self._watched.remove(watched)
            return
        if not loop.is_running():
            watched.paused = True
            return
        beat = watched.beats  # first: the loop may run on while the rest is looked up
        steps = watched.meter.stepping
        step = now - steps.since if steps is not None else 0.0
        overdue = now - watched.due if not watched.paused else 0.0
        if step < LONG_STEP and overdue < self.limit:
            return
        number = steps.work.steps if steps is not None else 0
        frame = sys._current_frames().get(watched.meter.thread_id)
        ended = watched.meter.long_step
        if ended is not None and ended.seconds >= self.limit:
            return  # the block is over and known: the beat, which comes next, reports it
        if frame is None or watched.is_idle(frame):
            return
        place = innermost(watched.inside(frame))
        if place is None:
            return
        if steps is not None and steps is watched.meter.stepping and steps.work.steps == number:
            steps.work.sample(number, place)
        else:
            steps = None  # another step began while the stack was taken
        held = max(step if steps is not None else 0.0, overdue)
        if held >= self.limit and watched.may_report(beat):
            watched.block = self.blocks.report(held, place, frame, steps, stood_still=stood_still)

    def stats(self) -> dict[str, object]:
        """Return the limit and the last blocks, for /stats."""
        return {"limit_seconds": self.limit if self.limit != float("inf") else None, **self.blocks.stats()}


def _worked(cpu: float, seconds: float, limit: float) -> bool:
    """Whether this much CPU time says that code ran for these seconds, also where the machine is short of CPU."""
    return cpu > seconds / 5 or cpu >= limit


def _depth(frame: FrameType | None) -> int:
    depth = 0
    while frame is not None:
        depth += 1
        frame = frame.f_back
    return depth
