"""/metrics: names, values and labels, read back by prometheus-client's own parsers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest as encode_text
from prometheus_client.openmetrics.exposition import generate_latest as encode_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from streaming_dd import ConfigError, Metric, catalog, recorder, timers
from streaming_dd.endpoints import Endpoints
from streaming_dd.endpoints.prometheus import OPENMETRICS, TEXT, Exposition, family_name
from streaming_dd.output.metrics import TIMINGS_LIMIT

Get = Callable[..., httpx.Response]
Configure = Callable[..., recorder.Recorder]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str, parse: Any = parse_text) -> Samples:
    """Every sample by its name and labels; no two are the same."""
    found: Samples = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def scrape(seen: recorder.Recorder, *, openmetrics: bool = False) -> Samples:
    text = seen.part(Exposition).render(openmetrics=openmetrics).decode()
    return samples(text, parse_openmetrics if openmetrics else parse_text)


def named(found: Samples, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {labels: value for (sample, labels), value in found.items() if sample == name}


KIND = (("app", "reports"), ("model", "Export"))


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_names_people_know(openmetrics: bool, configure: Configure) -> None:
    """Started, completed, failed by error, duration, active tasks and active clients have their documented names."""
    seen = configure()
    seen.part(Exposition)
    tasks = seen.tasks
    for _ in range(3):
        tasks.submit("reports", "Export")
    first, second, _ = tasks.live()
    for run in (first, second):
        run.started = run.submitted - 1.1
    first.finish("completed")
    second.finish("failed", ValueError())
    seen.traffic.client_kind(("reports", "Export"))
    found = scrape(seen, openmetrics=openmetrics)
    assert named(found, "streaming_tasks_started_total") == {KIND: 3}
    assert named(found, "streaming_tasks_completed_total") == {KIND: 1}
    failed = named(found, "streaming_tasks_failed_total")
    assert failed[(KIND[0], ("error_type", "ValueError"), KIND[1])] == 1
    assert named(found, "streaming_active_tasks") == {KIND: 1}
    assert named(found, "streaming_active_clients") == {KIND: 0}
    buckets = named(found, "streaming_task_duration_seconds_bucket")
    completed = {
        dict(labels)["le"]: value for labels, value in buckets.items() if ("outcome", "completed") in labels
    }
    assert (completed["1.0"], completed["2.5"], completed["+Inf"]) == (0, 1, 1)
    key = (*KIND, ("outcome", "completed"))
    assert named(found, "streaming_task_duration_seconds_sum")[key] == pytest.approx(1.75, abs=0.7)
    assert named(found, "streaming_task_duration_seconds_count")[key] == 1


def test_every_metric_of_the_catalogue_has_a_family(configure: Configure) -> None:
    """Each metric is there with its help, by the rule, before anything has happened; no two have one name."""
    seen = configure()
    text = seen.part(Exposition).render().decode()
    families = {family.name: family for family in parse_text(text)}
    for metric in catalog.METRICS:
        family = families[family_name(metric, "streaming")]
        assert family.documentation == metric.help
        kinds = {"count": "counter", "gauge": "gauge"}
        assert family.type == kinds.get(metric.kind, "histogram")
    assert len({family_name(metric, "streaming") for metric in catalog.METRICS}) == len(catalog.METRICS)


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        (Metric("reports.rows", "count"), "reports_rows"),
        (Metric("reports.rows.total", "count"), "reports_rows"),
        (Metric("reports.render", "timer"), "reports_render_seconds"),
        (Metric("reports.render_seconds", "timer"), "reports_render_seconds"),
        (Metric("reports.wait", "distribution", unit="second"), "reports_wait_seconds"),
        (Metric("reports.size", "histogram", unit="byte"), "reports_size_bytes"),
        (Metric("reports.pages", "histogram", unit="page"), "reports_pages"),
        (Metric("reports.open", "gauge", unit="byte"), "reports_open"),
        (catalog.TASKS_ACTIVE, "my_app_active_tasks"),
        (catalog.TASK_DURATION, "my_app_task_duration_seconds"),
    ],
)
def test_the_rule_of_names(metric: Metric, name: str) -> None:
    """Dots become underscores, timings carry their unit, counts end in `_total` once."""
    assert family_name(metric, "my.app") == name


def test_the_prefix_of_the_metrics_is_theirs_here_too(configure: Configure) -> None:
    """A configured prefix is that of the families."""
    seen = configure(metric_prefix="shop.web")
    seen.tasks.submit("reports", "Export")
    assert named(scrape(seen), "shop_web_tasks_started_total") == {KIND: 1}


VALUES = st.lists(st.floats(min_value=0, max_value=1e7), min_size=1, max_size=60)


@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batches=st.lists(VALUES, max_size=4))
def test_buckets_hold_what_was_recorded(batches: list[list[float]], configure: Configure) -> None:
    """Each bucket counts the values up to its bound, over all flushes; count and sum are those of the values."""
    seen = configure()
    seen.part(Exposition)
    render = Metric("reports.render", "timer", help="Time to render.")
    for batch in batches:
        for value in batch:
            timers.record(render, value)
        seen.metrics.flush()
    found = scrape(seen)
    values = [value / 1000 for batch in batches for value in batch]
    buckets = named(found, "reports_render_seconds_bucket")
    assert bool(buckets) == bool(values)
    for labels, count in buckets.items():
        assert count == sum(value <= float(dict(labels)["le"]) for value in values)
    if values:
        assert named(found, "reports_render_seconds_count") == {(): len(values)}
        assert math.isclose(
            named(found, "reports_render_seconds_sum")[()], sum(values), rel_tol=1e-9, abs_tol=1e-9
        )


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(values=st.lists(st.text(max_size=30), min_size=1, max_size=8), help_text=st.text(max_size=60))
def test_hostile_tag_values_and_help_are_escaped(
    values: list[str], help_text: str, configure: Configure
) -> None:
    """Whatever a tag's value or a help text contains, both formats can be read, and no line is forged."""
    seen = configure()
    rows = Metric("reports.rows", "count", tags=("kind",), help=help_text)
    for value in values:
        timers.increment(rows, kind=value)
    for openmetrics in (False, True):
        found = named(scrape(seen, openmetrics=openmetrics), "reports_rows_total")
        assert sum(found.values()) == len(values)


@pytest.mark.parametrize("openmetrics", [False, True])
def test_it_is_what_prometheus_client_writes(openmetrics: bool, configure: Configure) -> None:
    """Lines are kept, numbers are put into them: read and written again by prometheus-client it is the same text."""
    seen = configure()
    exposition = seen.part(Exposition)
    rows = Metric("reports.rows", "count", tags=("kind",), help="Rows.")
    size = Metric("reports.size", "histogram", "byte", ("kind",), help="Size.")
    for number in range(2):
        for kind in ('a"b', "c\\d", "e f } g", "n\nl", "\u2028", ""):
            timers.increment(rows, 1234567.5, kind=kind)
            timers.record(size, 2000.0 * number, kind=kind)
        timers.record(Metric("reports.render", "timer"), 700.25)
        timers.gauge(Metric("reports.level", "gauge"), -0.1)
        text = exposition.render(openmetrics=openmetrics).decode()

        class Again:
            def collect(self, text: str = text) -> list[Any]:
                return list((parse_openmetrics if openmetrics else parse_text)(text))

        encode: Any = encode_openmetrics if openmetrics else encode_text
        again = encode(Again()).decode()
        assert sorted(text.split("\n")) == sorted(again.split("\n"))


def test_own_bounds(configure: Configure) -> None:
    """Bounds are a setting."""
    seen = configure(prometheus_buckets="0.5,1,2")
    seen.part(Exposition)
    timers.record(Metric("reports.render", "timer"), 700)
    found = named(scrape(seen), "reports_render_seconds_bucket")
    assert {dict(labels)["le"]: value for labels, value in found.items()} == {
        "0.5": 0,
        "1.0": 1,
        "2.0": 1,
        "+Inf": 1,
    }


@pytest.mark.parametrize(
    "bounds", ["1,1", "2,1", "0,1", "-1", "inf", "nan", "a", [], [1, "b"], range(1, 200), 5]
)
def test_bounds_that_are_none(bounds: Any) -> None:
    """Bounds that do not rise, or are no seconds, are an error at start-up."""
    with pytest.raises(ConfigError, match="rising"):
        recorder.configure(prometheus_buckets=bounds)


def test_metrics_of_one_name_are_not_mixed(configure: Configure, caplog: Any) -> None:
    """Two metrics that would be one family: the catalogue's, or the first, stays; the other is left out and said."""
    seen = configure()
    seen.tasks.submit("reports", "Export")
    timers.increment(Metric("streaming.tasks.started", "count"), 100)
    timers.increment(Metric("reports.rows", "count"), 1)
    timers.increment(Metric("reports_rows", "count"), 5)
    timers.gauge(Metric("reports.render_seconds_count", "gauge"), 7)
    timers.record(Metric("reports.render", "timer"), 1)
    found = scrape(seen, openmetrics=True)
    assert named(found, "streaming_tasks_started_total") == {KIND: 1}
    assert len(named(found, "reports_rows_total")) == 1
    assert len(named(found, "reports_render_seconds_count")) == 1
    assert "has the same name in Prometheus" in caplog.text


def test_labels_that_prometheus_keeps_for_itself(configure: Configure) -> None:
    """A tag `le` does not break histograms; tags that become one label leave their metric out."""
    seen = configure()
    seen.part(Exposition)
    timers.record(Metric("reports.render", "timer", tags=("le", "a.b")), 1, **{"le": "x", "a.b": "y"})
    timers.increment(Metric("reports.rows", "count", tags=("a.b", "a-b")), **{"a.b": "x", "a-b": "y"})
    found = scrape(seen)
    assert named(found, "reports_render_seconds_count") == {(("a_b", "y"), ("tag_le", "x")): 1}
    assert named(found, "reports_rows_total") == {}


def test_the_worker_is_a_label_if_asked(configure: Configure) -> None:
    """With several workers on a port, a setting labels every series with the one that answered."""
    seen = configure(prometheus_worker=True)
    recorder.get()  # takes the worker's slot
    seen.tasks.submit("reports", "Export")
    found = scrape(seen)
    assert named(found, "streaming_tasks_started_total") == {(*KIND, ("worker", "3")): 1}
    assert all(dict(labels)["worker"] == "3" for _, labels in found)
    seen = configure()
    seen.tasks.submit("reports", "Export")
    assert not any("worker" in dict(labels) for _, labels in scrape(seen))


def test_several_workers_on_a_port_are_mentioned(configure: Configure, caplog: Any) -> None:
    """A worker that is not the first of its host says once what to do if they share a port."""
    caplog.set_level("INFO", "streaming_dd")
    seen = configure(worker=None, service="reports")
    for slot in ("0", "1", "1"):
        seen.metrics.set_worker(slot)
        seen.part(Exposition).render()
    said = [record.getMessage() for record in caplog.records if record.name == "streaming_dd"]
    assert [line.split(":")[0] for line in said] == ["worker 1 was scraped"]


# --- with DogStatsD switched off ------------------------------------------------------------------------------


def test_scraping_works_with_dogstatsd_off(configure: Configure, sender: Any) -> None:
    """Those who only scrape switch DogStatsD off: nothing is sent, and /metrics has counts, gauges and timings."""
    seen = configure(metrics_enabled=False)
    seen.part(Exposition)
    run = seen.tasks.submit("reports", "Export")
    timers.record(Metric("reports.render", "timer"), 5)
    found = scrape(seen)
    assert named(found, "streaming_active_tasks") == {KIND: 1}
    assert named(found, "reports_render_seconds_count") == {(): 1}
    assert sender.payloads == []
    run.finish("completed")


def test_timings_do_not_pile_up_with_dogstatsd_off(configure: Configure) -> None:
    """With metrics off the flush still empties the lists; with everything off nothing is kept at all."""
    timing = configure(metrics_enabled=False).metrics.timing(Metric("reports.render", "timer"))
    for _ in range(1000):
        timing.record(1)
    recorder.get().metrics.flush()
    assert (len(timing.values), timing.count) == (0, 1000)
    timing = configure(enabled=False).metrics.timing(Metric("reports.render", "timer"))
    for _ in range(TIMINGS_LIMIT):
        timing.record(1)
    assert len(timing.values) == 0


# --- over HTTP ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, TEXT),
        ("*/*", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;version=nonsense", OPENMETRICS),
        ("x" * 50_000, TEXT),
    ],
)
def test_the_format_is_the_one_that_is_accepted(
    accept: str | None, content_type: str, get: Get, configure: Configure
) -> None:
    """OpenMetrics for those who accept it, Prometheus' own format for all others."""
    configure()
    response = get(Endpoints(), "/metrics", headers={"accept": accept} if accept is not None else {})
    assert response.headers["content-type"] == content_type
    parse = parse_openmetrics if content_type == OPENMETRICS else parse_text
    assert samples(response.text, parse)


def test_what_has_just_happened_is_in_the_answer(get: Get, configure: Configure) -> None:
    """A scrape does not wait for the next flush: what was recorded before it is in it."""
    seen = configure(flush_interval=10)
    app = Endpoints()
    get(app, "/metrics")
    run = seen.tasks.submit("reports", "Export")
    run.started = run.submitted
    run.finish("completed")
    found = samples(get(app, "/metrics").text)
    counts = named(found, "streaming_task_duration_seconds_count")
    assert counts[(*KIND, ("outcome", "completed"))] == 1


def test_without_prometheus_client(get: Get, configure: Configure, monkeypatch: Any, caplog: Any) -> None:
    """Without the extra, /metrics is the application's; whoever has switched it on is told what to install."""
    monkeypatch.setattr("streaming_dd.endpoints.asgi.importlib.util.find_spec", lambda name: None)
    configure()
    assert get(Endpoints(), "/metrics").status_code == 404
    assert "pip install" not in caplog.text
    configure(prometheus_enabled=True)
    assert get(Endpoints(), "/metrics").status_code == 404
    assert "pip install streaming-dd[prometheus]" in caplog.text
