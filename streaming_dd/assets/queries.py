"""Metric queries made of the catalogue's objects: no name is typed, no tag that is not emitted gets through.

State: none; a `Queries` object holds the options and the scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from ..catalog import Metric, SpanOperation
from ..errors import AssetError
from .options import NOT_PAGED, Options
from .query_language import And, Everything, Filter, MetricQuery, Not, Tag, Variable

UNIVERSAL = ("env", "service", "version")
TRACE_TAGS = (*UNIVERSAL, "resource_name", "http.status_code", "http.status_class", "host")
"""The only tags that Datadog puts on `trace.*` metrics: tags of spans are not among them."""

HISTOGRAM_SUFFIXES = {
    "avg": "avg",
    "max": "max",
    "p50": "median",
    "p95": "95percentile",
    "count": "count",
}
"""What the Agent makes of a timer by default, by the statistic that we call it."""


@dataclass(frozen=True)
class Queries:
    """Build queries for one scope: `variables` are template variables, `tags` fixed ones."""

    options: Options
    variables: tuple[str, ...] = ()
    tags: Mapping[str, str] | None = None
    #: Environments that are left out.
    without: tuple[str, ...] = ()

    def count(self, metric: Metric, by: tuple[str, ...] = (), **where: str) -> str:
        """Return how often it happened: `sum:...as_count()`."""
        self._need(metric, "count")
        return str(self._query("sum", self.name(metric), metric.tags, by, where, kind="count"))

    def rate(self, metric: Metric, by: tuple[str, ...] = (), **where: str) -> str:
        """Return how often a second it happens."""
        self._need(metric, "count")
        return str(self._query("sum", self.name(metric), metric.tags, by, where, kind="rate"))

    def gauge(self, metric: Metric, aggregator: str = "sum", by: tuple[str, ...] = (), **where: str) -> str:
        """Return a level; over workers a sum unless told otherwise."""
        self._need(metric, "gauge")
        return str(self._query(aggregator, self.name(metric), metric.tags, by, where))

    def timer(self, metric: Metric, statistic: str, by: tuple[str, ...] = (), **where: str) -> str:
        """Return avg, max, p50, p95 or count of a timer, whichever way it is sent."""
        self._need(metric, "timer", "histogram", "distribution")
        query = partial(self._query, tags=metric.tags, by=by, where=where)
        if self.is_distribution(metric):
            if statistic == "count":
                return str(query("count", self.name(metric), kind="count"))
            return str(query(statistic, self.name(metric)))
        name = f"{self.name(metric)}.{HISTOGRAM_SUFFIXES[statistic]}"
        if statistic == "count":
            return str(query("sum", name, kind="count"))
        # Percentiles and means of several series cannot be put together again; the greatest of them is a true bound.
        return str(query("max", name))

    def called(self, metric: Metric, statistic: str) -> str:
        """Return what `timer()` gives, in words: `p95` of everything, or the highest p95 of any series."""
        exact = self.is_distribution(metric) or statistic in ("max", "count")
        return statistic if exact else f"highest {statistic}"

    def hits(self, operation: SpanOperation | str, by: tuple[str, ...] = (), **where: str) -> str:
        """Return how many spans of an operation there were, as the Agent counts them."""
        return self._trace(operation, ".hits", "sum", by, where, kind="count")

    def errors(self, operation: SpanOperation | str, by: tuple[str, ...] = (), **where: str) -> str:
        """Return how many of them carried an error."""
        return self._trace(operation, ".errors", "sum", by, where, kind="count")

    def latency(self, operation: SpanOperation | str, statistic: str, by: tuple[str, ...] = ()) -> str:
        """Return avg, max or a percentile of the spans' durations, in seconds."""
        return self._trace(operation, "", statistic, by, {})

    def name(self, metric: Metric) -> str:
        """Return a metric's name as it goes over the wire."""
        return metric.full_name(self.options.prefix)

    def is_distribution(self, metric: Metric) -> bool:
        """Say whether a metric arrives as a distribution."""
        timers = self.options.timers == "distribution" and metric.kind == "timer"
        return timers or metric.kind == "distribution"

    def _trace(
        self,
        operation: SpanOperation | str,
        suffix: str,
        aggregator: str,
        by: tuple[str, ...],
        where: Mapping[str, str],
        kind: str | None = None,
    ) -> str:
        name = operation if isinstance(operation, str) else operation.name
        if isinstance(operation, SpanOperation) and not operation.measured:
            raise AssetError(f"{name} is not measured: the Agent makes no trace.{name} metrics of it")
        return str(self._query(aggregator, f"trace.{name}{suffix}", TRACE_TAGS, by, where, kind=kind))

    def _query(
        self,
        aggregator: str,
        name: str,
        tags: tuple[str, ...],
        by: tuple[str, ...],
        where: Mapping[str, str],
        kind: str | None = None,
    ) -> MetricQuery:
        emitted = {*tags, *UNIVERSAL, "host"}
        asked = {*by, *where}
        if asked - emitted:
            raise AssetError(f"{name} is not emitted with the tag {', '.join(sorted(asked - emitted))}")
        parts: list[Filter] = [Variable(name) for name in self.variables if name in emitted]
        parts += [Tag(key, value) for key, value in (self.tags or {}).items() if key in emitted]
        parts += [Not(Tag("env", name)) for name in self.without]
        parts += [_condition(key, value) for key, value in where.items()]
        scope = Everything() if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))
        return MetricQuery(aggregator, name, scope, by, kind)  # type: ignore[arg-type]

    def _need(self, metric: Metric, *kinds: str) -> None:
        if metric.kind not in kinds:
            raise AssetError(f"{metric.name} is a {metric.kind}, not a {' or '.join(kinds)}")


def _condition(key: str, value: str) -> Filter:
    """Read `outcome="!cancelled"` as all but that."""
    return Not(Tag(key, value[1:])) if value.startswith("!") else Tag(key, value)


def for_dashboards(options: Options) -> Queries:
    """Return queries that the reader narrows by template variables."""
    return Queries(options, (*UNIVERSAL, "app", "model"))


def for_monitors(options: Options) -> Queries:
    """Return queries with the scope that the options fix."""
    return Queries(
        options,
        tags={key: value for key, value in (("env", options.env), ("service", options.service)) if value},
    )


def for_slos(options: Options) -> Queries:
    """Return the same for SLOs: their alerts have no groups to tell apart, so who is to be told is told of no `dev`."""
    without = NOT_PAGED if options.notify and not options.env else ()
    return replace(for_monitors(options), without=without)
