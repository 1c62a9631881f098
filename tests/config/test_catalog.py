"""The catalogue: names, kinds and tags that Datadog takes as they are."""

from __future__ import annotations

import pytest

from streaming_dd import catalog
from streaming_dd.catalog import Metric
from streaming_dd.errors import MetricError


def test_names_are_unique() -> None:
    """No two metrics of the catalogue share a name."""
    names = [metric.name for metric in catalog.METRICS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("metric", catalog.METRICS, ids=lambda metric: metric.name)
def test_every_metric_is_described(metric: Metric) -> None:
    """Every metric says what it is, in which unit, with tag keys that are explained."""
    assert metric.help.endswith(".")
    assert metric.unit
    assert set(metric.tags) <= set(catalog.TAG_KEYS)
    assert metric.full_name("streaming").startswith("streaming.")


def test_no_metric_carries_an_id() -> None:
    """Ids belong on spans and log lines: no metric has a tag for one."""
    assert not {"id", "task_id", "user", "path", "url"} & {
        key for metric in catalog.METRICS for key in metric.tags
    }


@pytest.mark.parametrize(
    ("name", "kind", "tags"),
    [
        ("Reports.rows", "count", ()),
        ("reports rows", "count", ()),
        ("", "count", ()),
        ("reports.rows\nevil:1|c", "count", ()),
        ("x" * 201, "count", ()),
        ("reports.rows", "meter", ()),
        ("reports.rows", "count", ("Kind",)),
        ("reports.rows", "count", ("a,b",)),
        ("reports.rows", "count", ("host",)),
        ("reports.rows", "count", ("worker",)),
    ],
)
def test_a_metric_that_datadog_would_rewrite_is_refused(name: str, kind: str, tags: tuple[str, ...]) -> None:
    """A name, kind or tag key that would not arrive as written raises MetricError at declaration."""
    with pytest.raises(MetricError):
        Metric(name, kind, tags=tags)  # type: ignore[arg-type]


def test_an_applications_metric_keeps_its_own_name() -> None:
    """The prefix is for the catalogue's metrics, not for those an application declares."""
    assert Metric("reports.rows", "count").full_name("streaming") == "reports.rows"
