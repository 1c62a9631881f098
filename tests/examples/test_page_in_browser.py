"""The example's page in a real browser: a person starts tasks and watches them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from example_site import Site
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = [pytest.mark.browser, pytest.mark.process]

CHROMIUM = "/usr/bin/chromium"
WAIT = 60_000
#: Milliseconds for a browser that starts for the first time.
LAUNCH = 180_000
expect.set_options(timeout=WAIT)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no {CHROMIUM} on this machine")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=LAUNCH)
        yield chromium
        chromium.close()


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, site: Site, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page, opened; at the end no script error and no request to another host may have happened."""
    opened = browser.new_page(color_scheme=request.param)
    opened.set_default_timeout(WAIT)
    errors: list[str] = []
    asked: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("request", lambda sent: asked.append(sent.url))
    opened.goto(site.url)
    yield opened
    opened.close()
    assert errors == []
    assert asked
    assert all(url.startswith((site.url, "data:")) for url in asked)


#: Notes every message that a task has, however short: looking now and then could miss them all.
NOTING = """() => {
  window.messages = [];
  new MutationObserver(() => messages.push(...[...document.querySelectorAll(".task .message")].map((at) => at.textContent)))
    .observe(document.getElementById("tasks"), { subtree: true, childList: true, characterData: true });
}"""


@pytest.mark.parametrize("road", ["Starlette", "Django"])
def test_a_task_is_started_and_watched_to_its_end(page: Page, road: str) -> None:
    """A click starts the task, its bar moves, its result is shown, and its buttons go."""
    page.get_by_label(road).check()
    page.evaluate(NOTING)
    with page.expect_request(re.compile("/django/stream/" if road == "Django" else r":\d+/stream/")):
        page.get_by_role("button", name=re.compile("^SalesReport")).click()
    task = page.locator(".task").first
    expect(page.locator("#live")).to_have_text(
        re.compile(r"\d+ tasks? running · \d+ clients? watching"), timeout=WAIT
    )
    expect(task.locator(".state")).to_have_text("completed", timeout=WAIT)
    expect(task.locator(".message")).to_contain_text("north")
    assert any(re.match(r"[1-4] of 4", message) for message in page.evaluate("messages"))
    expect(task.get_by_role("button", name="Cancel")).to_be_hidden()
    assert task.locator("progress").evaluate("bar => bar.value / bar.max") == 1


def test_failures_cancellations_and_leaving_are_shown_as_such(page: Page) -> None:
    """Three tasks, three ends, each in words."""
    page.get_by_role("button", name=re.compile("^ProductImport")).click()
    failing = page.locator(".task", has_text="ProductImport")
    expect(failing.locator(".state")).to_have_text("failed", timeout=WAIT)
    expect(failing.locator(".message")).to_have_text("line 5: 'none' is no price")

    page.get_by_role("button", name=re.compile("^WarehouseSync")).click()
    endless = page.locator(".task", has_text="WarehouseSync")
    expect(endless.locator(".message")).to_contain_text("pieces in stock", timeout=WAIT)
    endless.get_by_role("button", name="Cancel").click()
    expect(endless.locator(".state")).to_have_text("cancelled", timeout=WAIT)

    page.get_by_role("button", name=re.compile("^AnnualReport")).click()
    slow = page.locator(".task", has_text="AnnualReport")
    expect(slow.locator(".message")).to_contain_text("of 12", timeout=WAIT)
    slow.get_by_role("button", name="Leave").click()
    expect(slow.locator(".state")).to_contain_text("left")


def test_the_page_fits_a_phone(page: Page) -> None:
    """At 400 pixels nothing sticks out to the side."""
    page.set_viewport_size({"width": 400, "height": 800})
    page.get_by_role("button", name=re.compile("^StockAudit")).click()
    expect(page.locator(".task").first.locator(".state")).to_have_text("completed", timeout=WAIT)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
