"""Charts and how a trace is drawn: what they say, and where their points lead."""

from __future__ import annotations

import re

import pytest
from conftest import TRACE, Visit
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_a_chart_has_a_table_and_a_description(visit: Visit) -> None:
    """Each chart says its values to a screen reader and turns into a table."""
    page = visit.open("dashboards")
    chart = page.get_by_role("img", name=re.compile(r"Requests by status.*2xx: last"))
    expect(chart).to_be_visible()
    widget = page.locator(".widget").filter(has_text="Requests by status")
    widget.get_by_role("button", name="Show as a table").click()
    expect(widget.locator("table")).to_contain_text("2xx")


@pytest.mark.parametrize("visit", [{"viewport": {"width": 400, "height": 800}}], indirect=True)
def test_a_charts_table_fits_on_a_phone(visit: Visit) -> None:
    """Nothing of it lies beyond the edge; each value has the name of its curve before it."""
    page = visit.open("dashboards")
    widget = page.locator(".widget").filter(has_text="Requests by status")
    widget.get_by_role("button", name="Show as a table").click()
    expect(widget.locator("td[data-name]").first).to_be_visible()
    assert widget.locator("table").evaluate("(table) => table.scrollWidth <= table.parentElement.clientWidth")


def test_dragging_over_a_chart_zooms_the_page(visit: Visit) -> None:
    """A drag over a chart sets the page's time range."""
    page = visit.open("overview")
    over = page.locator(".u-over").first
    over.wait_for()
    visit.calm()
    over.hover(position={"x": 60, "y": 20})  # in view, and nothing moves it
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 20, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"start=\d+&end=\d+"))


def test_a_click_on_a_chart_leads_to_what_happened_then(visit: Visit) -> None:
    """A click on a chart offers the traces, logs and tasks of that moment."""
    page = visit.open("overview")
    over = page.locator(".u-over").first
    over.wait_for()
    visit.calm()
    over.click(position={"x": 100, "y": 40})
    page.get_by_role("link", name="logs at this time").click()
    expect(page).to_have_url(re.compile(r"/logs\?.*start=\d+&end=\d+"))


def test_a_point_of_a_metric_leads_to_the_traces_with_its_tags(visit: Visit) -> None:
    """A point of a curve that is grouped by a tag offers the spans that carry it, by the name that spans have for it."""
    page = visit.open("metrics/streaming.task.cpu_time.avg")
    page.get_by_role("button", name="service", exact=True).click()
    expect(page.get_by_role("img", name=re.compile("by {service}"))).to_be_visible()
    over = page.locator(".u-over").first
    over.wait_for()
    visit.calm()
    box = over.bounding_box()
    assert box is not None
    over.click(position={"x": box["width"] - 4, "y": box["height"] / 2})
    page.get_by_role("link", name="traces with web").click()
    expect(page).to_have_url(re.compile(r"/traces\?.*query=service%3Aweb"))
    expect(page.get_by_role("searchbox")).to_have_value("service:web")


def test_tags_of_metrics_are_named_as_spans_name_them(visit: Visit) -> None:
    """Each tag of a metric has the name that spans have for it; one that spans lack is said."""
    page = visit.open("overview")
    chart = page.evaluate(
        "() => performance.getEntriesByType('resource').map((e) => e.name).find((n) => n.endsWith('span-tags.js'))"
    )
    group = {"status_class": "5xx", "route": "/x", "model": "a b", "worker": "1"}
    found = page.evaluate("async ([from, group]) => (await import(from)).spanSearch(group)", [chart, group])
    assert found == {
        "search": '@http.status_code:[500 TO 599] @http.route:/x @task.model:"a b"',
        "unknown": ["worker"],
    }


def test_a_trace_is_drawn_as_a_flame_graph(visit: Visit) -> None:
    """The flame graph, an address of its own, has each span below its parent, and one that is clicked in the details."""
    page = visit.open(f"traces/{TRACE:032x}")
    page.get_by_role("button", name="flame graph").click()
    expect(page).to_have_url(re.compile("view=flame"))
    spans = page.locator(".flame button")
    expect(spans).to_have_count(2)
    parent, child = spans.evaluate_all(
        "(found) => found.map((each) => each.getBoundingClientRect().toJSON())"
    )
    assert child["y"] > parent["y"]
    assert parent["width"] > child["width"]
    spans.nth(1).click()
    expect(page.locator(".detail-pane h2")).to_have_text("task.submit")
    expect(page).to_have_url(re.compile("view=flame"))


def test_spans_at_the_same_time_lie_in_rows_of_their_own(visit: Visit) -> None:
    """Children that overlap do not cover each other in the flame graph; those one after the other share a row."""
    page = visit.open(f"traces/{TRACE:032x}")
    source = page.evaluate(
        "() => performance.getEntriesByType('resource').map((e) => e.name).find((n) => n.endsWith('views/flame.js'))"
    )
    spans = [("a", "0", 0, 10), ("b", "a", 0, 5), ("c", "a", 4, 5), ("d", "a", 6, 2)]
    rows = [
        {"span": {"span_id": id, "parent_id": parent, "start_ns": start, "duration_ns": took}}
        for id, parent, start, took in spans
    ]
    found = page.evaluate(
        "async ([from, rows]) => Object.fromEntries((await import(from)).lanes(rows).row)", [source, rows]
    )
    assert found == {"a": 0, "b": 1, "c": 2, "d": 1}


def test_a_legend_leaves_the_bucket_out_that_still_fills(visit: Visit) -> None:
    """The last value that is said of counts is that of a whole bucket, if there is one; of other charts it is the newest."""
    page = visit.open("overview")
    source = page.evaluate(
        "() => performance.getEntriesByType('resource').map((e) => e.name).find((n) => n.endsWith('/chart.js'))"
    )
    script = (
        "async ([from, kind, now]) => { const chart = await import(from);"
        " const curves = [{ values: [1, 8, 3] }, { values: [null, null, 2] }];"
        " return chart.settled([0, 10, 20], curves, kind, now).map((curve) => chart.last(curve.values)); }"
    )
    assert page.evaluate(script, [source, "bars", 29]) == [8, 2]
    assert page.evaluate(script, [source, "bars", 30]) == [3, 2]
    assert page.evaluate(script, [source, "line", 29]) == [3, 2]
