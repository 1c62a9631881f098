"""Every view of the page in a real Chromium, with live and hostile data."""

from __future__ import annotations

import re

import pytest
from conftest import BIG, MARKUP, TASK_TRACE, TRACE, Visit, get, send_metrics
from playwright.sync_api import Browser, expect

from streaming_dd.local_agent import LocalAgent

pytestmark = pytest.mark.browser

VIEWS = {
    "overview": "Requests by status",
    "dashboards": "Is it healthy?",
    "dashboards/tasks": "Rates and outcomes",
    "dashboards/streams": "",
    "dashboards/capacity": "Servers needed",
    "dashboards/apm": "Task runs",
    "services": "asgi.request",
    "services/web": "GET /",
    "tasks": "running-1",
    "traces": "Duration by start",
    f"traces/{TRACE:032x}": "task.submit",
    f"traces/{TASK_TRACE:032x}": "boom.Error",
    "logs": "a quiet line",
    "monitors": "Tasks fail too often",
    "monitors/task-error-rate": "What it would have said",
    "capacity": "How many servers do we need?",
    "metrics": "streaming.tasks.started",
    "metrics/streaming.http.requests": "status_class",
    "health": "What is kept, and its bounds",
}


@pytest.mark.parametrize(
    "visit", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True, ids=["light", "dark"]
)
def test_each_view_shows_live_data_without_a_complaint(visit: Visit) -> None:
    """Each view, in light and in dark, shows what was sent; no console error, no failed view, no foreign request."""
    for path, text in VIEWS.items():
        page = visit.open(path)
        main = page.locator("main")
        expect(main).to_contain_text(text, timeout=20_000)
        expect(main).not_to_contain_text("This view failed")
        expect(main).not_to_contain_text("This request cannot be read")
        assert visit.problems == [], path


def test_markup_in_data_stays_text(visit: Visit) -> None:
    """Markup in tags, log lines, task names, errors and events is shown as it is and makes no element."""
    for path in (*VIEWS, "logs?query=status:error", "metrics/evil.metric"):
        page = visit.open(path)
        assert (
            page.locator("main img, main script, main marquee, main i[onload], main svg[onload]").count() == 0
        ), path
    page = visit.open("logs?query=status:error")
    line = page.locator(".line").filter(has_text=MARKUP)
    line.click()
    expect(page.locator(".detail pre.message")).to_have_text(MARKUP)
    page = visit.open(f"traces/{TASK_TRACE:032x}")
    expect(page.locator("main h2").first).to_contain_text(MARKUP)


def test_ids_beyond_a_doubles_precision_are_whole(visit: Visit) -> None:
    """A span id and an attribute above 2**53 are shown digit by digit."""
    page = visit.open(f"traces/{TASK_TRACE:032x}")
    expect(page.locator(".detail-pane")).to_contain_text(str(BIG))
    page = visit.open("logs?query=status:error")
    page.locator(".line").filter(has_text=MARKUP).click()
    expect(page.locator(".detail")).to_contain_text(str(BIG))


def test_a_line_of_megabytes_does_not_reach_the_list_whole(visit: Visit) -> None:
    """A 5 MB line is listed by its beginning and opened on demand."""
    page = visit.open("logs")
    line = page.locator(".line").filter(has_text="x" * 200)
    expect(line).to_have_count(1)
    assert len(line.inner_text()) < 1_000
    line.click()
    expect(page.get_by_role("button", name=re.compile("Show all"))).to_be_visible()


def test_request_and_task_lead_to_each_other(visit: Visit) -> None:
    """From the request's trace one comes to the task it submitted, and back."""
    page = visit.open(f"traces/{TRACE:032x}")
    page.locator(".linked a").first.click()
    expect(page).to_have_url(re.compile(f"/traces/0*{TASK_TRACE:x}"))
    expect(page.locator(".linked")).to_contain_text("was submitted by")
    page.locator(".linked a").first.click()
    expect(page).to_have_url(re.compile(f"/traces/0*{TRACE:x}"))
    expect(page.locator(".waterfall")).to_contain_text("inside of the trace")


@pytest.mark.parametrize("visit", [{"viewport": {"width": 400, "height": 800}}], indirect=True)
def test_nothing_is_wider_than_a_phone(browser: Browser, agent: LocalAgent, visit: Visit) -> None:
    """At 400 px no view scrolls sideways."""
    for path in VIEWS:
        page = visit.open(path)
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1], (path, widths)


def test_a_wrong_search_points_at_its_character(visit: Visit) -> None:
    """A search that does not parse is explained in its place."""
    page = visit.open("traces?query=service:(")
    expect(page.get_by_role("alert")).to_contain_text("does not parse")
    visit.problems = [each for each in visit.problems if "400" not in each]  # the browser notes every 400


def test_filters_and_range_are_in_the_address(visit: Visit) -> None:
    """A template variable and a range chosen on the page are in its address, and every link keeps them."""
    page = visit.open("overview")
    page.locator(".variable select").nth(1).select_option("web")
    page.get_by_role("button", name="1h", exact=True).click()
    expect(page).to_have_url(re.compile(r"service=web"))
    expect(page).to_have_url(re.compile(r"range=1h"))
    page.get_by_role("link", name="Logs").first.click()
    expect(page).to_have_url(re.compile(r"/logs\?.*service=web.*range=1h"))
    page.go_back()
    expect(page).to_have_url(re.compile(r"/overview"))


def test_filters_reach_the_widgets(visit: Visit) -> None:
    """An env that nobody sends leaves the tiles empty, and a widget offers to clear the filters."""
    page = visit.open("dashboards?env=elsewhere")
    expect(page.locator("main")).to_contain_text("Nothing with these filters", timeout=20_000)


def test_keys_lead_everywhere(visit: Visit) -> None:
    """g and a letter goes to a view, / to the search, t turns the theme, ? lists the keys, space pauses."""
    page = visit.open("overview")
    for key, name in (
        ("d", "dashboards"),
        ("s", "services"),
        ("t", "traces"),
        ("l", "logs"),
        ("m", "monitors"),
        ("c", "capacity"),
        ("o", "overview"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page).to_have_url(re.compile(f"/{name}"))
    page.keyboard.press("g")
    page.keyboard.press("l")
    expect(page).to_have_url(re.compile("/logs"))
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("searchbox")).not_to_be_focused()
    root = page.locator("html")
    before = page.evaluate("document.documentElement.dataset.theme")
    page.keyboard.press("t")
    expect(root).not_to_have_attribute("data-theme", before)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    paused = page.locator("button.live")
    expect(paused).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Space")
    expect(paused).to_have_attribute("aria-pressed", "true")


def test_a_chart_has_a_table_and_a_description(visit: Visit) -> None:
    """Each chart says its values to a screen reader and turns into a table."""
    page = visit.open("dashboards")
    chart = page.get_by_role("img", name=re.compile(r"Requests by status.*2xx: last"))
    expect(chart).to_be_visible(timeout=20_000)
    widget = page.locator(".widget").filter(has_text="Requests by status")
    widget.get_by_role("button", name="Show as a table").click()
    expect(widget.locator("table")).to_contain_text("2xx")


def test_dragging_over_a_chart_zooms_the_page(visit: Visit) -> None:
    """A drag over a chart sets the page's time range."""
    page = visit.open("overview")
    over = page.locator(".u-over").first
    over.wait_for(timeout=20_000)
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 20, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"start=\d+&end=\d+"))


def test_a_monitors_threshold_can_be_tried(visit: Visit) -> None:
    """The slider of a monitor says how often another threshold would have fired."""
    page = visit.open("monitors/task-error-rate")
    trial = page.locator(".trial")
    expect(trial).to_contain_text("would fire at", timeout=20_000)
    page.locator(".trial input").fill("0")
    expect(trial).to_contain_text("back to 5")


def test_a_capacity_input_can_be_typed_in(visit: Visit) -> None:
    """A typed input is marked as one's own, kept in the address, and changes the number of servers."""
    page = visit.open("capacity?c.duration=10&c.rate=100&c.cpu=1")
    expect(page.locator(".servers b")).to_have_text(
        "73"
    )  # 100 tasks/s x 1 s / (2 cores x 70 %), and one spare
    field = page.locator(".input").filter(has_text="Cores per server").locator("input")
    field.fill("4")
    field.press("Tab")
    expect(page.locator(".servers b")).to_have_text("37")
    expect(page).to_have_url(re.compile(r"c\.cores=4"))


def test_new_data_appears_by_itself(browser: Browser, visit: Visit, agent: LocalAgent) -> None:
    """A live page shows a task's metric that came after it was opened, without being touched."""
    page = visit.open("metrics?query=late.arrival", live=True)
    expect(page.locator("button.live")).to_have_text(re.compile("live"))
    send_metrics(agent, "late.arrival:1|c|#env:prod")
    expect(page.locator("main")).to_contain_text("late.arrival", timeout=60_000)


def test_the_tail_follows(visit: Visit) -> None:
    """Following shows the newest lines and is an address of its own."""
    page = visit.open("logs?tail=1", live=True)
    expect(page.locator(".rows")).to_contain_text("a quiet line", timeout=20_000)


def test_first_steps_teach_and_tick(browser: Browser, empty_agent: LocalAgent) -> None:
    """Before anything arrived, the overview says what to do with this agent's own ports, and notices the first sample."""
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{empty_agent.page_port}/")
    expect(page.locator(".first")).to_contain_text(f"DD_DOGSTATSD_PORT={empty_agent.dogstatsd_port}")
    expect(page.locator(".first")).to_contain_text("dd.instrument(app)")
    for view in (
        "services",
        "tasks",
        "traces",
        "logs",
        "monitors",
        "capacity",
        "metrics",
        "health",
        "dashboards",
    ):
        page.goto(f"http://127.0.0.1:{empty_agent.page_port}/{view}?live=0")
        expect(page.locator("main")).not_to_contain_text("This view failed")
        page.wait_for_load_state("networkidle")
        assert page.locator("main .empty").count() > 0, view
    page.goto(f"http://127.0.0.1:{empty_agent.page_port}/")
    send_metrics(empty_agent, "streaming.http.requests:1|c|#env:prod,status_class:2xx")
    expect(page.locator("main")).to_contain_text("Requests by status", timeout=60_000)
    page.close()


def test_a_lost_agent_is_said_and_the_last_data_stays(browser: Browser) -> None:
    """When the agent goes, the page says so and keeps what it had."""
    page = browser.new_page()
    with LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=0).running() as agent:
        page.goto(f"http://127.0.0.1:{agent.page_port}/health")
        expect(page.locator("main")).to_contain_text("Listening")
        expect(page.locator("button.live")).to_have_text(re.compile("live"))
    expect(page.locator(".lost-bar")).to_contain_text("Lost the connection", timeout=30_000)
    expect(page.locator("main")).to_contain_text("Listening")
    page.close()


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


def test_the_monitor_that_fires_is_told(agent: LocalAgent, visit: Visit) -> None:
    """A health check that was critical enough makes its monitor's state, value and rendered message visible."""
    rows = {row["name"]: row for row in get(agent, "monitors")["monitors"]}
    assert rows["health"]["groups"], "the service check has no group"
    page = visit.open("monitors/health")
    expect(page.locator("main")).to_contain_text("for each env, service, check apart")
    expect(page.locator("main")).to_contain_text("<i>down</i>")


def test_a_click_on_a_chart_leads_to_what_happened_then(visit: Visit) -> None:
    """A click on a chart offers the traces, logs and tasks of that moment."""
    page = visit.open("overview")
    over = page.locator(".u-over").first
    over.wait_for(timeout=20_000)
    over.click(position={"x": 100, "y": 40})
    page.get_by_role("link", name="logs at this time").click()
    expect(page).to_have_url(re.compile(r"/logs\?.*start=\d+&end=\d+"))


def test_a_browser_notifies_if_asked(visit: Visit, agent: LocalAgent) -> None:
    """Who asked for it gets a browser notification of a fresh transition, and of no stale one."""
    visit.page.add_init_script(
        "window.told = []; window.Notification = class { constructor(title) { told.push(title); }"
        " static permission = 'granted'; static async requestPermission() { return 'granted'; } };"
    )
    page = visit.open("monitors", live=True)
    page.get_by_role("button", name="notify me in this browser").click()
    expect(page.get_by_role("button", name="notifies in this browser")).to_be_visible()
    for age, monitor in ((3600, "long-ago"), (0, "task-error-rate")):
        said = {
            "monitor": monitor,
            "before": "OK",
            "after": "Alert",
            "time": agent.clock() - age,
            "rule": "7 > 5",
        }
        agent._on_loop(lambda said=said: agent.live.send("transition", said))
    page.wait_for_function("told.includes('Alert: Tasks fail too often')", timeout=30_000)
    assert "Alert: long-ago" not in page.evaluate("told")
