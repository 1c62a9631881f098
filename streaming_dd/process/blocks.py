"""What is said of a block: a count by location, a line when it is found and one when a long one ends, the last for /stats.

State: `Blocks` (it belongs to the loop monitor).
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from .. import catalog
from ..output import tracing
from ..output.metrics import Counter, Metrics
from ..tasks.measuring.stacks import Place
from ..tasks.measuring.steps import Steps

if TYPE_CHECKING:
    from ..logs import Logs  # brings loguru

LOCATIONS_LIMIT: Final = 50
#: Location of a block in which the watching thread stood still as well, and of one that nothing is known of.
STOOD_STILL: Final = "process_stood_still"
UNSEEN: Final = "unseen"
#: Seconds in which one location is written about once.
_QUIET: Final = 10.0
#: Seconds that a block lasts on after its line, from which its end has a line, too.
_WORTH_AN_END: Final = 1.0
_RECENT_LIMIT: Final = 20
_STACK_LIMIT: Final = 30
_FRAMES_LIMIT: Final = 200
#: The function in whose frame the request's exchange is found, while its app holds the loop.
_HANDLES_A_REQUEST: Final = "DatadogMiddleware"
_MS: Final = 1000.0


class Block:
    """One block, from when it was found to its end."""

    __slots__ = ("entry", "found", "line")

    def __init__(self, entry: dict[str, Any], found: float) -> None:
        #: What /stats shows of it.
        self.entry = entry
        #: For how many seconds the loop had been held when it was found.
        self.found = found
        #: The line that was written of it, if there was one.
        self.line: dict[str, object] | None = None


class Blocks:
    """The blocks of this process' event loops."""

    def __init__(
        self,
        metrics: Metrics,
        logs: Logs | None,
        describe: Callable[[Steps], dict[str, object]],
        clock: Callable[[], float],
    ) -> None:
        self._recent: deque[dict[str, Any]] = deque(maxlen=_RECENT_LIMIT)
        self._metrics = metrics
        self._logs = logs
        self._describe = describe
        self._clock = clock
        self._counters: dict[str, Counter] = {}
        self._written: dict[str, tuple[float, int]] = {}

    def report(
        self,
        held: float,
        place: Place | None,
        frame: FrameType | None,
        steps: Steps | None,
        *,
        stood_still: bool = False,
    ) -> Block:
        """Count a block, and write its line; without a frame it is over already."""
        location = STOOD_STILL if stood_still else place.location if place is not None else UNSEEN
        at = str(place) if place is not None else "code that could not be seen"
        self._count(location)
        fields = self._describe(steps) if steps is not None else _request(frame)
        who = f" ({fields.pop('task')})" if "task" in fields else ""
        entry = {
            "at": time.time(),
            "location": location,
            "place": at,
            "seconds": round(held, 3),
            "over": False,
        }
        block = Block({**entry, **fields}, held)
        self._recent.append(block.entry)
        unwritten = self._may_write(location)
        if self._logs is None or unwritten is None:
            return block
        if stood_still:
            message = (
                f"the whole process stood still for {held:.2f} s (paused, or the clock jumped, or C code kept "
                f"Python's lock), at {at}"
            )
        else:
            over = "" if frame is not None else "; it was over when other code could look"
            message = f"event loop held for {held:.2f} s by {at}{who}{over}"
        block.line = {
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
            block.line["loop.blocks_unwritten"] = unwritten
        self._logs.emit(block.line, "WARNING")
        return block

    def ended(self, block: Block, held: float) -> None:
        """Note the whole length of a block that is over; one that went on for long after its line has another."""
        block.entry["seconds"] = round(max(held, block.entry["seconds"]), 3)
        block.entry["over"] = True
        if self._logs is not None and block.line is not None and held - block.found >= _WORTH_AN_END:
            message = f"event loop was held for {held:.2f} s in all by {block.entry['place']}"
            line = {**block.line, "message": message, "loop.held_ms": round(held * _MS, 3)}
            line.pop("loop.blocks_unwritten", None)
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
        now = self._clock()
        last, unwritten = self._written.get(location, (float("-inf"), 0))
        if 0 <= now - last < _QUIET:
            self._written[location] = (last, unwritten + 1)
            return None
        if len(self._written) > 10 * LOCATIONS_LIMIT:
            self._written.clear()
        self._written[location] = (now, 0)
        return unwritten

    def stats(self) -> dict[str, object]:
        """Return how many blocks each location had, and the last ones, the newest last, for /stats."""
        return {
            "blocked_by_location": {name: counter.total for name, counter in self._counters.copy().items()},
            "last_blocks": [block.copy() for block in list(self._recent)],
        }


def _request(frame: FrameType | None) -> dict[str, object]:
    """Whose request holds the loop: its route and its span's ids, found in the middleware's frame further out."""
    for _ in range(_FRAMES_LIMIT):
        if frame is None:
            break
        if frame.f_code.co_name == "__call__" and _HANDLES_A_REQUEST in frame.f_code.co_qualname:
            exchange: Any = frame.f_locals.get("exchange")
            if exchange is not None:
                found: dict[str, object] = {"http.route": exchange.route_template()}
                if exchange.span is not None:
                    found["dd.trace_id"], found["dd.span_id"] = tracing.format_ids(exchange.span)
                return found
        frame = frame.f_back
    return {}
