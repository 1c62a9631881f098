"""Aggregation as Datadog's Agent does it: samples into 10 s buckets, closed buckets into the `Store`.

State: one `Aggregator` per agent, used on its loop only. The rules are those of pkg/aggregator/time_sampler.go; the
one difference is the moment: a bucket is written as soon as it is over, the Agent waits for its 15 s flush.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple, Protocol

from ..intake import dogstatsd
from ..intake.dogstatsd import Event, Fields, Sample, ServiceCheck
from .contexts import Context, HistogramRules, Summary, new_context
from .points import INTERVAL, Tags
from .series import Store

MAX_DATAGRAM = 8192
"""Bytes that Datadog's Agent reads of a datagram (`dogstatsd_buffer_size`); it cuts what is longer."""
MAX_BINDINGS = 50_000
MAX_PAST, MAX_FUTURE = 3600, 600
"""Seconds by which a `|T` timestamp may lie in the past and in the future; the backend drops others."""

INTERNAL_TAGS = ("dd.internal.entity_id:", "dd.internal.card:", "dd.internal.jmx_check_name:")

NOT_PREFIXED = (
    "datadog.agent", "datadog.dogstatsd", "datadog.process", "datadog.trace_agent", "datadog.tracer", "activemq",
    "airflow", "cassandra", "confluent", "hazelcast", "hive", "ignite", "jboss", "jvm", "kafka", "presto", "sidekiq",
    "solr", "tomcat", "runtime",
)  # fmt: skip
"""Beginnings of names that keep theirs: the Agent's default `statsd_metric_namespace_blacklist`."""


class Listener(Protocol):
    """Gets every message as it was sent, before aggregation."""

    def sample(self, sample: Sample) -> None: ...
    def event(self, event: Event) -> None: ...
    def service_check(self, check: ServiceCheck) -> None: ...
    def malformed_line(self, line: Malformed) -> None: ...


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that was dropped, at most 200 bytes of it, and why."""

    line: bytes
    reason: str


class _Binding(NamedTuple):
    """A series that a (name, rest of the line) was found to belong to."""

    add: Callable[[Sequence[float], float, float], None]
    rate: float
    name: str
    fields: Fields


@dataclass
class Intake:
    """What came in, since the start; all numbers only grow."""

    datagrams: int = 0
    bytes: int = 0
    samples: int = 0
    events: int = 0
    service_checks: int = 0
    malformed: int = 0
    oversized: int = 0
    clock_steps_back: int = 0
    malformed_lines: deque[Malformed] = field(default_factory=lambda: deque(maxlen=20))


class Aggregator:
    """Takes datagrams, keeps the open bucket, writes closed ones to the store.

    `host` and `tags` go on every series, as the Agent's `hostname` and `tags` do. `expiry` is the Agent's
    `dogstatsd_expiry_seconds`: how long a counter that fell silent is sent as 0.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        host: str = "local",
        tags: Iterable[str] = (),
        dogstatsd_tags: Iterable[str] = (),
        namespace: str = "",
        rules: HistogramRules | None = None,
        expiry: int = 300,
        listener: Listener | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.intake = Intake()
        self.bucket = int(clock()) // INTERVAL * INTERVAL
        """Start of the open bucket."""
        self._host = host
        self._tags = tuple(tags)
        self._dogstatsd_tags = tuple(dogstatsd_tags)
        self._namespace = f"{namespace.rstrip('.')}." if namespace else ""
        self._rules = rules or HistogramRules()
        self._expiry = expiry
        self._listener = listener
        self._contexts: dict[tuple[str, Tags, str], Context] = {}
        self._summaries: dict[tuple[str, Tags, str], Summary] = {}
        self._bound: dict[tuple[bytes, bytes], _Binding] = {}

    def feed(self, datagram: bytes) -> None:
        """Take one datagram: any number of lines, each counted, dropped or kept on its own."""
        intake = self.intake
        intake.datagrams += 1
        intake.bytes += len(datagram)
        if len(datagram) > MAX_DATAGRAM:
            intake.oversized += 1
            datagram = datagram[:MAX_DATAGRAM]
        bound, listener = self._bound, self._listener
        if b"\r\n" in datagram or datagram.endswith(b"\r"):
            datagram = datagram.replace(b"\r\n", b"\n").removesuffix(b"\r")
        for line in datagram.split(b"\n"):
            head, _, rest = line.partition(b"|")
            name, _, values = head.partition(b":")
            binding = bound.get((name, rest))
            if binding is None or values.translate(None, dogstatsd.NUMERIC):
                if line:
                    self._feed_line(line)
                continue
            try:
                if b":" in values:
                    numbers = [float(value) for value in values.split(b":") if value]
                else:
                    numbers = [float(values)]
            except ValueError:
                numbers = []
            total = sum(numbers)
            if not numbers or not isfinite(total):
                self._feed_line(line)
                continue
            intake.samples += len(numbers)
            binding.add(numbers, total, binding.rate)
            if listener is not None:
                fields = binding.fields
                listener.sample(
                    Sample(binding.name, fields.kind, tuple(numbers), fields.tags, None, fields.rate)
                )

    def took(self, sample: Sample) -> None:
        """Count a sample that went into the store past aggregation."""
        self.intake.samples += 1
        if self._listener:
            self._listener.sample(sample)

    def advance(self) -> list[int]:
        """Close what is over by the clock; return the starts of the closed buckets, oldest first."""
        current = int(self.clock()) // INTERVAL * INTERVAL
        if current == self.bucket:
            return []
        if current < self.bucket:
            self.intake.clock_steps_back += 1
            closed = [self.bucket]
        else:
            # After a pause (a suspended laptop) no more is left to write than the zeros of counters.
            last = min(current, self.bucket + self._expiry + 2 * INTERVAL)
            closed = list(range(self.bucket, last, INTERVAL))
        for bucket in closed:
            self._flush(bucket)
        self.bucket = current
        self._expire()
        self.store.age()
        return closed

    def close(self) -> None:
        """Close what is over and the open bucket too: the agent stops."""
        self.advance()
        self._flush(self.bucket)

    def forget(self) -> None:
        """Drop the open bucket and everything that is known of series: what comes next begins anew."""
        self._contexts, self._summaries, self._bound = {}, {}, {}

    def snapshot(self) -> list[Summary]:
        """Return one summary per series since the start, the open bucket included."""
        live = {key: context.live() for key, context in self._contexts.items()}
        return [live.get(key, summary) for key, summary in self._summaries.items()]

    def series_tags(self, tags: Iterable[str], host: str = "") -> Tags:
        """Return tags as stored: normalised, with the agent's own and the host, without internal ones."""
        kept = []
        for tag in (*tags, *self._tags):
            if tag.startswith("host:"):
                host = tag[5:]
            elif not tag.startswith(INTERNAL_TAGS) and (normalized := dogstatsd.normalize_tag(tag)):
                kept.append(normalized)
        if host or self._host:
            kept.append(f"host:{(host or self._host).lower()}")
        return frozenset(kept)

    def _own_tags(self, tags: Iterable[str], host: str = "") -> Tags:
        """Return the stored tags of what came by DogStatsD."""
        return self.series_tags((*tags, *self._dogstatsd_tags), host)

    def _name(self, name: str) -> str:
        if self._namespace and not name.startswith(NOT_PREFIXED):
            name = self._namespace + name
        return dogstatsd.normalize_name(name)

    def _feed_line(self, line: bytes) -> None:
        """Take a line that is not bound to a series yet, is no metric, or is broken."""
        try:
            message = dogstatsd.parse(line)
        except ValueError as error:
            self._drop(line, str(error))
            return
        match message:
            case Sample():
                self._take_sample(line, message)
            case Event():
                self.intake.events += 1
                self.store.put_event(self.clock(), message, self._own_tags(message.tags, message.host))
                if self._listener:
                    self._listener.event(message)
            case ServiceCheck():
                self.intake.service_checks += 1
                self.store.put_check(self.clock(), message, self._own_tags(message.tags, message.host))
                if self._listener:
                    self._listener.service_check(message)

    def _take_sample(self, line: bytes, sample: Sample) -> None:
        if sample.timestamp is not None:
            self._take_timestamped(line, sample)
            return
        self.intake.samples += len(sample.values)
        if self._listener:
            self._listener.sample(sample)
        context = self._context(sample)
        if context is None:
            self.store.rejected[self._name(sample.name)] += len(sample.values)
            return
        if sample.kind == "s":
            context.add_text(str(sample.values[0]))
            return
        numbers = [float(value) for value in sample.values]
        context.add(numbers, sum(numbers), sample.rate)
        if sample.timestamp is None:
            if len(self._bound) >= MAX_BINDINGS:
                self._bound.clear()
            name, _, rest = dogstatsd.split_metric(line)
            fields = Fields(sample.kind, sample.rate, sample.tags)
            self._bound[name, rest] = _Binding(context.add, sample.rate, sample.name, fields)

    def _take_timestamped(self, line: bytes, sample: Sample) -> None:
        """Pass a sample with a `|T` field to its own bucket, past aggregation."""
        timestamp = sample.timestamp or 0
        now = self.clock()
        if not now - MAX_PAST <= timestamp <= now + MAX_FUTURE:
            self._drop(line, "the timestamp is more than 1 h in the past or 10 min in the future")
            return
        self.intake.samples += len(sample.values)
        if self._listener:
            self._listener.sample(sample)
        name, tags = self._name(sample.name), self._own_tags(sample.tags)
        summary = self._summary(sample, name, tags)
        bucket = timestamp // INTERVAL * INTERVAL
        for value in map(float, sample.values):
            if sample.kind == "c":
                stored = self.store.put(
                    name, tags, "count", bucket, value
                )  # its rate is ignored, as by the Agent
                summary.total += value
            else:
                stored = self.store.put(name, tags, "gauge", bucket, value)
                summary.last = value
            summary.samples += stored

    def _drop(self, line: bytes, reason: str) -> None:
        malformed = Malformed(line[:200], reason)
        self.intake.malformed += 1
        self.intake.malformed_lines.append(malformed)
        if self._listener:
            self._listener.malformed_line(malformed)

    def _context(self, sample: Sample) -> Context | None:
        name, tags = self._name(sample.name), self._own_tags(sample.tags)
        kind = "h" if sample.kind == "ms" else sample.kind
        context = self._contexts.get((name, tags, kind))
        if context is None:
            context = new_context(
                self.store, self._rules, sample, name, tags, lambda: self._summary(sample, name, tags)
            )
            if context is not None:
                self._contexts[name, tags, kind] = context
        return context

    def _summary(self, sample: Sample, name: str, tags: Tags) -> Summary:
        kind = "h" if sample.kind == "ms" else sample.kind
        summary = self._summaries.get((name, tags, kind))
        if summary is None:
            shown = tuple(sorted(tag for tag in tags if not tag.startswith("host:")))
            summary = Summary(name, shown, sample.kind)
            if len(self._summaries) < self.store.max_series:
                self._summaries[name, tags, kind] = summary
        return summary

    def _flush(self, bucket: int) -> None:
        for context in self._contexts.values():
            if context.seen:
                context.flush(bucket)
                context.summary.samples += context.seen
                context.seen = 0
                context.last_bucket = bucket
            elif bucket - context.last_bucket <= self._expiry:
                context.flush_idle(bucket)

    def _expire(self) -> None:
        """Forget series that were silent for the expiry time, and with them their zeros."""
        silent = [
            key for key, context in self._contexts.items() if self.bucket - context.last_bucket > self._expiry
        ]
        if silent:
            for key in silent:
                del self._contexts[key]
            self._bound.clear()
