"""The door to prometheus-client: every metric of a server's workers as Prometheus and OpenMetrics text.

Names follow one rule, `family_name`; labels are the catalogue's tags. The numbers are those of series.py, added up over the
workers by workers.py. State: what is known of each metric, in `Exposition` (one for each recorder). docs/decisions/0063.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from typing import Any, Final, TypeAlias, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest as encode_text
from prometheus_client.openmetrics.exposition import generate_latest as encode_openmetrics

from .. import catalog
from ..catalog import Metric
from ..output.notices import logger, say
from ..recorder import Recorder
from .prometheus_lines import Lines, filled
from .workers import FRESH, Name, Point, Series, Total, Whole, Workers, metric_of

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


class Exposition:
    """The metrics of this server's workers for whoever scrapes. Find it with `recorder.get().part(Exposition)`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._config = recorder.config
        self._workers = recorder.part(Workers)
        self._mentioned = False
        self._metrics: dict[Name, Metric | None] = {}
        #: By whether the format is OpenMetrics.
        self._lines = {False: Lines(encode_text), True: Lines(encode_openmetrics)}
        recorder.part(Series).observe(self._bounds_of)

    def _bounds_of(self, metric: Metric) -> tuple[tuple[float, ...], float]:
        if _unit(metric) == "seconds":
            scale = 1e-3 if metric.kind == "timer" else _SECONDS[metric.unit]
            return self._config.prometheus_buckets, scale
        return _BYTE_BOUNDS if metric.unit == "byte" else _OTHER_BOUNDS, 1.0

    def render(self, *, openmetrics: bool = False) -> bytes:
        """Return the text, in OpenMetrics or in Prometheus' own format. Blocks: call it off the event loop."""
        self._mention_workers()
        text = "".join(self._text(self._lines[openmetrics]))
        return f"{text}# EOF\n".encode() if openmetrics else text.encode()

    def _mention_workers(self) -> None:
        """Say once that scrapes which reach one worker after the other make no sense together."""
        config, worker = self._config, self._recorder.metrics.worker
        alone = not self._workers.siblings.joined
        if self._mentioned or config.prometheus_worker or config.worker or worker == "0" or not alone:
            return
        self._mentioned = True
        logger.info(
            "worker %s was scraped: if several workers answer /metrics on one port, set STREAMING_PROMETHEUS_WORKER",
            worker,
        )

    def _text(self, lines: Lines) -> Iterator[str]:
        """Yield the text of every family."""
        whole = self._workers.whole(by_worker=self._config.prometheus_worker, fresh=FRESH)
        taken: set[str] = set()
        for metric, series in self._by_metric(whole.total).items():
            labels = self._labels(metric)
            if labels is None:
                continue
            family = self._family(metric, labels)
            written = [
                (lines.of((metric, point, *labels), partial(self._family, metric, labels, point)), numbers)
                for point, numbers in series
            ]
            names = {
                family.name,
                *(start.partition("{")[0].strip() for one in written[:1] for start, _ in one[0]),
            }
            if names & taken:
                say(
                    f"prometheus:{metric.name}",
                    f"metric {metric.name} has the same name in Prometheus as another one, {family.name}: it is left "
                    "out of /metrics",
                )
                continue
            taken |= names
            yield lines.head(family)
            for starts, numbers in written:
                yield filled(
                    starts, numbers if len(numbers) == 1 else [*accumulate(numbers[:-1]), numbers[-1]]
                )
        if self._workers.siblings.joined:
            yield lines.whole(self._up(whole))

    def _up(self, whole: Whole) -> Family:
        """Which workers the numbers are of: 1 for one that answered, 0 for one of which only older numbers are known."""
        name = f"{self._config.metric_prefix.replace('.', '_')}_worker_up"
        family = GaugeMetricFamily(name, "Whether a worker answered for itself.", labels=["worker"])
        for worker, why in whole.workers.items():
            family.add_metric([worker], 0 if why else 1)
        return family

    def _by_metric(self, total: Total) -> dict[Metric, list[tuple[Point, list[float]]]]:
        """Every series by its metric. The catalogue's come first, and win over others of the same name; those that
        have not happened yet are there without samples, as prometheus-client's own are."""
        found: dict[Metric, list[tuple[Point, list[float]]]] = {metric: [] for metric in catalog.METRICS}
        gauges = ((point, [value]) for point, value in total.gauges.items())
        for point, values in (*total.points(), *gauges):
            if point.name not in self._metrics:
                self._metrics[point.name] = metric_of(point.name)
            metric = self._metrics[point.name]
            if metric is not None:
                found.setdefault(metric, []).append((point, values))
        return dict(sorted(found.items(), key=lambda item: (not item[0].prefixed, item[0].name)))

    def _labels(self, metric: Metric) -> list[str] | None:
        """Return the labels of a metric's series; None where two of its tags are the same one."""
        labels = [_label(key) for key in sorted(metric.tags) if key != "worker"]
        if len(set(labels)) < len(labels):
            say(f"prometheus:{metric.name}", f"metric {metric.name}: two of its tags are the same label")
            return None
        several = self._workers.siblings.joined and metric.kind == "gauge" and metric.across == "worker"
        if self._config.prometheus_worker or several:
            labels.append("worker")
        return labels

    def _family(self, metric: Metric, labels: list[str], point: Point | None = None) -> Family:
        """Return a family without series, or with one, in which each number is its place among the series' numbers."""
        kinds = {"count": CounterMetricFamily, "gauge": GaugeMetricFamily}
        make: Any = kinds.get(metric.kind, HistogramMetricFamily)
        name = family_name(metric, self._config.metric_prefix)
        family = make(name, metric.help or metric.name, labels=labels)
        if point is not None:
            values = [*point.values, point.worker or ""][: len(labels)]
            if make is HistogramMetricFamily:
                bounds = [*(repr(float(bound)) for bound in point.name.bounds), "+Inf"]
                family.add_metric(values, [(bound, at) for at, bound in enumerate(bounds)], len(bounds))
            else:
                family.add_metric(values, 0)
        return cast(Family, family)


def _label(key: str) -> str:
    """A tag key as a label: `le` belongs to histograms."""
    label = key.replace(".", "_").replace("-", "_")
    return "tag_le" if label == "le" else label
