"""Every view of the page in a real Chromium, with live and hostile data."""

from __future__ import annotations

import re
import time

import pytest
from conftest import (
    BIG,
    MARKUP,
    TASK_TRACE,
    TRACE,
    WAIT,
    Visit,
    get,
    line,
    send_lines,
    send_many_spans,
    send_metrics,
)
from playwright.sync_api import Browser, Route, expect

from streaming_dd.cli.capacity.plan import MB, Server, make_plan
from streaming_dd.cli.capacity.window import Window
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
    "errors": "boom.Error",
    "traces": "Duration by start",
    f"traces/{TRACE:032x}": "task.submit",
    f"traces/{TASK_TRACE:032x}": "boom.Error",
    f"traces/{TRACE:032x}?view=flame": "flame graph",
    "logs": "a quiet line",
    "logs?patterns=1": "a quiet line",
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
        expect(main).to_contain_text(text)
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
    page.locator(".line").filter(has_text=MARKUP).click()
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
    """A 5 MB line is kept in pieces, as by the Agent; each is listed by its beginning and opened on demand."""
    page = visit.open("logs")
    pieces = page.locator(".line").filter(has_text="x" * 200)
    expect(pieces).not_to_have_count(0)
    piece = pieces.first
    assert len(piece.inner_text()) < 1_000
    piece.click()
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


def test_an_error_leads_to_its_traces_and_tasks(visit: Visit) -> None:
    """A row of the errors opens what it counts: type, message, stack, the trace it happened in, the task that failed."""
    page = visit.open("errors")
    page.locator("table.errors a", has_text="boom.Error").click()
    main = page.locator("main")
    expect(main).to_contain_text("Stack of the latest")
    expect(main).to_contain_text("1 task")
    expect(main.locator("pre.stack")).to_contain_text(MARKUP)
    main.locator(f"a[href*='{TASK_TRACE:032x}']").first.click()
    expect(main).to_contain_text("task.run")


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
    expect(page.locator("main")).to_contain_text("Nothing with these filters")


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


def test_a_monitors_threshold_can_be_tried(visit: Visit) -> None:
    """The slider of a monitor says how often another threshold would have fired."""
    page = visit.open("monitors/task-error-rate")
    trial = page.locator(".trial")
    expect(trial).to_contain_text("would fire at")
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


@pytest.mark.parametrize(("own", "said"), [(0.002, True), (0.02, False)])
def test_a_load_lost_beside_idle_workers_is_doubted(own: float, said: bool, visit: Visit) -> None:
    """Where little CPU was used, and little of that by the tasks' own steps, the page says how far it may mislead."""

    def answer(route: Route) -> None:
        figures = route.fetch().json()
        figures |= {"tasks": 1000, "seconds": 1000}
        figures["cpu_per_task"] |= {"value": 0.03}
        figures["own_cpu_per_task"] |= {"value": own}
        figures["worker_memory"] |= {"samples": 2}
        route.fulfill(json=figures)

    visit.page.route(re.compile("/api/capacity"), answer)
    page = visit.open("capacity")
    expect(page.locator(".inputs")).to_be_visible()
    notice = page.locator(".notice", has_text="A worker used 1.5 % of a core")
    expect(notice).to_have_count(int(said))
    if said:
        expect(notice).to_contain_text("up to 15 times too much")


WINDOW = {"rate": 4.0, "duration": 2.5, "peak": 30.0, "cpu": 0.2, "clients": 100.0}
PLANS = [
    {},
    {"growth": 7.5, "spare": 2, "cores": 4},
    {"cores": 8, "workers": 2, "utilisation": 50},
    {"base": 80.0},
    {"base": 80.0, "memory": 40.0, "growth": 3},
    {"base": 60.0, "memory": 0.5, "slots": 10, "files": 64, "peak": 400.0},
    {"slots": 3, "workers": 6, "cpu": 0.0001},
]


@pytest.mark.parametrize("changed", PLANS, ids=lambda changed: ",".join(changed) or "as measured")
def test_the_page_plans_as_the_command_does(changed: dict[str, float], visit: Visit) -> None:
    """From the same figures the page's formula gives the same servers, for each resource, as `streaming-dd capacity`."""
    inputs = {**WINDOW, "growth": 1, "cores": 2, "ram": 4, "utilisation": 70, "spare": 1, **changed}
    inputs.setdefault("workers", inputs["cores"])
    window = Window(
        source="a test", workers=2, seconds=3600, tasks=10_000, rate=inputs["rate"], busiest_rate=inputs["rate"],
        duration=inputs["duration"], duration_p95=None, own_cpu=None, active_mean=None,
        active_peak=inputs["peak"], all_cpu=inputs["cpu"], clients_peak=inputs["clients"],
        worker_memory=inputs["base"] * MB if "base" in inputs else None,
    )  # fmt: skip
    server = Server(
        cores=int(inputs["cores"]), memory=inputs["ram"] * 1024 * MB, workers=int(inputs["workers"]),
        utilisation=inputs["utilisation"] / 100, open_files=inputs.get("files"), tasks_per_worker=inputs.get("slots"),
    )  # fmt: skip
    memory = inputs["memory"] * MB if "memory" in inputs else None
    plan = make_plan(window, server, growth=inputs["growth"], spare=int(inputs["spare"]), task_memory=memory)
    page = visit.open("capacity")
    page.wait_for_selector("main")
    source = page.evaluate(
        "() => performance.getEntriesByType('resource').map((e) => e.name).find((n) => n.endsWith('views/capacity.js'))"
    )
    found = page.evaluate("async ([from, v]) => (await import(from)).servers(v)", [source, inputs])
    assert found["total"] == plan.servers
    assert found["binding"] == plan.binding
    assert found["needs"] == {
        need.resource: None if need.servers is None else pytest.approx(need.servers) for need in plan.needs
    }


def test_new_data_appears_by_itself(browser: Browser, visit: Visit, agent: LocalAgent) -> None:
    """A live page shows a task's metric that came after it was opened, without being touched."""
    page = visit.open("metrics?query=late.arrival", live=True)
    expect(page.locator("button.live")).to_have_text(re.compile("live"))
    send_metrics(agent, "late.arrival:1|c|#env:prod")
    expect(page.locator("main")).to_contain_text("late.arrival")


def test_the_tail_follows(visit: Visit, agent: LocalAgent) -> None:
    """Following shows the newest lines, and those that come then, and is an address of its own."""
    send_lines(agent, line("what came before"))
    page = visit.open("logs?tail=1", live=True)
    expect(page.locator(".rows")).to_contain_text("what came before")
    send_lines(agent, line("what came then"))
    expect(page.locator(".rows")).to_contain_text("what came then")


def test_first_steps_teach_and_tick(browser: Browser, empty_agent: LocalAgent) -> None:
    """Before anything arrived, the overview says what to do with this agent's own ports, and notices the first sample."""
    page = browser.new_page()
    page.set_default_timeout(WAIT)
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
        page.wait_for_load_state("networkidle")
        expect(page.locator("main .empty"), view).not_to_have_count(0)
        expect(page.locator("main")).not_to_contain_text("This view failed")
    page.goto(f"http://127.0.0.1:{empty_agent.page_port}/")
    send_metrics(empty_agent, "streaming.http.requests:1|c|#env:prod,status_class:2xx")
    expect(page.locator("main")).to_contain_text("Requests by status")
    page.close()


def test_a_lost_agent_is_said_and_the_last_data_stays(browser: Browser) -> None:
    """When the agent goes, the page says so and keeps what it had."""
    page = browser.new_page()
    page.set_default_timeout(WAIT)
    with LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=0).running() as agent:
        page.goto(f"http://127.0.0.1:{agent.page_port}/health")
        expect(page.locator("main")).to_contain_text("Listening")
        expect(page.locator("button.live")).to_have_text(re.compile("live"))
    expect(page.locator(".lost-bar")).to_contain_text("Lost the connection")
    expect(page.locator("main")).to_contain_text("Listening")
    page.close()


def test_the_monitor_that_fires_is_told(agent: LocalAgent, visit: Visit) -> None:
    """A health check that was critical enough makes its monitor's state, value and rendered message visible."""
    rows = {row["name"]: row for row in get(agent, "monitors")["monitors"]}
    assert rows["health"]["groups"], "the service check has no group"
    page = visit.open("monitors/health")
    expect(page.locator("main")).to_contain_text("for each env, service, check, host, worker apart")
    expect(page.locator("main")).to_contain_text("<i>down</i>")


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
            "time": agent.holdings.clock() - age,
            "rule": "7 > 5",
        }
        agent._on_loop(lambda said=said: agent.holdings.live.send("transition", said))
    page.wait_for_function("() => told.includes('Alert: [Streaming] Tasks fail too often')")
    assert "Alert: long-ago" not in page.evaluate("told")


def test_older_spans_and_roots_alone(browser: Browser) -> None:
    """The traces page shows 200 and goes on from there; "root spans only" is in the address and leaves the others out."""
    with LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=0).running() as running:
        send_many_spans(running, 230)
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(f"http://127.0.0.1:{running.page_port}/traces?live=0")
        rows = page.locator("table.spans tbody tr")
        expect(rows).to_have_count(200)
        expect(page.get_by_role("img", name=re.compile("spans by status"))).to_be_visible()
        counts = get(running, "traces/histogram?range=15m&query=status:ok")["counts"]
        assert sum(count for _, _, count in counts) == 230, (
            "all are counted, not those of the first page alone"
        )
        page.get_by_role("button", name="Older spans").click()
        expect(rows).to_have_count(230)
        page.get_by_role("button", name="root spans only").click()
        expect(page).to_have_url(re.compile("all=roots"))
        expect(rows).to_have_count(115)
        page.close()


def test_log_lines_that_say_the_same_are_a_pattern(visit: Visit) -> None:
    """The patterns of the logs, an address of their own, count lines; one that is clicked finds its lines."""
    page = visit.open("logs?patterns=1")
    rows = page.locator("table.patterns tbody tr")
    expect(rows.first).to_be_visible()
    rows.filter(has_text="a quiet line").get_by_role("button").click()
    expect(page).not_to_have_url(re.compile("patterns"))
    expect(page.locator(".rows .line")).to_have_count(1)
    expect(page.locator(".rows .line")).to_contain_text("a quiet line")


def test_events_are_shown_of_kinds_that_send_some(visit: Visit) -> None:
    """None of a kind that sends events is 0; of one that never does, which is most functions, it is nothing."""
    now = time.time()
    tasks = [
        {
            "service": "web", "app": "shop", "model": model, "id": str(number), "key": str(number), "state": "completed",
            "started": now - 9, "ended": now - 8, "duration": 1.0, "last_seen": now - 8, "last_event": None, "logs": 2,
            "events": events, "value": "", "error": "", "trace_id": "", "span_id": "", "segment": 1, "waits_at": "",
        }
        for number, (model, events) in enumerate([("Report", 12), ("Report", 0), ("export", 0), ("export", None)])
    ]  # fmt: skip
    visit.page.route(
        re.compile("/api/tasks"), lambda route: route.fulfill(json={"now": now, "tasks": tasks, "dropped": 0})
    )
    page = visit.open("tasks")
    expect(page.locator("td[data-name=events]")).to_have_text(["12", "0", "", ""])


def test_a_running_task_leads_to_the_applications_own_page(visit: Visit) -> None:
    """Where the application has said where its live tasks are, those that run have a link to them; the others none."""
    now = time.time()
    tasks = [
        {
            "service": service, "app": "shop", "model": "Report", "id": str(number), "key": str(number), "state": state,
            "started": now - 60, "ended": None if state == "running" else now, "duration": 60.0, "last_seen": now,
            "last_event": None, "logs": 2, "events": 1, "value": "", "error": "", "trace_id": "", "span_id": "",
            "segment": 1, "waits_at": "",
        }
        for number, (service, state) in enumerate([("web", "running"), ("web", "completed"), ("other", "running")])
    ]  # fmt: skip
    answer = {"now": now, "tasks": tasks, "dropped": 0, "pages": {"web": "http://127.0.0.1:9/live-tasks/"}}
    visit.page.route(re.compile("/api/tasks"), lambda route: route.fulfill(json=answer))
    page = visit.open("tasks")
    expect(page.locator("tbody tr")).to_have_count(3)
    link = page.get_by_role("link", name="live")
    expect(link).to_have_count(1)
    expect(link).to_have_attribute("href", "http://127.0.0.1:9/live-tasks/")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
