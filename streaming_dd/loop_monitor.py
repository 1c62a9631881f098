"""Watch event loops from a thread of its own: how late they are, and which code holds one for too long.

A timer on each loop says how late the loop is; the thread looks at the loop's stack while the timer is overdue or
a task's step goes on. State: `LoopMonitor` (it belongs to the recorder's insight) with a `Watched` per loop, which
goes when the loop does. docs/decisions/0072 has the reasons and the cost.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from . import catalog
from .config import Config
from .metrics import Counter, Metrics
from .stacks import Place, innermost, walk_frame

if TYPE_CHECKING:
    from .logs import Logs
from .steps import LONG_STEP, Meter, Steps

LOCATIONS_LIMIT: Final = 50
#: Location of a block in which this thread stood still as well, and of one that nothing is known of.
STOOD_STILL: Final = "process_stood_still"
UNSEEN: Final = "unseen"
#: Most seconds between two looks, and the least.
_TICK: Final = 0.025
_TICK_LEAST: Final = 0.005
#: Seconds in which one location is written about once.
_QUIET: Final = 10.0
_RECENT_LIMIT: Final = 20
_STACK_LIMIT: Final = 30
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
        self.block: dict[str, Any] | None = None
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
            self.block["seconds"] = round(max(late, self.block["seconds"]), 3)
            self.block["over"] = True
            self.block = None
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
                monitor.report(self, long_step.seconds, long_step.place, None, long_step.steps)
        elif late >= monitor.limit and used > late / 5 and not self.paused and self.may_report(self.beats):
            monitor.report(self, late, None, None, None)

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
        #: The last blocks, for /stats: when, where, how long, which task.
        self.recent: deque[dict[str, Any]] = deque(maxlen=_RECENT_LIMIT)
        self._metrics = metrics
        self._logs = logs
        self._look = look
        self._describe = describe
        self._fault = fault
        self._counters: dict[str, Counter] = {}
        self._written: dict[str, tuple[float, int]] = {}
        self._watched: list[Watched] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked = self._ticked = float("-inf")
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
                self._stop = threading.Event()
                self._ticked = float("-inf")
                self._thread = threading.Thread(
                    target=self._run, args=(self._stop,), name="streaming-dd-watch", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End the thread; the timers end by themselves when they come next. Loops are watched again when asked."""
        thread, self._thread = self._thread, None
        self._stop.set()
        with self._lock:
            for watched in self._watched:
                watched.meter.watcher = None
            self._watched.clear()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1)

    def after_fork(self) -> None:
        """Forget in a forked child the parent's thread and loops."""
        self._lock = threading.Lock()
        self._thread = None
        for watched in self._watched:
            watched.meter.watcher = None
        self._watched.clear()

    # --- the thread -----------------------------------------------------------------------------------------

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self.tick):
            try:
                self._round()
            except Exception as error:  # noqa: BLE001 - one bad look must not be the last
                self._fault(error)

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
        late = now - self._ticked - self.tick
        cpu = time.process_time()
        used, self._cpu = cpu - self._cpu, cpu
        first, self._ticked = self._ticked == float("-inf"), now
        return not first and late > self.limit / 2 and used < late / 5

    def check(self, watched: Watched, now: float, *, stood_still: bool = False) -> None:
        """Look at one loop: note which line a task's long step is at, and report a block, once."""
        loop = watched.loop()
        if loop is None or loop.is_closed():
            with self._lock:
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
            self.report(watched, held, place, frame, steps, stood_still=stood_still)

    def report(
        self,
        watched: Watched,
        held: float,
        place: Place | None,
        frame: FrameType | None,
        steps: Steps | None,
        *,
        stood_still: bool = False,
    ) -> None:
        """Count a block, and write its line; without a frame it is over already."""
        location = STOOD_STILL if stood_still else place.location if place is not None else UNSEEN
        at = str(place) if place is not None else "code that could not be seen"
        self._count(location)
        fields = self._describe(steps) if steps is not None else {}
        who = f" ({fields['task']})" if "task" in fields else ""
        fields = {name: value for name, value in fields.items() if name != "task"}
        watched.block = {
            "at": time.time(),
            "location": location,
            "place": at,
            "seconds": round(held, 3),
            "over": False,
            **fields,
        }
        self.recent.append(watched.block)
        unwritten = self._may_write(location)
        if self._logs is None or unwritten is None:
            return
        if stood_still:
            message = (
                f"the whole process stood still for {held:.2f} s (paused, or the clock jumped, or C code kept "
                f"Python's lock), at {at}"
            )
        else:
            over = "" if frame is not None else "; it was over when other code could look"
            message = f"event loop held for {held:.2f} s by {at}{who}{over}"
        line: dict[str, object] = {
            "message": message,
            "logger.name": "streaming_dd.loop",
            "loop.held_ms": round(held * _MS, 3),
            "loop.location": location,
            "loop.stack": "".join(traceback.format_stack(frame, _STACK_LIMIT)) if frame is not None else at,
            "dd.trace_id": "0",
            "dd.span_id": "0",
            **fields,
        }
        if unwritten:
            line["loop.blocks_unwritten"] = unwritten
        self._logs.emit(line, "WARNING")

    def _count(self, location: str) -> None:
        if location not in self._counters:
            if len(self._counters) >= LOCATIONS_LIMIT:
                location = "other"
            self._counters.setdefault(
                location, self._metrics.counter(catalog.LOOP_BLOCKED, location=location)
            )
        self._counters[location].increment()

    def _may_write(self, location: str) -> int | None:
        """Return how many blocks at this location were not written since the last line; None if this one is not."""
        now = self.clock()
        last, unwritten = self._written.get(location, (float("-inf"), 0))
        if 0 <= now - last < _QUIET:
            self._written[location] = (last, unwritten + 1)
            return None
        if len(self._written) > 10 * LOCATIONS_LIMIT:
            self._written.clear()
        self._written[location] = (now, 0)
        return unwritten

    def stats(self) -> dict[str, object]:
        """Return the last blocks, the newest last, for /stats."""
        return {
            "limit_seconds": self.limit if self.limit != float("inf") else None,
            "blocked_by_location": {name: counter.total for name, counter in self._counters.copy().items()},
            "last_blocks": [block.copy() for block in list(self.recent)],
        }


def _depth(frame: FrameType | None) -> int:
    depth = 0
    while frame is not None:
        depth += 1
        frame = frame.f_back
    return depth
