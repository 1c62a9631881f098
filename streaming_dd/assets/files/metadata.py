"""Metrics' and service checks' descriptions, as files of Datadog's integrations. No state."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from ... import catalog
from ...catalog import Metric
from ..options import Options
from ..queries import HISTOGRAM_SUFFIXES, UNIVERSAL, for_monitors

Json = dict[str, Any]

METADATA_COLUMNS = (
    "metric_name",
    "metric_type",
    "interval",
    "unit_name",
    "per_unit_name",
    "description",
    "orientation",
    "integration",
    "short_name",
    "curated_metric",
    "sample_tags",
)


def metadata(options: Options) -> list[dict[str, str]]:
    """Return a row for each metric that arrives in Datadog, as its integrations describe theirs."""
    return [row for metric in catalog.METRICS for row in _metadata_rows(metric, options)]


def _metadata_rows(metric: Metric, options: Options) -> Iterable[dict[str, str]]:
    queries = for_monitors(options)
    name = queries.name(metric)
    if metric.kind in ("count", "gauge") or queries.is_distribution(metric):
        kind = metric.kind if metric.kind in ("count", "gauge") else "distribution"
        yield _row(metric, name, kind, metric.unit, metric.help)
        return
    for statistic, suffix in HISTOGRAM_SUFFIXES.items():
        unit = "" if statistic == "count" else metric.unit
        kind = "count" if statistic == "count" else "gauge"
        help = f"{_STATISTICS[statistic]} {metric.help}"
        yield _row(metric, f"{name}.{suffix}", kind, unit, help)


_STATISTICS = {
    "avg": "Mean:",
    "max": "Greatest:",
    "p50": "Median:",
    "p95": "95th percentile:",
    "count": "How many:",
}
_ORIENTATION = {
    "failed": "-1",
    "errors": "-1",
    "stall": "-1",
    "dropped": "-1",
    "lag": "-1",
    "blocked": "-1",
    "completed": "1",
}


def _row(metric: Metric, name: str, kind: str, unit: str, help: str) -> dict[str, str]:
    orientation = next((value for word, value in _ORIENTATION.items() if word in metric.name), "0")
    values = (
        name, kind, "", unit.replace(" ", "_"), "", help.replace("`", ""), orientation, "streaming-dd",
        metric.name.replace(".", " ").replace("_", " "), "", ",".join((*metric.tags, *UNIVERSAL)),
    )  # fmt: skip
    return dict(zip(METADATA_COLUMNS, values, strict=True))


def metadata_csv(options: Options) -> str:
    """Write `metadata.csv` in the format of Datadog's integrations."""
    text = io.StringIO()
    writer = csv.DictWriter(text, METADATA_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(metadata(options), key=lambda row: row["metric_name"]))
    return text.getvalue()


def service_checks(options: Options) -> list[Json]:
    """Return the service checks in the format of Datadog's integrations."""
    return [
        {
            "agent_version": "7.0.0",
            "integration": "streaming-dd",
            "check": check.full_name(options.prefix),
            "statuses": ["ok", "warning", "critical", "unknown"],
            "groups": ["host", "env", "service", *check.tags],
            "name": check.name.replace("_", " ").capitalize(),
            "description": check.help,
        }
        for check in catalog.SERVICE_CHECKS
    ]
