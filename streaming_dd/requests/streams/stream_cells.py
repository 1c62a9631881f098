"""What streams are counted by, and their clients: one cell of handles for each combination of tags. State: in each cell."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from ... import catalog
from ...output.metrics import Counter, Gauge, Metrics, Timing
from ...output.peaks import Peak
from .position import MESSAGE

NO_TASK: Final = ("none", "none")
#: Types of events that a series, and a stream's span, tell apart.
TYPES_LIMIT: Final = 20
#: Times between events that are recorded in a second for the streams of one cell.
_INTERVALS: Final = 50
_MS: Final = 1000.0


class Sent(Protocol):
    """What a stream has sent; see open_stream.py."""

    reason: str

    def count(self, name: str, amount: float) -> None:
        """Count something of the application's own."""

    def note_stall(self, now: float, limit: float) -> float:
        """Count a stream that is stalled; return when to look again."""


class Request(Protocol):
    """A request whose response is, or may become, a stream: as those see it who look after streams and tasks."""

    #: App and model of the task that the stream shows.
    task: tuple[str, str]
    #: The task instance whose progress the stream shows.
    watched: Any
    #: The asyncio task that sends the stream, as a weak reference.
    sender: Any

    @property
    def stream(self) -> Sent | None:
        """What it sends, if it is a stream."""

    def watch_task(self, app: str, model: str, instance: Any, run_span: Any) -> None:
        """Note which task this request's stream shows."""

    def decline(self, why: str) -> None:
        """Drop what the application said of it."""

    def route_template(self) -> str:
        """Return the route template of the request."""

    def __hash__(self) -> int: ...


class StreamCell:
    """Handles of the streams of one app, model and route."""

    __slots__ = (
        "_sampled",
        "_second",
        "_words",
        "bytes",
        "closed",
        "durations",
        "events",
        "first_event",
        "gap",
        "intervals",
        "metrics",
        "opened",
        "stalls",
        "tags",
        "unread",
    )

    def __init__(self, metrics: Metrics, app: str, model: str, route: str) -> None:
        self.metrics = metrics
        self.tags = {"app": app, "model": model, "route": route}
        self.opened = metrics.counter(catalog.STREAMS_OPENED, **self.tags)
        self.closed: dict[str, Counter] = {}
        self.durations: dict[str, Timing] = {}
        self.first_event = metrics.timing(catalog.STREAM_FIRST_EVENT, **self.tags)
        self.gap = metrics.timing(catalog.STREAM_GAP, **self.tags)
        self.intervals = metrics.timing(catalog.STREAM_EVENT_INTERVAL, **self.tags)
        self.stalls = metrics.counter(catalog.STREAM_STALLS, **self.tags)
        self.events: dict[str, Counter] = {}
        self.bytes = metrics.counter(catalog.STREAM_BYTES, **self.tags)
        self._second = 0
        self._sampled = 0
        self._words: dict[str, dict[str, Counter]] = {}
        self.unread = metrics.counter(catalog.STREAM_EVENTS_UNREAD, **self.tags)
        self.count_events({MESSAGE: 0})

    def count_events(self, counts: dict[str, int]) -> None:
        """Count events by their type; types beyond the first 20 are `other`."""
        for name, count in counts.items():
            counter = self.events.get(name)
            if counter is None:
                name = name if len(self.events) < TYPES_LIMIT else "other"
                counter = self.metrics.counter(catalog.STREAM_EVENTS, event_type=name, **self.tags)
                self.events[name] = counter
            counter.total += count

    def bounded(self, metric: catalog.Metric, key: str, value: str) -> Counter:
        """Return the counter of one of an application's own words; words beyond the first 20 are `other`."""
        words = self._words.setdefault(key, {})
        counter = words.get(value)
        if counter is None:
            value = value if len(words) < TYPES_LIMIT else "other"
            counter = words[value] = self.metrics.counter(metric, **{key: value}, **self.tags)
        return counter

    def reconnected(self, resumes: bool, gap: float | None) -> None:
        """Count a client that is back, after `gap` seconds if that is known."""
        resumed = "true" if resumes else "false"
        self.metrics.counter(catalog.STREAMS_RECONNECTS, resumed=resumed, **self.tags).increment()
        if gap is not None:
            self.metrics.timing(catalog.STREAM_RECONNECT_GAP, **self.tags).record(gap * _MS)

    def sample_interval(self, seconds: float, now: float) -> None:
        """Record the time between two events, a bounded number of times a second."""
        if int(now) != self._second:
            self._second, self._sampled = int(now), 0
        if self._sampled < _INTERVALS:
            self._sampled += 1
            self.intervals.record(seconds * _MS)

    def close(self, outcome: str, seconds: float) -> None:
        """Count a stream that closed."""
        if outcome not in self.closed:
            self.closed[outcome] = self.metrics.counter(catalog.STREAMS_CLOSED, outcome=outcome, **self.tags)
            self.durations[outcome] = self.metrics.timing(
                catalog.STREAM_DURATION, outcome=outcome, **self.tags
            )
        self.closed[outcome].increment()
        self.durations[outcome].record(seconds * _MS)


class ClientKind:
    """The SSE clients of one app and model: those connected, and the streams that go on without theirs."""

    __slots__ = ("_noted", "active", "live", "peak", "peak_gauge", "zombie_gauge", "zombies")

    def __init__(self, metrics: Metrics, app: str, model: str, noted: Callable[[], None]) -> None:
        self._noted = noted
        self.active: Gauge = metrics.gauge(catalog.CLIENTS_ACTIVE, app=app, model=model)
        self.peak_gauge: Gauge = metrics.gauge(catalog.CLIENTS_PEAK, app=app, model=model)
        self.zombie_gauge: Gauge = metrics.gauge(catalog.STREAMS_ZOMBIES, app=app, model=model)
        self.peak = Peak()
        self.live: set[Request] = set()
        #: Streams whose client has left while the application goes on, with the time of that (perf_counter seconds).
        self.zombies: dict[Request, float] = {}

    def came(self, client: Request) -> None:
        """Count a connected client, until it is taken out of `live`."""
        self.live.add(client)
        self.peak.note(len(self.live))
        self._noted()

    def left(self, client: Request) -> None:
        """Count a client no longer, although the application still sends to it."""
        self.live.discard(client)
        self.zombies[client] = time.perf_counter()

    def gone(self, client: Request) -> None:
        """Forget a stream that has ended."""
        self.live.discard(client)
        self.zombies.pop(client, None)
