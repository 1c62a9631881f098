"""The assets themselves: sound with every combination of options, committed fresh, complete."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from streaming_dd import catalog
from streaming_dd.assets import update_schema
from streaming_dd.assets.coverage import UNUSED, compare
from streaming_dd.assets.files import stale
from streaming_dd.assets.lint import lint
from streaming_dd.assets.metadata import METADATA_COLUMNS
from streaming_dd.assets.options import THRESHOLDS, Options
from streaming_dd.assets.queries import Queries, for_dashboards
from streaming_dd.assets.rendering import DASHBOARDS, Asset, render, rendered_files, resolved
from streaming_dd.assets.schema import violations
from streaming_dd.errors import AssetError
from streaming_dd.query_language import parse_monitor

DIRECTORY = Path(__file__).parents[2] / "dd-agent"
VARIANTS = [
    Options(),
    Options(timers="distribution"),
    Options(prefix="acme.stream", service="web", env="prod", notify="@slack-ops @pagerduty"),
    Options(timers="distribution", service="web", request_operation="starlette.request"),
]


def emitted(prefix: str = "streaming") -> dict[str, tuple[str, ...]]:
    return {
        metric.full_name(prefix): (*metric.tags, "env", "service", "version") for metric in catalog.METRICS
    }


OPERATIONS = {operation.name for operation in catalog.SPAN_OPERATIONS}


def test_committed_files_are_what_would_be_rendered() -> None:
    """dd-agent/ holds the default rendering, to the letter."""
    assert list(stale(rendered_files(Options()), DIRECTORY)) == []


@pytest.mark.parametrize(
    "options", VARIANTS, ids=lambda options: ",".join(map(str, options.changes())) or "default"
)
def test_assets_pass_our_lint(options: Options) -> None:
    """No combination of options renders something that the lint complains about."""
    assert lint(render(options), options) == []


@pytest.mark.parametrize(
    "options", VARIANTS, ids=lambda options: ",".join(map(str, options.changes())) or "default"
)
def test_assets_fit_datadogs_typed_models(options: Options, complaints) -> None:
    """Datadog's own models, made strict, accept every document."""
    for asset in render(options):
        assert complaints(asset) == []


def test_schema_is_made_of_the_installed_models() -> None:
    """schema.json is what update_schema.py makes of the models."""
    assert update_schema.SCHEMA_PATH.read_text(encoding="utf-8") == update_schema.text(update_schema.build())


def test_every_metric_of_the_catalogue_is_shown(assets: list[Asset]) -> None:
    """What the application sends is on a dashboard or in a monitor, or listed with a reason."""
    coverage = compare(assets, emitted(), OPERATIONS, {"streaming.health"})
    assert coverage.unused == []
    assert set(UNUSED) <= {metric.name for metric in catalog.METRICS}


def test_every_span_operation_is_shown(assets: list[Asset]) -> None:
    """Trace metrics of all our operations are on a dashboard."""
    assert set(compare(assets, {}, OPERATIONS, set()).asked) >= OPERATIONS


@pytest.mark.parametrize("options", VARIANTS[2:3])
def test_prefix_and_scope_reach_every_query(options: Options) -> None:
    """With a prefix and a scope, no monitor or SLO looks at the default names or at everything."""
    for asset in render(options):
        text = json.dumps(
            {key: value for key, value in asset.document.items() if key not in ("message", "description")}
        )
        assert "streaming." not in text.replace("acme.streaming", "").replace("streaming-dd", "")
        if asset.kind != "dashboard" and "${" not in asset.document.get("query", ""):
            assert "{*}" not in text
            assert 'over(\\"*\\")' not in text


def test_service_and_environment_are_the_dashboards_defaults() -> None:
    """A dashboard rendered for a service opens on it."""
    for asset in render(Options(service="web", env="prod")):
        if asset.kind == "dashboard":
            defaults = {each["name"]: each["defaults"] for each in asset.document["template_variables"]}
            assert (defaults["service"], defaults["env"]) == (["web"], ["prod"])


def test_timers_as_distributions_are_asked_for_true_percentiles() -> None:
    """No Agent-side percentile is left when timers are distributions, and there is a chart of their spread."""
    text = json.dumps([asset.document for asset in render(Options(timers="distribution"))])
    assert "95percentile" not in text.replace("streaming.task.memory.95percentile", "")
    assert "histogram:streaming.task.duration" in text
    assert "percentile(last_10m):p95:streaming.http.time_to_first_byte" in text


def test_every_monitor_says_what_it_means_and_what_to_do(assets: list[Asset]) -> None:
    """A name, a message with first steps, a priority, an area and, if it looks at metrics, a missing-data policy."""
    for asset in assets:
        if asset.kind != "monitor":
            continue
        document = asset.document
        assert len(document["name"]) > 8
        assert "What to do first:\n\n1. " in document["message"]
        assert 1 <= document["priority"] <= 5
        assert any(tag.startswith("area:") for tag in document["tags"])
        assert (document["type"] == "query alert") == ("on_missing_data" in document["options"])


def test_every_threshold_is_used() -> None:
    """Each number that can be changed changes something."""
    plain = json.dumps(rendered_files(Options()))
    for name, (value, _) in THRESHOLDS.items():
        nudge = value * 0.9 if not name.endswith("-dropped.warning") else 2
        whole = name.startswith("health.")
        assert json.dumps(rendered_files(Options(thresholds={name: 4 if whole else nudge}))) != plain, name


def test_notify_reaches_the_messages_that_notify(assets: list[Asset]) -> None:
    """The handle is at the end of each message."""
    for asset in render(Options(notify="@slack-ops")):
        if asset.kind == "monitor":
            assert asset.document["message"].endswith("@slack-ops") == (
                "role:part" not in asset.document["tags"]
            )


def test_the_issue_list_of_dashboards_and_monitors_is_complete(assets: list[Asset]) -> None:
    """Five dashboards, three SLOs, and a monitor for each thing that goes wrong."""
    names = {
        kind: {asset.name for asset in assets if asset.kind == kind}
        for kind in ("dashboard", "slo", "monitor")
    }
    assert names["dashboard"] == set(DASHBOARDS) == {"overview", "tasks", "streams", "capacity", "apm"}
    assert names["slo"] == {"task-success", "time-to-first-byte", "availability"}
    assert names["monitor"] >= {
        "task-error-rate", "request-error-rate", "time-to-first-byte", "task-duration", "tasks-stalled",
        "tasks-not-completing", "client-disconnects", "loop-lag", "telemetry-dropped", "log-lines-dropped",
        "no-data", "health",
    }  # fmt: skip


def test_references_are_filled_in_with_numbers_where_datadog_wants_them(assets: list[Asset]) -> None:
    """A monitor's id is an integer in monitor_ids and text elsewhere."""
    ids = {("monitor", "health"): 12345, ("slo", "task-success"): "abc"}
    availability = next(asset for asset in assets if asset.name == "availability")
    assert resolved(availability.document, ids)["monitor_ids"] == [12345]
    burn = next(asset for asset in assets if asset.name == "slo-task-success-burn-rate")
    filled = resolved(burn.document, ids)
    assert violations("monitor", filled) == []
    assert parse_monitor(filled["query"], "slo alert").slo_id == "abc"  # type: ignore[union-attr]
    with pytest.raises(KeyError):
        resolved(burn.document, {})


def test_metadata_is_in_the_format_of_integrations() -> None:
    """metadata.csv has the columns, one row a metric, known types, and units without spaces."""
    rows = list(csv.DictReader(io.StringIO(rendered_files(Options())["metadata.csv"])))
    assert tuple(rows[0]) == METADATA_COLUMNS
    names = [row["metric_name"] for row in rows]
    assert names == sorted(set(names))
    assert {row["metric_type"] for row in rows} == {"count", "gauge"}
    assert all(re.fullmatch(r"[a-z_]*", row["unit_name"]) and row["description"] for row in rows)
    assert "streaming.task.duration.95percentile" in names
    distributions = csv.DictReader(
        io.StringIO(rendered_files(Options(timers="distribution"))["metadata.csv"])
    )
    assert {"streaming.task.duration": "distribution"}.items() <= {
        row["metric_name"]: row["metric_type"] for row in distributions
    }.items()


def test_terraform_has_a_resource_for_each_asset(assets: list[Asset]) -> None:
    """Every asset is one resource, every file exists, every id that is put in is that of a resource."""
    text = rendered_files(Options())["terraform/main.tf"]
    resources = {
        f"{type}.{name}" for type, name in re.findall(r'^resource "(\w+)" "(\w+)" \{$', text, re.MULTILINE)
    }
    assert len(resources) == len(assets)
    assert set(re.findall(r"(datadog_\w+\.\w+)\.id", text)) <= resources
    for path in re.findall(r"\$\{path\.module\}/\.\./([\w/.-]+)", text):
        assert (DIRECTORY / path).is_file()
    for opening, closing in ("{}", "()", "[]"):
        assert text.count(opening) == text.count(closing)
    for asset in assets:
        if asset.kind != "slo":
            continue
        assert f'name        = "{asset.title}"' in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prefix": ""}, "prefix"),
        ({"prefix": "Bad Prefix"}, "prefix 'Bad Prefix'"),
        ({"service": "a}b"}, "service"),
        ({"timers": "histogram"}, "write 'timer' or 'distribution'"),
        ({"notify": "slack"}, "begins with '@'"),
        ({"thresholds": {"loop-lag.critcal": 5}}, "did you mean loop-lag.critical?"),
        ({"thresholds": {"loop-lag.critical": float("nan")}}, "not a number"),
    ],
)
def test_bad_options_are_refused(given: dict[str, object], message: str) -> None:
    """An option that cannot work is refused with what to write."""
    with pytest.raises(AssetError, match=re.escape(message)):
        Options(**given)  # type: ignore[arg-type]


def test_queries_refuse_what_the_catalogue_does_not_emit() -> None:
    """A query that could never have data fails while it is built."""
    queries = for_dashboards(Options())
    with pytest.raises(AssetError, match="not emitted with the tag route"):
        queries.count(catalog.TASKS_FAILED, ("route",))
    with pytest.raises(AssetError, match="is a gauge"):
        queries.count(catalog.TASKS_ACTIVE)
    with pytest.raises(AssetError, match="not emitted with the tag task"):
        Queries(Options()).hits(catalog.TASK_RUN, ("task.model",))
    child = catalog.SpanOperation("task.step", "", "", measured=False)
    with pytest.raises(AssetError, match="not measured"):
        queries.hits(child)
