"""The end of a process, or of its serving: what is open ends, gauges go to 0, and everything goes out, in bounded time.

State: one `Ending` per recorder: whether the process was told to go, whether it has ended, the time that is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..config import Config
from ..output import tracing
from ..output.metrics import Metrics
from ..output.notices import logger
from ..output.tracing import Tracing
from ..requests.traffic import Traffic
from ..tasks.board import TaskBoard
from .insight import Insight
from .losses import Losses
from .servers import FEW, CancelledRequests, Limits, limits
from .signals import SignalWatch, WakeUp

if TYPE_CHECKING:
    from ..logs import Logs  # brings loguru

#: Seconds that requests may take to end once the server has cancelled them.
_CANCELLED_LIMIT: Final = 0.5
#: Seconds that a step of the end has at least, when the others have used up the time.
_LEAST: Final = 0.1


class Draining(Protocol):
    """What is brought to its end: the recorder, as far as it is needed here."""

    config: Config
    enabled: bool
    metrics: Metrics
    logs: Logs | None
    tracing: Tracing
    tasks: TaskBoard
    traffic: Traffic
    insight: Insight
    losses: Losses
    #: Called when all is sent, at the end of serving and of the process.
    endings: list[Callable[[], None]]
    #: Has the background thread come at once; from a signal handler, too.
    wake: WakeUp
    #: Serving, between the start-up and the shutdown of a lifespan.
    serving: bool
    #: The process was told to end: what ends from now on ends by the shutdown.
    stopping: bool

    @property
    def recorded(self) -> bool:
        """Whether anything was recorded here: else the gauges are those of another process."""

    def is_own_process(self) -> bool:
        """Return whether this is the process in which recording began."""

    def guarded(self, step: Callable[..., Any], *arguments: Any) -> None:
        """Take a step whose fault must not stop the others."""

    def end_rounds(self, timeout: float) -> bool:
        """End the background thread; False if that is not this process' to do."""


class Ending:
    """Bring a recorder to its end, once for each time that it serves."""

    def __init__(self, recorder: Draining) -> None:
        self._recorder = recorder
        self._timeout = recorder.config.shutdown_timeout
        self._spent = 0.0
        self._lock = threading.Lock()
        self.ended = False
        #: A signal has told the process to go, at this monotonic time.
        self.told = False
        self._told_at = 0.0
        self._limits = Limits()
        #: Seconds after that at which what is open is recorded as ended, whatever the server does.
        self.drain_after = recorder.config.drain_after or FEW
        #: What was open then has been recorded as ended, and zeros were sent.
        self.given_up = False
        self._cancelled = CancelledRequests()
        self._signals = SignalWatch(self._signalled, self.stop, self._timeout + 1)

    # --- how we learn of it -----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to serve (again)."""
        self.ended = self.told = self.given_up = self._recorder.stopping = False
        self._spent = 0.0
        self._cancelled.remove()

    def watch_signals(self) -> None:
        """Learn of the signals that the server handles, and how long it waits after them: inside its running loop."""
        self._limits = limits()
        if self._recorder.config.drain_after is None:
            self.drain_after = self._limits.drain_after()
        if self._recorder.tracing.enabled:
            tracing.uncover_server_handlers()
        self._signals.install()

    def guard(self) -> None:
        """Have SIGTERM drain before it kills a process that does not handle it."""
        self._signals.guard(tracing.only_ends_process)

    def _signalled(self) -> None:
        """Learn in a signal handler that the process was told to go: what ends from now on ends by the shutdown."""
        if not self.told:
            self._told_at = time.monotonic()
        self.told = self._recorder.stopping = True
        self._recorder.wake.set()

    # --- another configuration --------------------------------------------------------------------------------

    def may_be_replaced(self, changed: list[str]) -> bool:
        """Return whether nothing is under way that would lose its end with this recorder; else say what stays."""
        recorder = self._recorder
        requests = recorder.traffic.active + recorder.traffic.websockets
        tasks = sum(1 for _ in recorder.tasks.live())
        if changed and (requests or tasks):
            logger.warning(
                "configured again while %d requests and %d tasks are under way; as before: %s. "
                "Configure before the first of them",
                requests,
                tasks,
                ", ".join(changed),
            )
        return not requests and not tasks

    def hand_over(self, *, final: bool) -> None:
        """Send what was recorded before another recorder takes over; with `final` its series may be others."""
        recorder = self._recorder
        if not recorder.recorded or not self._end_rounds():
            return
        for step in (
            recorder.losses.spans,
            recorder.traffic.settle,
            recorder.tasks.settle,
            recorder.losses.lines,
        ):
            recorder.guarded(step)
        if final:
            self._bounded(recorder.metrics.final_flush)
        else:
            recorder.guarded(recorder.metrics.flush)
        self._bounded(recorder.losses.at_end)

    # --- what is done -----------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Give up waiting for a server that waits for its streams until it is killed. Called in every round."""
        if not self.told and self._limits.told is not None and self._limits.told():
            self._signalled()
        # An application without layers is cancelled before its lifespan hears of the end.
        if self.told and not self.ended:
            self._cancelled.install()
        if not self.told or self.given_up or now - self._told_at < self.drain_after:
            return
        self.given_up = True
        recorder = self._recorder
        open_ = recorder.traffic.active + recorder.traffic.websockets
        if open_:
            logger.info(
                "still open %.1f s after the signal to end: %d; recorded as ended by the shutdown. A server that waits for "
                "its streams without a limit does not end: docs/shutdown.md says what to set, such as uvicorn's "
                "--timeout-graceful-shutdown",
                now - self._told_at,
                open_,
            )
        self._send_the_rest()

    def flush(self) -> None:
        """Flush; once nothing is open any more, gauges as 0: nobody may be left to send the last ones."""
        traffic = self._recorder.traffic
        if self.given_up and not (traffic.active or traffic.websockets or any(self._recorder.tasks.live())):
            self._recorder.metrics.final_flush()
        else:
            self._recorder.metrics.flush()

    def drain(self) -> None:
        """Send everything at the end of serving: open tasks end, gauges go to 0, spans and lines are flushed.

        Bounded by the shutdown timeout. What is recorded after a signal's drain goes out when the process ends; where
        no signal ends it, and when a server starts again, recording begins anew.
        """
        if self._end_rounds():
            self._send_the_rest()
            self._recorder.serving = False
            self.ended = self.told

    async def end_serving(self) -> None:
        """Drain beside the running loop, in a thread of our own: the loop's may all be taken by the application."""
        loop = asyncio.get_running_loop()
        self._cancelled.install()
        await self._see_requests_end(loop.time() + _CANCELLED_LIMIT)
        drained = asyncio.Event()

        def drain() -> None:
            self.drain()
            with contextlib.suppress(RuntimeError):  # the loop did not wait that long
                loop.call_soon_threadsafe(drained.set)

        try:
            threading.Thread(target=drain, name="streaming-dd-drain", daemon=True).start()
        except RuntimeError:  # the system has no more threads
            self.drain()
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(drained.wait(), self._timeout + 1)

    async def _see_requests_end(self, deadline: float) -> None:
        """Wait for the requests that the server has just cancelled: uvicorn does not, and some need a few rounds of the
        loop. The streams of those that resist end here.
        """
        loop = asyncio.get_running_loop()
        traffic = self._recorder.traffic
        # An event set at every end of a request would cost each of them; this is the end of the process.
        while (traffic.active or traffic.websockets) and loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self._recorder.guarded(traffic.abandon)
        if self._cancelled.count:
            logger.info("%d requests that were open were cancelled by the server", self._cancelled.count)

    def _end_rounds(self) -> bool:
        with self._lock:
            if self.ended:
                return False
            began = time.monotonic()
            self.ended = True  # no round begins from now on
            self.ended = self._recorder.end_rounds(self._left())
            self._spent += time.monotonic() - began
            return self.ended

    def _left(self) -> float:
        """Seconds that the next step may take: all steps share one limit, also those of a second drain."""
        return max(_LEAST, self._timeout - self._spent)

    def _send_the_rest(self) -> None:
        recorder = self._recorder
        if not self.given_up or self.ended:
            self._bounded(recorder.insight.stop)
        steps = [recorder.tasks.abandon, recorder.traffic.settle, recorder.losses.lines]
        if recorder.stopping:
            steps.insert(1, recorder.traffic.abandon)
        for step in steps:
            recorder.guarded(step)
        if recorder.recorded:
            self._bounded(recorder.metrics.final_flush)
        for step in recorder.endings:
            recorder.guarded(step)
        if recorder.logs is not None:
            self._bounded(recorder.logs.drain)
        self._bounded(recorder.tracing.flush)

    def _bounded(self, step: Callable[[float], Any]) -> None:
        """Take a step that is told how long it may take, and count what it took."""
        began = time.monotonic()
        self._recorder.guarded(step, self._left())
        self._spent += time.monotonic() - began

    def stop(self) -> None:
        """Drain at the end of the process, and shut down what would otherwise wait for an Agent that is not there."""
        if not self._recorder.enabled or not self._recorder.is_own_process():
            return
        self._recorder.stopping = True  # what is open now ends with the process
        self._end_rounds()
        self._send_the_rest()
        self._bounded(self._recorder.tracing.stop)
        if self._recorder.recorded:
            self._bounded(self._recorder.losses.at_end)
        if self._recorder.logs is not None:
            self._bounded(self._recorder.logs.drain)

    def close(self) -> None:
        """Leave the signals to whom they belong."""
        self.ended = True
        self._cancelled.remove()
        self._signals.remove()

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._lock = threading.Lock()
        self.begin()
