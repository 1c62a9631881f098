"""The local agent: listeners, aggregation and stores put together on one event loop.

State: all of it in a `LocalAgent`. Everything runs on the agent's own loop, in the caller's process: either on a
thread of its own (`with agent.running():`) or awaited by a command (`await agent.serve()`). Other threads read
through `received` and `snapshot`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.routing import BaseRoute

from ..errors import LocalAgentError
from . import explorer, intake, logs
from .aggregate import Aggregator
from .api import make_app
from .contexts import Summary
from .http_server import serving
from .kept_states import StateFile
from .live import Live
from .persistence import SeriesFile
from .received import Received
from .records import Records
from .settings import Settings
from .store import Store
from .tail import LogSource, Tail
from .tasks import Tasks
from .trace_api import TraceAPI
from .trace_metrics import TraceMetrics, mark_top_level
from .traces import Span

if TYPE_CHECKING:
    from .webhook import Webhook

logger = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between looks at the clock: how late a bucket closes and rows reach the database."""
STOP_TIMEOUT = 5.0

T = TypeVar("T")


class LocalAgent:
    """Receives DogStatsD, traces and logs on this machine.

    `LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=None)`: keywords are those of `Settings`.
    """

    records: Records
    """Spans and logs; there from `bind` until the agent has stopped."""

    def __init__(
        self, settings: Settings | None = None, *, clock: Callable[[], float] = time.time, **changes: Any
    ) -> None:
        self.settings = (settings or Settings()).replace(**changes)
        self.clock = clock
        settings = self.settings
        self.received = Received(keep_raw=settings.keep_raw, limit=settings.record_limit)
        self.store = Store(clock=clock, max_series=settings.max_series)
        self.aggregator = Aggregator(
            self.store,
            clock=clock,
            host=settings.hostname,
            tags=settings.tags,
            rules=settings.histogram,
            expiry=settings.expiry,
            listener=self.received if settings.record else None,
        )
        self.trace_metrics = TraceMetrics(self.store, self.aggregator.series_tags, clock=clock)
        self.tasks = Tasks()
        self.live = Live()
        self.routes: list[BaseRoute] = []
        """Further endpoints of the page port; add them before the agent runs."""
        self.on_bucket: list[Callable[[int], None]] = []
        """Called with the start of each closed bucket, once its series are in the store."""
        self.started = clock()
        self.problems: deque[str] = deque(maxlen=50)
        self.webhook: Webhook | None = None
        if settings.notify_webhook:
            from .webhook import Webhook  # brings an HTTP client: only if asked for

            self.webhook = Webhook(
                settings.notify_webhook, anywhere=settings.notify_anywhere, on_problem=self.note_problem
            )
        self.cut_lines = 0
        """Log lines that were longer than what is kept of one."""
        self.trace_api = TraceAPI(self._take_traces)
        self.dogstatsd_port = settings.dogstatsd_port
        self.trace_port = settings.trace_port
        self.logs_port = settings.logs_port
        self.page_port = settings.page_port
        self._tails = [Tail(source) for source in settings.log_sources if source.type == "file"]
        self._tcp_source = next((s for s in settings.log_sources if s.type == "tcp"), LogSource("tcp"))
        self._rates = Rates(clock)
        self._series_file: SeriesFile | None = None
        self.state_file: StateFile | None = None
        """Where the monitors' states are kept, with `persist`."""
        self._sockets: dict[str, socket.socket] = {}
        self._connections = intake.Connections()
        self._bound = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[LocalAgent]:
        """Run the agent on a thread of its own; it listens when the block is entered, and is gone after it."""
        self.bind()
        ready = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            try:
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(self.serve(on_ready=ready.set))
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                failure.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=run, name="streaming-dd-local-agent", daemon=True)
        thread.start()
        ready.wait()
        try:
            if not failure:
                yield self
        finally:
            self.stop()
            thread.join(STOP_TIMEOUT)
            if thread.is_alive():
                logger.warning("the local agent did not stop within %g s", STOP_TIMEOUT)
        if failure:
            raise failure[0]

    def bind(self) -> None:
        """Open the records and bind every socket, so that ports are known; `LocalAgentError` for what is taken."""
        settings = self.settings
        self.records = Records(settings.persist, max_spans=settings.max_spans, max_logs=settings.max_logs)
        self._bound = True
        try:
            if settings.persist is not None:
                self._load(settings.persist)
            self._bind_ports()
            for name, kind in (
                ("dogstatsd_socket", socket.SOCK_DGRAM),
                ("dogstatsd_stream_socket", socket.SOCK_STREAM),
                ("trace_socket", socket.SOCK_STREAM),
            ):
                if path := getattr(settings, name):
                    self._sockets[name] = intake.bind_unix(path, kind, name)
        except LocalAgentError:
            self.close()
            raise

    def close(self) -> None:
        """Close what `bind` opened, for an agent that is not going to serve."""
        self._bound = False
        self.records.close()
        for tail in self._tails:
            tail.close()
        for name, sock in self._sockets.items():
            sock.close()
            if path := getattr(self.settings, name, None):
                Path(path).unlink(missing_ok=True)
        self._sockets.clear()

    def _load(self, path: str) -> None:
        """Fill the stores with what an earlier run left in the file."""
        try:
            self._series_file = SeriesFile(self.store, self.records)
            self._series_file.load()
            self.state_file = StateFile(self.store, self.records.connection)
            self.state_file.load()
            self._series_file.on_save.append(self.state_file.save)
            for log in explorer.task_logs(self.records):
                self.tasks.add_log(log)
        except (sqlite3.Error, ValueError) as error:
            raise LocalAgentError(
                f"--persist {path}: {error}. Delete the file, or choose another."
            ) from error

    def _bind_ports(self) -> None:
        settings, host = self.settings, self.settings.host
        if settings.dogstatsd_port is not None:
            sock = self._sockets["dogstatsd"] = intake.bind_udp(host, settings.dogstatsd_port)
            self.dogstatsd_port = sock.getsockname()[1]
        for name, purpose in (("trace", "traces"), ("logs", "logs"), ("page", "the page")):
            port = getattr(settings, f"{name}_port")
            if port is not None:
                sock = self._sockets[name] = intake.bind_tcp(host, port, purpose)
                setattr(self, f"{name}_port", sock.getsockname()[1])

    async def serve(self, *, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until `stop` is called or the task is cancelled."""
        if not self._bound:
            self.bind()
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._finish)
            await self._listen(stack)
            if on_ready:
                on_ready()
            while not self._stop.is_set():
                self.tick()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), TICK)

    def stop(self) -> None:
        """Make `serve` return; safe from any thread, and more than once."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop closed in between: it has stopped
                loop.call_soon_threadsafe(stop.set)

    def tick(self) -> None:
        """Do what is due by the clock: follow files, close buckets, write rows, tell the page."""
        for tail in self._tails:
            self._take_lines(tail.poll(), tail.source)
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

    def note_problem(self, text: str) -> None:
        """Keep what went wrong inside the agent for the health view; the same problem is kept and logged once."""
        if text not in self.problems:
            self.problems.append(text)
            logger.warning("%s", text)

    def _call(self, callback: Callable[[int], None], bucket: int) -> None:
        try:
            callback(bucket)
        except Exception as error:
            name = getattr(callback, "__qualname__", repr(callback))
            self.note_problem(f"{name} failed: {type(error).__name__}: {error}")
            logger.debug("%s failed", name, exc_info=True)

    def _finish(self) -> None:
        """Write what is open, and close everything."""
        self.aggregator.close()
        self.trace_metrics.flush(everything=True)
        if self._series_file is not None:
            self._series_file.save()
        self.close()
        if self.webhook is not None:
            self.webhook.close()
        self._loop = None

    @property
    def page_url(self) -> str:
        """Where a browser on this machine finds the page."""
        host = self.settings.host if self.settings.host not in ("0.0.0.0", "::") else "127.0.0.1"
        return f"http://[{host}]:{self.page_port}" if ":" in host else f"http://{host}:{self.page_port}"

    def rates(self) -> dict[str, float]:
        """Return samples, spans and logs per second, over the last seconds."""
        return self._rates.per_second

    def log_problems(self) -> list[dict[str, str]]:
        """Return the followed log sources, and why one cannot be read."""
        return [{"path": tail.source.path, "problem": tail.problem} for tail in self._tails]

    def wait_for(self, condition: Callable[[Received], object], timeout: float = 10.0) -> None:
        """Block until `condition(agent.received)` is true; raise `TimeoutError` after `timeout` seconds."""
        self.received.wait_for(condition, timeout)

    def snapshot(self) -> list[Summary]:
        """Return one summary per series since the start, the open bucket included; safe from any thread."""
        return self._on_loop(self.aggregator.snapshot)

    def _on_loop(self, function: Callable[[], T]) -> T:
        """Run `function` on the agent's loop and return what it returns; directly if the agent does not run."""
        loop = self._loop
        if loop is None:
            return function()

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), loop).result(STOP_TIMEOUT)

    async def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        stack.push_async_callback(self._connections.close)
        for name in ("dogstatsd", "dogstatsd_socket"):
            if sock := self._sockets.get(name):
                drain = intake.serve_datagrams(sock, self._feed, self.received.notify)
                stack.callback(drain)  # what was sent before the end is not lost
                stack.callback(loop.remove_reader, sock)
        if sock := self._sockets.get("dogstatsd_stream_socket"):
            frames = await loop.create_unix_server(
                lambda: intake.FrameProtocol(
                    self._connections, self._feed, self.received.notify, self._refuse_frame
                ),
                sock=sock,
            )
            stack.callback(frames.close)
        if sock := self._sockets.get("logs"):
            lines = await loop.create_server(self._line_protocol, sock=sock)
            stack.callback(lines.close)
        trace_sockets = [s for name in ("trace", "trace_socket") if (s := self._sockets.get(name))]
        if trace_sockets:
            self.trace_api.statsd_port = self.dogstatsd_port
            self.trace_api.page_port = self.page_port
            await stack.enter_async_context(serving(self.trace_api, trace_sockets))
        if sock := self._sockets.get("page"):
            await stack.enter_async_context(serving(make_app(self), [sock]))
            stack.callback(self.live.close)

    def _line_protocol(self) -> asyncio.Protocol:
        splitter = intake.LineSplitter(logs.MAX_LINE)

        def take(lines: list[bytes]) -> None:
            self.cut_lines += splitter.cut
            splitter.cut = 0
            self._take_lines(lines, self._tcp_source)

        return intake.LineProtocol(self._connections, splitter, take)

    def _feed(self, datagram: bytes) -> None:
        if self.settings.record:
            self.received.datagram(datagram)
        self.aggregator.feed(datagram)

    def _refuse_frame(self, length: int) -> None:
        self.aggregator.intake.oversized += 1

    def _take_traces(self, chunks: list[list[Span]], top_level_known: bool) -> None:
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

    def _take_lines(self, lines: list[bytes], source: LogSource) -> None:
        if not lines:
            return
        now = self.clock()
        parsed = [
            logs.parse(line, now=now, service=source.service, source=source.source, tags=source.tags)
            for line in lines
        ]
        self.records.add_logs(parsed)
        for log in parsed:
            self.tasks.add_log(log)
        if self.settings.record:
            for log in parsed:
                self.received.log(log.attributes or {"message": log.message})
            self.received.notify()

    def totals(self) -> dict[str, int]:
        """Return how many samples, spans and logs have come in since the start; safe from any thread."""
        counts = self.records.counts()
        return {
            "samples": self.aggregator.intake.samples,
            **{name: count["rows"] + count["dropped"] for name, count in counts.items()},
        }


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
