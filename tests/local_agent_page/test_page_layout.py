"""How the page's views fit: on a phone, in a row, in contrast."""

from __future__ import annotations

import pytest
from conftest import Visit
from playwright.sync_api import Browser, expect
from test_page_views import VIEWS

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("visit", [{"viewport": {"width": 400, "height": 800}}], indirect=True)
def test_nothing_is_wider_than_a_phone(browser: Browser, agent: LocalAgent, visit: Visit) -> None:
    """At 400 px no view scrolls sideways."""
    for path in VIEWS:
        page = visit.open(path)
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1], (path, widths)


def test_a_widgets_json_leaves_its_row_alone(visit: Visit) -> None:
    """The query and JSON of a widget lie over its neighbours: no widget becomes higher."""
    page = visit.open("dashboards")
    expect(page.locator("main")).to_contain_text("Is it healthy?")
    heights = "[...document.querySelectorAll('.widget')].map((each) => each.offsetHeight)"
    page.wait_for_function(
        f"""() => {{
          const now = String({heights}), same = now === window.heightsBefore;
          window.heightsBefore = now;
          const waiting = [...document.querySelectorAll(".widget .waiting")];
          return same && !waiting.some((each) => each.getBoundingClientRect().top < innerHeight + 250);
        }}""",
        polling=1000,
    )  # the charts in view, and those that are asked for because they nearly are, are drawn
    before = page.evaluate(heights)
    page.get_by_role("button", name="Query and JSON").first.click()
    expect(page.locator(".widget .inside")).to_be_visible()
    assert page.evaluate(heights) == before


@pytest.mark.parametrize("visit", [{"viewport": {"width": 400, "height": 800}}], indirect=True)
def test_a_phone_sees_every_column(visit: Visit) -> None:
    """At 400 px no cell of a list lies beyond the edge or is hidden; what the headings said stands before the values."""
    paths = (
        "services",
        "services/web",
        "tasks",
        "errors",
        "traces",
        "monitors",
        "monitors/task-error-rate",
        "metrics",
        "health",
    )
    for path in paths:
        page = visit.open(path)
        tables = page.locator("table.phone")
        tables.first.wait_for(state="attached")
        visit.calm()
        page.evaluate("document.querySelectorAll('main details').forEach((each) => { each.open = true; })")
        beyond = """(table) => [...table.querySelectorAll("td")].filter(
          (cell) => cell.getBoundingClientRect().right > innerWidth || !cell.offsetParent).length"""
        for table in tables.all():
            assert table.evaluate(beyond) == 0, path
            assert table.locator("td[data-name]").count() > 0, path


def test_contrast_is_enough(visit: Visit) -> None:
    """Text, dimmed text and the colours of states reach 4.5 to 1 on what they stand on, in both themes."""
    page = visit.open("overview")
    script = """(theme) => {
      document.documentElement.dataset.theme = theme;
      const style = getComputedStyle(document.documentElement);
      const hex = (name) => style.getPropertyValue("--" + name).trim();
      const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
      const light = (value) => {
        const [r, g, b] = [1, 3, 5].map((i) => linear(parseInt(value.slice(i, i + 2), 16) / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ratio = (a, b) => {
        const [x, y] = [light(hex(a)), light(hex(b))].sort((p, q) => q - p);
        return (x + 0.05) / (y + 0.05);
      };
      const pairs = [["text", "accent-soft"], ["dim", "calm-soft"]];
      for (const ink of ["text", "dim", "link", "good", "warn", "bad", "info"])
        for (const on of ["card", "inset", "bg"]) pairs.push([ink, on]);
      for (const state of ["good", "warn", "bad", "info"]) pairs.push([state, state + "-soft"]);
      return pairs.map(([a, b]) => [a, b, ratio(a, b)]).filter(([, , r]) => r < 4.5);
    }"""
    assert page.evaluate(script, "light") == []
    assert page.evaluate(script, "dark") == []
