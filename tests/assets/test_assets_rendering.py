"""The assets themselves: sound with every combination of options, committed fresh, complete."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from streaming_dd import catalog
from streaming_dd.assets.coverage import UNUSED, compare
from streaming_dd.assets.documents import Asset, resolved
from streaming_dd.assets.files import stale
from streaming_dd.assets.files.metadata import METADATA_COLUMNS
from streaming_dd.assets.lint import update_schema
from streaming_dd.assets.lint.rules import lint
from streaming_dd.assets.lint.schema import violations
from streaming_dd.assets.options import THRESHOLDS, Options
from streaming_dd.assets.queries import Queries, for_dashboards
from streaming_dd.assets.query_language import parse_monitor
from streaming_dd.assets.rendering import DASHBOARDS, render, rendered_files
from streaming_dd.errors import AssetError

DIRECTORY = Path(__file__).parents[2] / "dd-agent"
VARIANTS = [
    Options(),
    Options(timers="timer"),
    Options(prefix="acme.stream", service="web", env="prod", notify="@slack-ops @pagerduty"),
    Options(
        timers="timer", service="web", request_operation="starlette.request", team="data", site="datadoghq.eu"
    ),
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


@pytest.mark.slow
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
    measured = {operation.name for operation in catalog.SPAN_OPERATIONS if operation.measured}
    assert set(compare(assets, {}, OPERATIONS, set()).asked) >= measured


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


@pytest.mark.slow
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
            message = asset.document["message"].removesuffix("{{/is_exact_match}}")
            assert message.endswith("@slack-ops")


def test_the_issue_list_of_dashboards_and_monitors_is_complete(assets: list[Asset]) -> None:
    """Six dashboards, three SLOs, and a monitor for each thing that goes wrong."""
    names = {
        kind: {asset.name for asset in assets if asset.kind == kind}
        for kind in ("dashboard", "slo", "monitor")
    }
    assert names["dashboard"] == set(DASHBOARDS)
    assert names["dashboard"] == {"overview", "tasks", "streams", "token-streams", "capacity", "apm"}
    assert names["slo"] == {"task-success", "time-to-first-byte", "availability"}
    assert names["monitor"] >= {
        "task-error-rate", "request-error-rate", "time-to-first-byte", "task-duration", "tasks-stalled",
        "tasks-not-completing", "client-disconnects", "loop-lag", "telemetry-dropped", "log-lines-dropped",
        "no-data", "health", "time-to-first-event", "streams-stall", "reconnect-storm",
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
    assert {row["metric_type"] for row in rows} == {"count", "gauge", "distribution"}
    assert all(re.fullmatch(r"[a-z_]*", row["unit_name"]) and row["description"] for row in rows)
    assert {"streaming.task.duration": "distribution"}.items() <= {
        row["metric_name"]: row["metric_type"] for row in rows
    }.items()
    timers = csv.DictReader(io.StringIO(rendered_files(Options(timers="timer"))["metadata.csv"]))
    assert "streaming.task.duration.95percentile" in {row["metric_name"] for row in timers}


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


def test_monitors_in_the_form_of_integrations() -> None:
    """Each monitor has a title, a description without variables and its definition, as Datadog's integrations keep them."""
    texts = rendered_files(Options(team="data"), integration=True)
    assert not any(path.startswith("terraform/") for path in texts)
    for path, text in texts.items():
        if not path.startswith("monitors/"):
            continue
        document = json.loads(text)
        assert set(document) == {
            "version", "created_at", "last_updated_at", "title", "description", "tags", "definition"
        }  # fmt: skip
        assert document["definition"]["name"] == f"[Streaming] {document['title']}"
        assert "team:data" in document["definition"]["tags"]
        assert 20 <= len(document["description"]) <= 300, document["description"]
        assert "{{" not in document["description"], document["description"]


def test_a_message_has_a_part_for_each_state_and_says_the_value_with_unit_and_threshold() -> None:
    """Alert and warning are told apart, with the threshold that was passed; links lead to the site; P4 is said once."""
    monitors = {
        asset.name: asset.document
        for asset in render(Options(site="datadoghq.eu"))
        if asset.kind == "monitor"
    }
    lag = monitors["loop-lag"]["message"]
    assert "{{#is_alert}}**Every request" in lag
    assert "{{value}} ms (alerts above {{threshold}})" in lag
    assert "{{value}} ms (warns above {{warn_threshold}})" in lag
    for name, document in monitors.items():
        message = document["message"]
        for place in ("dashboard/lists?q=Streaming", "apm/traces?query=", "logs?query="):
            assert f"https://app.datadoghq.eu/{place}" in message, name
        for section in ("is_alert", "is_no_data", "is_recovery"):
            assert f"{{{{#{section}}}}}" in message, name
        assert ("warning" in document["options"]["thresholds"]) == ("{{#is_warning}}" in message), name
        assert ("renotify_interval" in document["options"]) == (
            document["priority"] < 4 and document["type"] != "slo alert"
        ), name
        assert document["name"].startswith("[Streaming] ")


def test_team_service_and_environment_are_on_everything_that_is_rendered_for_them() -> None:
    """Monitors and SLOs carry the tags, every query is narrowed, and so are the links of what has no groups."""
    for asset in render(Options(team="data", service="shop", env="prod")):
        if asset.kind not in ("monitor", "slo"):
            continue
        assert {"team:data", "service:shop", "env:prod"} <= set(asset.document["tags"]), asset.name
        if asset.document["type"] != "slo alert":
            assert "env:prod" in str(asset.document), asset.name
        else:
            assert "?query=env:prod%20service:shop%20" in asset.document["message"], asset.name


def test_nobody_is_woken_up_for_a_developers_environment() -> None:
    """A page of P1 leaves environments such as dev out, unless the rendering is for one environment."""
    for env in ("", "prod"):
        monitors = {
            asset.name: asset.document
            for asset in render(Options(notify="@page", env=env))
            if asset.kind == "monitor"
        }
        conditional = '{{^is_exact_match "env.name" "dev"' in monitors["health"]["message"]
        assert conditional == (not env)
        assert "is_exact_match" not in monitors["loop-lag"]["message"]


def test_an_slo_that_tells_somebody_leaves_developers_environments_out() -> None:
    """Its alert has no groups to tell environments apart by: what nobody is woken up for is not counted."""
    for env, notify, left_out in (("", "@page", True), ("", "", False), ("prod", "@page", False)):
        slos = [asset.document for asset in render(Options(notify=notify, env=env)) if asset.kind == "slo"]
        queries = [query for slo in slos if slo["type"] == "metric" for query in slo["query"].values()]
        assert queries
        assert all(("!env:dev" in query) == left_out for query in queries), queries
    assert lint(render(Options(notify="@page")), Options(notify="@page")) == []
