"""The map of services: who calls whom, how often, how well; by eye, by keyboard and as a table."""

from __future__ import annotations

import pytest
from conftest import Visit, send_calls
from playwright.sync_api import expect

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    "visit",
    [{"viewport": {"width": width, "height": 900}} for width in (400, 1400)],
    indirect=True,
    ids=["400px", "1400px"],
)
def test_map_shows_calls_and_links(visit: Visit, agent: LocalAgent) -> None:
    """Each service is a node that leads to its resources, each call and link an edge with rate, errors and p95."""
    send_calls(agent)
    page = visit.open("services")
    chart = page.get_by_role("region", name="Service map")
    expect(chart.locator("a.node")).to_have_count(6)  # with the web service that is always there
    expect(chart.locator(".edge.call")).to_have_count(4)
    expect(chart.locator(".edge.link")).to_have_count(1)
    expect(chart.locator(".edge.failing")).to_have_count(1)
    expect(chart.locator(".label").filter(has_text="✕ 50 %")).to_contain_text("40 ms")
    page.get_by_text("As a table").click()
    row = page.locator("table.edges tr").filter(has_text="shopprices")
    expect(row).to_contain_text("shop")
    expect(row).to_contain_text("40 ms")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    chart.locator("a.node").filter(has_text="stock").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{visit.base}/services/stock?live=0")


def test_services_that_call_each_other_in_a_circle_have_places(visit: Visit) -> None:
    """A circle ends somewhere: each service has a layer, and nothing is drawn outside of the map."""
    page = visit.open("health")
    placed = page.evaluate(
        """async () => {
          const map = await import("/page/views/service-map.js");
          const edges = [["a", "b"], ["b", "c"], ["c", "a"], ["c", "d"]].map(([from, to]) => ({ from, to }));
          const { at, width, height } = map.placed(["a", "b", "c", "d"], edges, false);
          return [...at.values()].map(({ x, y, layer }) => [layer, x > 0 && x < width, y > 0 && y < height]);
        }"""
    )
    assert sorted(layer for layer, *_ in placed) == [0, 1, 2, 2]  # the last lies behind the one that calls it
    assert all(inside for _, *both in placed for inside in both)
