"""What axe-core finds on every view: roles, names, contrast, focus, in both themes and both widths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Visit, send_calls
from playwright.sync_api import expect
from test_page_views import VIEWS

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[2] / ".node/node_modules/axe-core/axe.min.js"
RUN = """async () => {
  const root = document.documentElement, all = [];
  for (const theme of ["light", "dark"]) {
    root.dataset.theme = theme;
    const found = await axe.run(document, {resultTypes: ["violations"]});
    for (const {id, impact, nodes} of found.violations)
      if (["serious", "critical"].includes(impact))
        all.push(`${theme} ${id}: ${nodes.length} x ${nodes[0].html.slice(0, 200)} ${nodes[0].any.map((a) => a.message)}`);
  }
  return all;
}"""


@pytest.mark.timeout(390)
@pytest.mark.parametrize(
    "visit",
    [{"viewport": {"width": width, "height": 900}} for width in (400, 1400)],
    indirect=True,
    ids=["400px", "1400px"],
)
def test_axe_finds_nothing_serious(visit: Visit, agent: LocalAgent) -> None:
    """In neither theme has a view a serious or critical finding of axe-core, and a page with one is found out."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: `make system-packages` does it, where there is npm")
    send_calls(agent)  # the map of services is on the page then
    axe = AXE.read_text()
    found: dict[str, Any] = {}
    for path, text in VIEWS.items():
        page = visit.open(path)
        expect(page.locator("main")).to_contain_text(text)
        if path == "dashboards":
            page.get_by_role("button", name="Query and JSON").first.click()
        page.evaluate(axe)
        found[path] = page.evaluate(RUN)
    assert {path: each for path, each in found.items() if each} == {}
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert any("button-name" in each for each in page.evaluate(RUN))
