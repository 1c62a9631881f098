"""The door to datadog: samples are aggregated in the process and flushed as packed DogStatsD lines.

A *handle* (`Counter`, `Timing`, `Gauge`) is one metric with one combination of tags. Recording on a handle is a
few dozen nanoseconds and touches no socket; `Metrics.flush()`, called by the recorder's thread, formats what has
come in since. State: the handles of a `Metrics` object, which belongs to the recorder.

Thread safety: counters only grow and are only written by recording threads, the flush remembers what it has sent;
lists of timings are appended to and cut from the front. Both are atomic under CPython's interpreter lock.

Formats: DogStatsD 1.1 (https://docs.datadoghq.com/extend/dogstatsd/datagram_shell/).
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from math import isfinite
from socket import SO_ERROR, SOCK_STREAM, SOL_SOCKET, gaierror
from struct import pack
from typing import Any, Final, Protocol

from . import catalog
from .catalog import Metric, ServiceCheck
from .config import Config
from .errors import ConfigError, MetricError
from .notices import say

#: Payload sizes that Datadog's own clients use, bytes.
UDP_PAYLOAD: Final = 1432
UDS_PAYLOAD: Final = 8192
#: Seconds between two zeros of an idle counter: one per bucket of the Agent.
HEARTBEAT: Final = 10.0
#: Timings that one handle keeps between two flushes.
TIMINGS_LIMIT: Final = 200_000
_WAKE_AT: Final = 50_000
_BACKLOG_LIMIT: Final = 256
_CACHE_LIMIT: Final = 20_000
_TAG_VALUE_LIMIT: Final = 200

_FORBIDDEN = re.compile(r"[^\w\-:./{}<>*]+")
_UNDERSCORES = re.compile(r"__+")

GaugeSource = Callable[[], Iterable[tuple["Gauge", float]]]
#: Is given the values of a timing at each flush: finite numbers, in the metric's unit.
Observer = Callable[[list[float]], None]


def clean_tag_value(value: object) -> str:
    """Return `value` as Datadog would store it: one line, no separators, at most 200 characters, never empty."""
    text = value if type(value) is str else str(value)
    if len(text) > _TAG_VALUE_LIMIT:
        text = text[:_TAG_VALUE_LIMIT]
    if _FORBIDDEN.search(text):
        text = _FORBIDDEN.sub("_", text)
    if "__" in text:
        text = _UNDERSCORES.sub("_", text)
    return text.rstrip("_:") or "none"


class Counter:
    """A count: grows by whole or decimal amounts."""

    __slots__ = ("_metrics", "last_line", "metric", "sent", "tags", "tail", "total")

    def __init__(
        self, metrics: Metrics, metric: Metric, tags: tuple[tuple[str, str], ...], tail: bytes
    ) -> None:
        self._metrics = metrics
        self.metric = metric
        self.tags = tags
        self.tail = tail
        self.total: float = 0
        self.sent: float = 0
        self.last_line = float("-inf")

    def increment(self, amount: float = 1) -> None:
        """Add `amount` (not negative). A value that is no finite number is dropped and counted."""
        if type(amount) is int and amount >= 0:
            self.total += amount
        else:
            self._checked(amount)

    def _checked(self, amount: object) -> None:
        number = self._metrics.number(self.metric, amount)
        if number is not None and number < 0:
            self._metrics.drop(
                "negative_count", f"{self.metric.name}: a count cannot shrink; {amount!r} was dropped"
            )
        elif number is not None:
            self.total += number


class Timing:
    """A timer (milliseconds), histogram or distribution: every value goes out, none is sampled away."""

    __slots__ = ("_metrics", "count", "metric", "observers", "sum", "tags", "tail", "values")

    def __init__(
        self, metrics: Metrics, metric: Metric, tags: tuple[tuple[str, str], ...], tail: bytes
    ) -> None:
        self._metrics = metrics
        self.metric = metric
        self.tags = tags
        self.tail = tail
        self.values: list[float] = []
        #: How many values were flushed, and their sum; for pull endpoints.
        self.count = 0
        self.sum = 0.0
        self.observers: tuple[Observer, ...] = ()

    def record(self, value: float) -> None:
        """Record one value, in the metric's unit (milliseconds for a timer)."""
        values = self.values
        values.append(value)
        if len(values) >= _WAKE_AT:
            self._metrics.crowded(self)

    def observe(self, observer: Observer | None) -> None:
        """Give the values of later flushes to `observer` too."""
        if observer is not None:
            self.observers = (*self.observers, observer)


class Gauge:
    """The last value set; sent at every flush, also while it does not change."""

    __slots__ = ("_metrics", "metric", "tags", "tail", "value")

    def __init__(
        self, metrics: Metrics, metric: Metric, tags: tuple[tuple[str, str], ...], tail: bytes
    ) -> None:
        self._metrics = metrics
        self.metric = metric
        self.tags = tags
        self.tail = tail
        self.value: float | None = None

    def set(self, value: float) -> None:
        """Set the value. One that is no finite number is dropped and counted."""
        number = self._metrics.number(self.metric, value)
        if number is not None:
            self.value = number


Handle = Counter | Timing | Gauge


class Sender(Protocol):
    """Where payloads go: an agent's socket, or a list in a test."""

    payload_limit: int
    tags: tuple[str, ...]
    suffix: str

    def send(self, payload: bytes) -> bool:
        """Send one payload (lines joined by newlines); return whether it went out."""

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        """Send one service check."""

    def close(self) -> None:
        """Close the socket."""


class Metrics:
    """All handles of a process, and their flush. `wake` asks the flush thread to come early."""

    def __init__(
        self,
        config: Config,
        sender: Sender | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config
        self.enabled = config.enabled and config.metrics_enabled
        if sender is None:
            sender = AgentSender(config) if self.enabled else NoSender()
        self.sender: Sender = sender
        self._clock = clock
        self._wake = wake
        self._lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._handles: dict[tuple[Metric, tuple[tuple[str, str], ...]], Handle] = {}
        self._cache: dict[tuple[object, ...], Handle | None] = {}
        self._series: dict[Metric, int] = {}
        self._gauge_sources: list[GaugeSource] = []
        self._observed_by: list[Callable[[Timing], Observer | None]] = []
        self._backlog: deque[bytes] = deque()
        self._constant = ",".join([*self.sender.tags])
        self.dropped: dict[str, int] = {}
        self._bytes = self.counter(catalog.TELEMETRY_BYTES)
        self._datagrams = self.counter(catalog.TELEMETRY_DATAGRAMS)
        self._flush_time = self.timing(catalog.TELEMETRY_FLUSH_TIME)
        self._dropped_counters: dict[str, Counter] = {}
        for dropped in (catalog.TELEMETRY_DROPPED, catalog.TELEMETRY_LOGS_DROPPED):
            self.counter(dropped, reason="none")  # the zero that a monitor needs before the first drop

    # --- handles ------------------------------------------------------------------------------------------

    def counter(self, metric: Metric, /, **tags: object) -> Counter:
        """Return the counter of `metric` with these tags; raise MetricError if it is of another kind."""
        handle = self._handle(metric, tags)
        if not isinstance(handle, Counter):
            raise MetricError(f"metric {metric.name} is a {metric.kind}, not a count")
        return handle

    def timing(self, metric: Metric, /, **tags: object) -> Timing:
        """Return the timer, histogram or distribution of `metric` with these tags."""
        handle = self._handle(metric, tags)
        if not isinstance(handle, Timing):
            raise MetricError(
                f"metric {metric.name} is a {metric.kind}, not a timer, histogram or distribution"
            )
        return handle

    def gauge(self, metric: Metric, /, **tags: object) -> Gauge:
        """Return the gauge of `metric` with these tags."""
        handle = self._handle(metric, tags)
        if not isinstance(handle, Gauge):
            raise MetricError(f"metric {metric.name} is a {metric.kind}, not a gauge")
        return handle

    def lookup(self, metric: Metric, tags: dict[str, object]) -> Handle | None:
        """Return the handle for a call by metric and tags, or None (dropped and counted) if it is misdeclared."""
        try:
            key = (metric, *tags.items())
            return self._cache[key]
        except KeyError:
            pass
        except TypeError:  # an unhashable tag value: a list, a dict
            tags = {name: str(value) for name, value in tags.items()}
            key = (metric, *tags.items())
        try:
            handle: Handle | None = self._handle(metric, tags)
        except (MetricError, AttributeError) as error:
            self.drop("undeclared", f"{error}; its samples are dropped")
            handle = None
        if len(self._cache) >= _CACHE_LIMIT:
            self._cache.clear()
        self._cache[key] = handle
        return handle

    def _handle(self, metric: Metric, tags: dict[str, object]) -> Handle:
        unknown = [key for key in tags if key not in metric.tags]
        if unknown:
            declared = ", ".join(metric.tags) or "none"
            raise MetricError(
                f"metric {metric.name}: tag {unknown[0]!r} is not declared (declared: {declared})"
            )
        values = {
            key: clean_tag_value(tags[key]) if tags.get(key) is not None else "none" for key in metric.tags
        }
        if "worker" in values and "worker" not in tags:
            del values["worker"]  # added by the flush: a forked worker has another slot
        pairs = tuple(sorted(values.items()))
        handle = self._handles.get((metric, pairs))
        if handle is None:
            with self._lock:
                handle = self._handles.get((metric, pairs)) or self._create(metric, pairs)
        return handle

    def _create(self, metric: Metric, pairs: tuple[tuple[str, str], ...]) -> Handle:
        count = self._series.get(metric, 0)
        if count >= self.config.max_series:
            say(
                f"series:{metric.name}",
                f"{metric.name} has {count} combinations of tags (STREAMING_MAX_SERIES); further ones are counted "
                "under the tag value 'other'. Which tag carries an id?",
            )
            pairs = tuple((key, "other") for key, _ in pairs)
            existing = self._handles.get((metric, pairs))
            if existing is not None:
                return existing
        self._series[metric] = count + 1
        kind: type[Counter] | type[Gauge] | type[Timing] = Timing
        if metric.kind in ("count", "gauge"):
            kind = Counter if metric.kind == "count" else Gauge
        handle: Handle = kind(self, metric, pairs, self._tail(metric, pairs))
        if isinstance(handle, Timing):
            if not self.config.enabled:
                handle.values = _Nothing()  # nobody would ever take the values out again
            for observed_by in self._observed_by:
                handle.observe(observed_by(handle))
        self._handles[(metric, pairs)] = handle
        return handle

    def observe_timings(self, observed_by: Callable[[Timing], Observer | None]) -> None:
        """Have the values of each timing, at every flush, also given to what `observed_by` returns for it, if anything.

        That costs nothing where values are recorded. The observers are called in the flushing thread.
        """
        with self._lock:
            self._observed_by.append(observed_by)
            for handle in self._handles.values():
                if isinstance(handle, Timing):
                    handle.observe(observed_by(handle))

    def _tail(self, metric: Metric, pairs: tuple[tuple[str, str], ...]) -> bytes:
        """Everything behind the values: type, tags, origin."""
        letter = catalog.TYPE_LETTERS[metric.kind]
        if metric.kind == "timer" and self.config.timers == "distribution":
            letter = "d"
        own = [f"{key}:{value}" for key, value in pairs]
        if "worker" in metric.tags and not any(key == "worker" for key, _ in pairs):
            own.append(f"worker:{self.worker}")
        tags = ",".join([*own, *([self._constant] if self._constant else [])])
        return f"|{letter}{'|#' + tags if tags else ''}{self.sender.suffix}".encode()

    worker = "0"

    def set_worker(self, slot: str) -> None:
        """Name this process' slot: the value of the `worker` tag of its gauges."""
        self.worker = clean_tag_value(slot)
        with self._lock:
            for (metric, pairs), handle in self._handles.items():
                handle.tail = self._tail(metric, pairs)

    def handles(self) -> list[Handle]:
        """Return every handle: a snapshot for pull endpoints and tests."""
        with self._lock:
            return list(self._handles.values())

    def add_gauges(self, source: GaugeSource) -> None:
        """Ask `source` for (gauge, value) pairs at every flush: gauges that are read from live state."""
        self._gauge_sources.append(source)

    # --- samples that cannot be used ------------------------------------------------------------------------

    def number(self, metric: Metric, value: object) -> float | None:
        """Return `value` as a finite number, or None after counting the drop."""
        if isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
            return value
        self.drop(
            "bad_value", f"{metric.name}: {str(value)[:80]!r} is no finite number; the sample was dropped"
        )
        return None

    def drop(self, reason: str, message: str, count: int = 1) -> None:
        """Count `count` dropped samples, and say why once a minute."""
        with self._lock:
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        say(f"drop:{reason}", message)

    def crowded(self, timing: Timing) -> None:
        """React to many unflushed timings: wake the flush, and cut what is beyond the limit."""
        self._wake()
        excess = len(timing.values) - TIMINGS_LIMIT
        if excess > 0:
            del timing.values[:excess]
            self.drop(
                "overflow",
                f"{timing.metric.name}: the flush is behind; {excess} timings were dropped",
                excess,
            )

    def lost_lines(self, reason: str, total: int) -> None:
        """Take over how many log lines were lost so far for `reason`."""
        self.counter(catalog.TELEMETRY_LOGS_DROPPED, reason=reason).total = total

    # --- flush ----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send everything recorded so far."""
        self._flush(final=False)

    def final_flush(self) -> None:
        """Send everything recorded so far, and 0 for every gauge: nothing of this process is left."""
        self._flush(final=True)

    def _flush(self, *, final: bool) -> None:
        # With metrics switched off, timings are still taken out of their lists, and totals kept for pull endpoints.
        with self._flush_lock:
            started = time.perf_counter()
            for reason, count in list(self.dropped.items()):
                counter = self._dropped_counters.get(reason)
                if counter is None:
                    counter = self._dropped_counters[reason] = self.counter(
                        catalog.TELEMETRY_DROPPED, reason=reason
                    )
                counter.total = count
            payloads = Packer(self.sender.payload_limit, self.config.packing)
            now = self._clock()
            self._sample_gauges()
            for handle in self.handles():
                head = handle.metric.full_name(self.config.metric_prefix).encode()
                if isinstance(handle, Counter):
                    self._flush_counter(payloads, head, handle, now)
                elif isinstance(handle, Timing):
                    self._flush_timing(payloads, head, handle)
                elif handle.value is not None:
                    payloads.add(head, b"%.10g" % (0.0 if final else handle.value), handle.tail)
            if self.enabled:
                self._send(payloads.finish())
            self._flush_time.record((time.perf_counter() - started) * 1000)

    def _sample_gauges(self) -> None:
        for source in self._gauge_sources:
            try:
                for gauge, value in source():
                    gauge.value = value
            except Exception as error:  # noqa: BLE001 - one broken source must not stop the others
                self.drop("gauge_source", f"a gauge could not be read: {error!r}")

    def _flush_counter(self, payloads: Packer, head: bytes, counter: Counter, now: float) -> None:
        total = counter.total
        delta = total - counter.sent
        if delta:
            payloads.add(head, b"%d" % delta if type(delta) is int else b"%.10g" % delta, counter.tail)
        elif now - counter.last_line >= HEARTBEAT:
            payloads.add(head, b"0", counter.tail)
        else:
            return
        counter.sent = total
        counter.last_line = now

    def _flush_timing(self, payloads: Packer, head: bytes, timing: Timing) -> None:
        batch = self._take(timing)
        if batch:
            payloads.add_many(head, batch, timing.tail)

    def _take(self, timing: Timing) -> list[float]:
        """Take the values recorded so far out of a timing, and return those that are finite numbers."""
        values = timing.values
        if not values:
            return []
        batch = values[:]
        del values[: len(batch)]
        try:
            batch_sum = sum(batch)
            usable = isfinite(batch_sum)
        except (TypeError, OverflowError):
            usable = False
        if not usable:
            batch = [number for value in batch if (number := self.number(timing.metric, value)) is not None]
            batch_sum = sum(batch)
        timing.count += len(batch)
        timing.sum += batch_sum
        for observer in timing.observers:
            observer(batch)
        return batch

    def _send(self, payloads: list[bytes]) -> None:
        backlog = self._backlog
        backlog.extend(payloads)
        while backlog:
            if not self.sender.send(backlog[0]):
                break
            payload = backlog.popleft()
            self._bytes.total += len(payload)
            self._datagrams.total += 1
        while len(backlog) > _BACKLOG_LIMIT:
            lost = backlog.popleft().count(b"\n") + 1
            self.drop(
                "agent_unreachable",
                f"{self.config.dogstatsd_address()} takes no datagrams; lines are dropped",
                lost,
            )

    def service_check(self, check: ServiceCheck, status: int, message: str = "", /, **tags: object) -> None:
        """Send a service check: status 0 ok, 1 warning, 2 critical, 3 unknown."""
        if not self.enabled:
            return
        pairs = [f"{key}:{clean_tag_value(value)}" for key, value in sorted(tags.items())]
        if "worker" in check.tags:
            pairs.append(f"worker:{self.worker}")
        name = check.full_name(self.config.metric_prefix)
        with self._flush_lock:  # two threads must not write to a stream socket at once
            self.sender.service_check(name, status, pairs, message.replace("\r", " ")[:1000])

    def after_fork(self) -> None:
        """Forget in a forked child what the parent has recorded and will send itself."""
        self._lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._backlog.clear()
        for handle in self._handles.values():
            if isinstance(handle, Counter):
                handle.sent = handle.total
            elif isinstance(handle, Timing):
                handle.values = type(handle.values)()
            else:
                handle.value = None
        self.sender.close()


class _Nothing(list[float]):
    """The values of a timing while everything is switched off: none are kept."""

    def append(self, value: float) -> None:
        """Forget the value."""


class Packer:
    """Join values to lines and lines to payloads of at most `limit` bytes."""

    def __init__(self, limit: int, packing: bool) -> None:
        self._limit = limit
        self._packing = packing
        self._payloads: list[bytes] = []
        self._lines: list[bytes] = []
        self._size = 0

    def add(self, head: bytes, value: bytes, tail: bytes) -> None:
        """Add one line with one value (or with several, already joined)."""
        line = b"%s:%s%s" % (head, value, tail)
        size = len(line) + 1
        if self._lines and self._size + size > self._limit + 1:
            self._close()
        self._lines.append(line)
        self._size += size

    def add_many(self, head: bytes, values: list[float], tail: bytes) -> None:
        """Add values, in milliseconds with three decimals, as many to a line as fit."""
        if not self._packing:
            for value in values:
                self.add(head, b"%.3f" % value, tail)
            return
        room = self._limit - len(head) - len(tail) - 1
        at = 0
        step = max(1, room // 8)
        while at < len(values):
            chunk = values[at : at + step]
            text = (b"%.3f:" * len(chunk) % tuple(chunk))[:-1]
            while len(text) > room and len(chunk) > 1:
                chunk = chunk[: max(1, len(chunk) * room // len(text) - 1)]
                text = (b"%.3f:" * len(chunk) % tuple(chunk))[:-1]
            self.add(head, text, tail)
            at += len(chunk)

    def _close(self) -> None:
        self._payloads.append(b"\n".join(self._lines))
        self._lines = []
        self._size = 0

    def finish(self) -> list[bytes]:
        """Return the payloads."""
        if self._lines:
            self._close()
        return self._payloads


class NoSender:
    """Send nothing: metrics are switched off."""

    payload_limit = UDP_PAYLOAD
    tags: tuple[str, ...] = ()
    suffix = ""

    def send(self, payload: bytes) -> bool:
        """Take the payload and forget it."""
        return True

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        """Forget the service check."""

    def close(self) -> None:
        """Do nothing."""


class AgentSender:
    """Send payloads to an Agent through the `datadog` client's socket: UDP, unix datagram or unix stream.

    The client resolves addresses, reads DD_* variables and detects the container; its own buffering, sampling
    and aggregation are not used (they lose what is buffered at exit and cannot pack values).
    """

    def __init__(self, config: Config) -> None:
        from datadog.dogstatsd.base import DogStatsd

        self._config = config
        address = config.dogstatsd_address()
        unix = not address.startswith("udp://")
        host, _, port = address.removeprefix("udp://").rpartition(":")
        tags = [f"{key}:{value}" for key in ("env", "service", "version") if (value := getattr(config, key))]
        self._client: Any = DogStatsd(
            host=None if unix else host.strip("[]"),
            port=None if unix else int(port),
            socket_path=address if unix else None,
            constant_tags=[*tags, *config.tags],
            disable_telemetry=True,
            socket_timeout=0.5,
        )
        self.payload_limit = UDS_PAYLOAD if unix else UDP_PAYLOAD
        self.tags = _unique_by_key([clean_tag(tag) for tag in self._client.constant_tags])
        self.suffix = self._origin()
        self._failures = 0

    def _origin(self) -> str:
        """The fields by which the Agent finds the container: `|c:`, `|e:` and `|card:`."""
        parts = ""
        for letter, value in (
            ("c", getattr(self._client, "_container_id", None)),
            ("e", os.environ.get("DD_EXTERNAL_ENV")),
            ("card", getattr(self._client, "cardinality", None)),
        ):
            if value and re.match(r"[\w\-,.:/]+\Z", value):
                parts += f"|{letter}:{value}"
        return parts

    def send(self, payload: bytes) -> bool:
        """Send one payload; a closed socket is opened again once. Never raises."""
        for attempt in (1, 2):
            try:
                socket = self._client.get_socket()
                if socket.type == SOCK_STREAM:
                    socket.sendall(pack("<I", len(payload)) + payload)
                else:
                    socket.send(payload)
                    # On this host a datagram that nobody takes is refused at once, and only the next send would say so.
                    refused = socket.getsockopt(SOL_SOCKET, SO_ERROR)
                    if refused:
                        raise OSError(refused, os.strerror(refused))
            except OSError as error:
                self._client.close_socket()
                if attempt == 2 or isinstance(error, gaierror):
                    self._say(error)
            else:
                return True
        return False

    def _say(self, error: OSError) -> None:
        say(
            "dogstatsd",
            f"no Agent takes metrics at {self._config.dogstatsd_address()} ({error}); the application is not affected. "
            "Start one (`streaming-dd agent`), set DD_AGENT_HOST, or set STREAMING_METRICS_ENABLED=false.",
        )

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        """Send one service check through the client."""
        self._client.service_check(name, status, tags=tags, message=message or None)

    def close(self) -> None:
        """Close the socket; the next send opens it again."""
        self._client.close_socket()


def clean_tag(tag: str) -> str:
    """Return a `key:value` tag with a clean value."""
    key, separator, value = tag.partition(":")
    return f"{_FORBIDDEN.sub('_', key)}:{clean_tag_value(value)}" if separator else clean_tag_value(key)


def _unique_by_key(tags: list[str]) -> tuple[str, ...]:
    """Keep the first of two tags of one key: arguments win over DD_* variables that the client adds."""
    seen: dict[str, str] = {}
    for tag in tags:
        seen.setdefault(tag.partition(":")[0], tag)
    return tuple(seen.values())


def check_address(config: Config) -> None:
    """Raise ConfigError if DogStatsD's unix socket path cannot be one; an absent Agent is no error."""
    address = config.dogstatsd_address()
    if address.startswith("unix") and len(address.partition("://")[2].encode()) > 107:
        raise ConfigError(
            "DD_DOGSTATSD_URL",
            f"{address!r}: the socket's path is longer than 107 bytes.",
            "Use a shorter one.",
        )
