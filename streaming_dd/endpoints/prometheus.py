"""The door to prometheus-client: every metric as Prometheus and OpenMetrics text.

Names follow one rule, `family_name`; labels are the catalogue's tags. State: the histogram buckets of each timing,
in `Exposition` (one for each recorder), filled where timings are flushed. docs/decisions/0063.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final, TypeAlias, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest as encode_text
from prometheus_client.openmetrics.exposition import generate_latest as encode_openmetrics
from prometheus_client.registry import Collector

from .. import catalog
from ..catalog import Metric
from ..metrics import Counter, Gauge, Handle, Observer, Timing
from ..notices import logger, say
from ..recorder import Recorder

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

#: Metrics that people know by another name than the rule gives them.
KNOWN_AS: Final[dict[Metric, str]] = {
    catalog.TASKS_ACTIVE: "active_tasks",
    catalog.CLIENTS_ACTIVE: "active_clients",
}
#: Units of time, in seconds: Prometheus has all times in seconds.
_SECONDS: Final = {
    "nanosecond": 1e-9,
    "microsecond": 1e-6,
    "millisecond": 1e-3,
    "second": 1.0,
    "minute": 60.0,
}
_BYTE_BOUNDS: Final = tuple(float(4**power) for power in range(5, 17))  # 1 KiB to 4 GiB
_OTHER_BOUNDS: Final = tuple(float(step * 10**power) for power in range(7) for step in (1, 2, 5))

#: Content types of the two formats.
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"


def family_name(metric: Metric, prefix: str) -> str:
    """Return a metric's name in Prometheus, without the `_total` of a count.

    Dots become underscores, a timing gets its unit (`_seconds`, `_bytes`), two gauges have the names of `KNOWN_AS`.
    """
    if metric in KNOWN_AS:
        return f"{prefix.replace('.', '_')}_{KNOWN_AS[metric]}"
    name = metric.full_name(prefix).replace(".", "_")
    suffix = "total" if metric.kind == "count" else _unit(metric)
    if metric.kind == "gauge" or not suffix:
        return name
    name = name.removesuffix(f"_{suffix}")
    return name if suffix == "total" else f"{name}_{suffix}"


def _unit(metric: Metric) -> str:
    if metric.kind == "timer" or metric.unit in _SECONDS:
        return "seconds"
    return "bytes" if metric.unit == "byte" else ""


class Buckets:
    """How many values of a timing lie below each bound."""

    def __init__(self, bounds: tuple[float, ...], scale: float) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self._scale = scale

    def observe(self, values: list[float]) -> None:
        """Count values that were flushed."""
        for value in values:
            self.counts[bisect_left(self.bounds, value * self._scale)] += 1
        self.sum += sum(values) * self._scale

    def cumulative(self) -> list[tuple[str, float]]:
        """Return (bound, values up to it) for every bound and infinity."""
        names = [*(repr(float(bound)) for bound in self.bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts.copy())), strict=True))


class Exposition(Collector):
    """The metrics of this process for whoever scrapes. Find it with `recorder.get().part(Exposition)`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._config = recorder.config
        self._buckets: dict[Timing, Buckets] = {}
        self._mentioned = False
        recorder.metrics.observe_timings(self._observer)

    def _observer(self, timing: Timing) -> Observer:
        metric = timing.metric
        if _unit(metric) == "seconds":
            scale = 1e-3 if metric.kind == "timer" else _SECONDS[metric.unit]
            buckets = Buckets(self._config.prometheus_buckets, scale)
        else:
            buckets = Buckets(_BYTE_BOUNDS if metric.unit == "byte" else _OTHER_BOUNDS, 1.0)
        self._buckets[timing] = buckets
        return buckets.observe

    def render(self, *, openmetrics: bool = False) -> bytes:
        """Return the text, in OpenMetrics or in Prometheus' own format. Blocks: call it off the event loop."""
        self._recorder.take_in()
        self._mention_workers()
        encode: Any = encode_openmetrics if openmetrics else encode_text
        text: bytes = encode(self)
        return text

    def _mention_workers(self) -> None:
        """Say once that scrapes which reach one worker after the other make no sense together."""
        config, worker = self._config, self._recorder.metrics.worker
        if self._mentioned or config.prometheus_worker or config.worker or worker == "0":
            return
        self._mentioned = True
        logger.info(
            "worker %s was scraped: if several workers answer /metrics on one port, set STREAMING_PROMETHEUS_WORKER",
            worker,
        )

    def collect(self) -> Iterator[Any]:
        """Yield every family; called by prometheus-client."""
        taken: set[str] = set()
        for metric, handles in self._by_metric().items():
            family = self._family(metric, handles)
            if family is None:
                continue
            names = {family.name, *(sample.name for sample in family.samples)}
            if names & taken:
                say(
                    f"prometheus:{metric.name}",
                    f"metric {metric.name} has the same name in Prometheus as another one, {family.name}: it is left "
                    "out of /metrics",
                )
                continue
            taken |= names
            yield family

    def _by_metric(self) -> dict[Metric, list[Handle]]:
        """Every handle by its metric. The catalogue's come first, and win over others of the same name; those that
        have not happened yet are there without samples, as prometheus-client's own are."""
        found: dict[Metric, list[Handle]] = {metric: [] for metric in catalog.METRICS}
        for handle in self._recorder.metrics.handles():
            found.setdefault(handle.metric, []).append(handle)
        return dict(sorted(found.items(), key=lambda item: (not item[0].prefixed, item[0].name)))

    def _family(self, metric: Metric, handles: Iterable[Handle]) -> Family | None:
        name = family_name(metric, self._config.metric_prefix)
        keys = [key for key in sorted(metric.tags) if key != "worker"]
        labels = [_label(key) for key in keys]
        if len(set(labels)) < len(labels):
            say(f"prometheus:{metric.name}", f"metric {metric.name}: two of its tags are the same label")
            return None
        with_worker = self._config.prometheus_worker
        if with_worker:
            labels.append("worker")
        kinds = {"count": CounterMetricFamily, "gauge": GaugeMetricFamily}
        make: Any = kinds.get(metric.kind, HistogramMetricFamily)
        family = make(name, metric.help or metric.name, labels=labels)
        for handle in handles:
            tags = dict(handle.tags)
            values = [tags.get(key, "none") for key in keys]
            if with_worker:
                values.append(self._recorder.metrics.worker)
            if isinstance(handle, Timing):
                buckets = self._buckets.get(handle)
                if buckets is not None:
                    family.add_metric(values, buckets.cumulative(), buckets.sum)
            elif isinstance(handle, Counter):
                family.add_metric(values, handle.total)
            elif isinstance(handle, Gauge) and handle.value is not None:
                family.add_metric(values, handle.value)
        return cast(Family, family)


def _label(key: str) -> str:
    """A tag key as a label: `le` belongs to histograms."""
    label = key.replace(".", "_").replace("-", "_")
    return "tag_le" if label == "le" else label
