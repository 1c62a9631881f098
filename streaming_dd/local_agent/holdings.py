"""What an agent holds: the stores, what fills them, and what is known of itself. State: all of it in a `Holdings`.

The sockets (`agent.py`) hand in what arrived, the page's server reads; both take this object and know nothing of each
other. Used on the agent's loop only.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import LocalAgentError
from .intake import logs
from .intake.logs import Log
from .intake.otlp.metrics import Reading
from .intake.spans import Span
from .intake.tail import LogSource, Tail
from .intake.trace_api import TraceAPI
from .live import Live
from .monitors.kept_states import StateFile, begin_anew
from .queries import explorer
from .settings import Settings
from .store.aggregate import Aggregator
from .store.persistence import SeriesFile
from .store.received import Received
from .store.records import Records
from .store.series import Store
from .store.tasks import Tasks
from .store.timed_points import TimedPoints
from .store.trace_metrics import TraceMetrics, mark_top_level

if TYPE_CHECKING:
    from .monitors.evaluation import Monitors
    from .monitors.webhook import Webhook

logger = logging.getLogger(__name__)


class Holdings:
    """The stores of one agent."""

    records: Records
    """Spans and logs; there from `open` until `close`."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.clock = clock
        self.started = clock()
        self.received = Received(keep_raw=settings.keep_raw, limit=settings.record_limit)
        self.store = Store(clock=clock, max_series=settings.max_series)
        self.aggregator = Aggregator(
            self.store,
            clock=clock,
            host=settings.hostname,
            tags=settings.tags,
            dogstatsd_tags=settings.dogstatsd_tags,
            namespace=settings.namespace,
            rules=settings.histogram,
            expiry=settings.expiry,
            listener=self.received if settings.record else None,
        )
        self.trace_metrics = TraceMetrics(self.store, self.aggregator.series_tags, clock=clock)
        self.trace_api = TraceAPI(self.take_traces, self.take_readings, self.take_logs, clock=clock)
        self.timed_points = TimedPoints(self.aggregator, note=self.trace_api.note)
        self.tasks = Tasks()
        self.live = Live()
        self.ports: dict[str, int | None] = {
            name: getattr(settings, f"{name}_port") for name in ("dogstatsd", "trace", "logs", "page")
        }
        """Where the listeners are, by name; what the system chose once they are bound."""
        self.on_bucket: list[Callable[[int], None]] = []
        """Called with the start of each closed bucket, once its series are in the store."""
        self.problems: deque[str] = deque(maxlen=50)
        self.forgotten = 0
        """How often everything was dropped."""
        self.cut_lines = 0
        """Log lines that were longer than one message, and are several."""
        self.refused_log_connections = 0
        """Connections to the log port that began like HTTP."""
        self.webhook: Webhook | None = None
        if settings.notify_webhook:
            from .monitors.webhook import Webhook  # brings an HTTP client: only if asked for

            self.webhook = Webhook(
                settings.notify_webhook, anywhere=settings.notify_anywhere, on_problem=self.note_problem
            )
        self.monitors: Monitors | None = None
        """The shipped monitors, once they are evaluated."""
        self.state_file: StateFile | None = None
        """Where the monitors' states are kept, with `persist`."""
        self._series_file: SeriesFile | None = None
        self._tails = [Tail(source) for source in settings.log_sources if source.type == "file"]
        self._rates = Rates(clock)
        for note in settings.notes:
            self.note_problem(note)

    # --- from the start to the end -------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the records, and fill the stores with what an earlier run left; raises `LocalAgentError`."""
        settings = self.settings
        self.records = Records(settings.persist, max_spans=settings.max_spans, max_logs=settings.max_logs)
        if settings.persist is None:
            return
        try:
            self._load()
        except (sqlite3.Error, ValueError) as error:
            self.records.close()
            raise LocalAgentError(
                f"--persist {settings.persist}: {error}. Delete the file, or choose another."
            ) from error

    def _load(self) -> None:
        self._series_file = SeriesFile(self.store, self.records.connection)
        self._series_file.load()
        self.state_file = StateFile(self.store, self.records.connection)
        self.state_file.load()
        self._series_file.on_save.append(self.state_file.save)
        for log in explorer.task_logs(self.records):
            self.tasks.add_log(log)

    def tick(self) -> None:
        """Do what is due by the clock: follow files, close buckets, write rows, tell the page."""
        for tail in self._tails:
            self.take_lines(tail.poll(), tail.source)
        self.trace_metrics.flush()
        closed = self.aggregator.advance()
        self.records.flush()
        if self._series_file is not None:
            self._series_file.save_if_due()
            if self._series_file.problem:
                self.note_problem(self._series_file.problem)
        if self.records.problem:
            self.note_problem(self.records.problem)
        for bucket in closed:
            for callback in self.on_bucket:
                self._call(callback, bucket)
        if closed:
            self.live.send("tick", {"bucket": closed[-1]}, id=closed[-1])
        if self._rates.due():
            self._rates.note(self.totals())
            self.live.send("status", {"rates": self.rates(), "received": self.totals()})

    def _call(self, callback: Callable[[int], None], bucket: int) -> None:
        try:
            callback(bucket)
        except Exception as error:
            name = getattr(callback, "__qualname__", repr(callback))
            self.note_problem(f"{name} failed: {type(error).__name__}: {error}")
            logger.debug("%s failed", name, exc_info=True)

    def forget(self) -> None:
        """Drop everything that was received, as if the agent had begun now; counters of the intake go on."""
        self.forgotten += 1
        self.store.become(Store(clock=self.clock))
        for part in (self.aggregator, self.trace_metrics, self.tasks):
            part.forget()
        if self.monitors is not None:
            begin_anew(self.monitors)
        self.records.clear()
        for file in (self._series_file, self.state_file):
            if file is not None:
                file.clear()
        self._rates = Rates(self.clock)

    def finish(self) -> None:
        """Write what is still open."""
        self.aggregator.close()
        self.trace_metrics.flush(everything=True)
        if self._series_file is not None:
            self._series_file.save()

    def close(self) -> None:
        """Close the records and the followed files."""
        self.records.close()
        for tail in self._tails:
            tail.close()

    # --- what arrives --------------------------------------------------------------------------------------------

    def feed(self, datagram: bytes) -> None:
        """Take a DogStatsD datagram."""
        if self.settings.record:
            self.received.datagram(datagram)
        self.aggregator.feed(datagram)

    def take_traces(self, chunks: list[list[Span]], top_level_known: bool) -> None:
        """Take the chunks of a payload; `top_level_known`: the client has marked the entry spans."""
        for chunk in chunks:
            if not top_level_known:
                mark_top_level(chunk)
            self.trace_metrics.add(chunk)
            if any(span.metrics.get("_sampling_priority_v1", 0) < 0 for span in chunk):
                continue  # rejected by its user: counted, and dropped as Datadog's Agent does
            self.records.add_spans(chunk)
            for span in chunk:
                self.tasks.add_span(span)
        if self.settings.record:
            self.received.trace(span for chunk in chunks for span in chunk)
            self.received.notify()

    def take_lines(self, lines: list[bytes], source: LogSource) -> None:
        """Take log lines of a source."""
        if not lines:
            return
        now = self.clock()
        parsed = [
            logs.parse(line, now=now, service=source.service, source=source.source, tags=source.tags)
            for line in lines
        ]
        self._keep(parsed)
        if self.settings.record:
            for log in parsed:
                self.received.log(log.attributes or {"message": log.message})
            self.received.notify()

    def take_logs(self, parsed: list[Log]) -> None:
        """Take lines that came by OTLP."""
        self._keep(parsed)
        if self.settings.record:
            for log in parsed:
                ids = {"dd.trace_id": log.trace_id, "dd.span_id": log.span_id} if log.trace_id else {}
                own = {"message": log.message, "status": log.status, "service": log.service, **ids}
                self.received.log({**log.attributes, **own})
            self.received.notify()

    def take_readings(self, readings: list[Reading]) -> None:
        """Take data points that came by OTLP."""
        self.timed_points.take(readings)
        if self.settings.record:
            self.received.notify()

    def _keep(self, parsed: list[Log]) -> None:
        self.records.add_logs(parsed)
        for log in parsed:
            self.tasks.add_log(log)

    # --- what is known of itself ---------------------------------------------------------------------------------

    def note_problem(self, text: str) -> None:
        """Keep what went wrong inside the agent for the health view; the same problem is kept and logged once."""
        if text not in self.problems:
            self.problems.append(text)
            logger.warning("%s", text)

    def totals(self) -> dict[str, int]:
        """Return how many samples, spans and logs have come in since the start; safe from any thread."""
        counts = self.records.counts()
        return {
            "samples": self.aggregator.intake.samples,
            **{name: count["rows"] + count["dropped"] for name, count in counts.items()},
        }

    def rates(self) -> dict[str, float]:
        """Return samples, spans and logs per second, over the last seconds."""
        return self._rates.per_second

    def log_problems(self) -> list[dict[str, str]]:
        """Return the followed log sources, and why one cannot be read."""
        return [{"path": tail.source.path, "problem": tail.problem} for tail in self._tails]

    @property
    def page_url(self) -> str:
        """Where a browser on this machine finds the page."""
        host = self.settings.host if self.settings.host not in ("0.0.0.0", "::") else "127.0.0.1"
        port = self.ports["page"]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Rates:
    """How much came in per second, over the last five looks (a second apart)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._looks: deque[tuple[float, dict[str, int]]] = deque(maxlen=6)
        self.per_second: dict[str, float] = {}

    def due(self) -> bool:
        """Say whether a second has passed since the last look."""
        return not self._looks or abs(self._clock() - self._looks[-1][0]) >= 1

    def note(self, totals: dict[str, int]) -> None:
        """Look at numbers that only grow."""
        now = self._clock()
        self._looks.append((now, totals))
        then, before = self._looks[0]
        elapsed = max(now - then, 1e-9)
        self.per_second = {
            name: (total - before[name]) / elapsed if now > then else 0.0 for name, total in totals.items()
        }
