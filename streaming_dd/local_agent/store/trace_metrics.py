"""`trace.<operation>.*` metrics, computed from spans as Datadog's Agent does. State: one `TraceMetrics` per agent.

Only spans that the Agent would count are counted: top-level ones (a service's entry), measured ones, and those
of kind server, client, producer or consumer. A span counts in the bucket in which it *ended*. Tags are env,
service, version, resource_name, http.status_code and http.status_class, never a span's other tags.
(docs.datadoghq.com/tracing/metrics/metrics_namespace)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..intake.dogstatsd import normalize_name
from ..intake.spans import Span
from .aggregate import MAX_FUTURE, MAX_PAST
from .points import INTERVAL, Tags
from .series import Store
from .sketch import Sketch

COUNTED_KINDS = frozenset(("server", "client", "producer", "consumer"))
MAX_OPEN = 20_000
"""Groups gathered between two flushes; spans of further ones are counted as refused."""

_Key = tuple[int, str, str, str, str, str, str]
"""Bucket, operation, env, service, version, resource, HTTP status."""


@dataclass(slots=True)
class _Group:
    hits: float = 0.0
    errors: float = 0.0
    seconds: float = 0.0
    sketch: Sketch = field(default_factory=Sketch)


def counts(span: Span) -> bool:
    """Say whether the Agent would compute trace metrics from the span."""
    metrics = span.metrics
    if metrics.get("_dd.partial_version", -1) >= 0:
        return False  # a snapshot of a span that still runs
    return (
        metrics.get("_dd.top_level") == 1
        or metrics.get("_dd.measured") == 1
        or span.meta.get("span.kind", "").lower() in COUNTED_KINDS
    )


def mark_top_level(chunk: Sequence[Span]) -> None:
    """Mark the service-entry spans of a chunk whose client did not: root, parent elsewhere, or another service."""
    services = {span.span_id: span.service for span in chunk}
    for span in chunk:
        if services.get(span.parent_id) != span.service:
            span.metrics["_dd.top_level"] = 1.0


class TraceMetrics:
    """Gathers spans by bucket and group; closed buckets go to the store, late spans are added to theirs.

    `tags_of` makes stored tags of written ones: it normalises, and adds the agent's own and the host.
    """

    def __init__(
        self,
        store: Store,
        tags_of: Callable[[Iterable[str]], Tags],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._tags_of = tags_of
        self._clock = clock
        self._groups: dict[_Key, _Group] = {}

    def add(self, spans: Iterable[Span]) -> None:
        """Count the spans that count."""
        now = self._clock()
        for span in spans:
            if not counts(span):
                continue
            end = span.start_ns + span.duration_ns
            bucket = end // 10**9 // INTERVAL * INTERVAL
            if not now - MAX_PAST <= bucket <= now + MAX_FUTURE:
                bucket = int(now) // INTERVAL * INTERVAL  # a client's clock is off, the span is of now
            meta = span.meta
            key = (
                bucket, span.name, meta.get("env", ""), span.service, meta.get("version", ""),
                span.resource, _http_status(span),
            )  # fmt: skip
            group = self._groups.get(key)
            if group is None:
                if len(self._groups) >= MAX_OPEN:
                    self._store.rejected[f"trace.{normalize_name(span.name)}"] += 1
                    continue
                group = self._groups[key] = _Group()
            rate = span.metrics.get("_sample_rate", 1.0)
            weight = 1 / rate if 0 < rate <= 1 else 1.0
            seconds = span.duration_ns / 1e9
            group.hits += weight
            group.errors += weight if span.error else 0.0
            group.seconds += weight * seconds
            group.sketch.add((seconds,), max(1, round(weight)))

    def forget(self) -> None:
        """Drop what is not written yet."""
        self._groups.clear()

    def flush(self, *, everything: bool = False) -> None:
        """Write the groups of buckets that are over by the clock."""
        if not self._groups:
            return
        now = self._clock()
        due = [key for key in self._groups if everything or key[0] + INTERVAL <= now]
        for key in due:
            self._write(key, self._groups.pop(key))

    def _write(self, key: _Key, group: _Group) -> None:
        bucket, operation, env, service, version, resource, status = key
        written = [f"service:{service}", f"resource_name:{resource}"]
        written += [f"env:{env}"] if env else []
        written += [f"version:{version}"] if version else []
        if status:
            written += [f"http.status_code:{status}", f"http.status_class:{status[0]}xx"]
        tags = self._tags_of(written)
        store, name = self._store, f"trace.{normalize_name(operation)}"
        store.put(f"{name}.hits", tags, "count", bucket, group.hits)
        if group.errors:
            store.put(f"{name}.errors", tags, "count", bucket, group.errors)
        if status:
            store.put(f"{name}.hits.by_http_status", tags, "count", bucket, group.hits)
            if group.errors:
                store.put(f"{name}.errors.by_http_status", tags, "count", bucket, group.errors)
        store.put(f"{name}.duration", tags, "gauge", bucket, group.seconds, add=True)
        store.put_sketch(name, tags, bucket, group.sketch)
        store.units[name] = store.units[f"{name}.duration"] = "second"


def _http_status(span: Span) -> str:
    status = span.meta.get("http.status_code", "")
    return status if len(status) == 3 and status.isdigit() else ""
