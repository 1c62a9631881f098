"""A browser, and an agent that was fed by real sockets: what the page's tests walk through."""

from __future__ import annotations

import json
import math
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from streaming_dd.local_agent import LocalAgent

WAIT = 60_000
"""Milliseconds: on a busy machine a page takes its time."""
expect.set_options(timeout=WAIT)
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LAUNCH = 180_000
"""Milliseconds for a browser that starts for the first time."""
FRESH = 240.0
"""Seconds for which what was sent is recent: the page shows the last fifteen minutes, the tail of the logs the last five."""
COUNTING = """(() => {
  const own = window.fetch, now = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  let asking = 0;
  window.fetch = (...given) => { asking += 1; return own(...given).finally(() => { asking -= 1; }); };
  window.calm = async () => { for (let still = 0; still < 6; still = asking ? 0 : still + 1) await now(); };
})()"""
"""What lets a page say when it has drawn what it asked for: frames without a question, by its own clock."""
MARKUP = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
BIG = 2**63 + 12345
"""An id beyond 2**53, which a browser's numbers cannot hold."""
TRACE, TASK_TRACE = 0xABCDEF0123456789, 0xFEDCBA9876543210
METRICS = """\
streaming.http.requests:40|c|#env:prod,service:web,version:1.0,method:GET,route:/,status_class:2xx
streaming.http.requests:2|c|#env:prod,service:web,version:1.0,method:GET,route:/x,status_class:5xx
streaming.http.errors:2|c|#env:prod,service:web,version:1.0,route:/x,error_type:boom
streaming.http.time_to_first_byte:12:30:45|ms|#env:prod,service:web,version:1.0,route:/
streaming.tasks.started:9|c|#env:prod,service:web,app:shop,model:export
streaming.tasks.completed:6|c|#env:prod,service:web,app:shop,model:export
streaming.tasks.failed:3|c|#env:prod,service:web,app:shop,model:export,error_type:boom
streaming.tasks.active:3|g|#env:prod,service:web,app:shop,model:export,worker:1
streaming.clients.active:4|g|#env:prod,service:web,app:shop,model:export,worker:1
streaming.task.duration:900:1100|ms|#env:prod,service:web,app:shop,model:export,outcome:completed
streaming.task.cpu_time:200:220|ms|#env:prod,service:web,app:shop,model:export
evil.metric:1|c|#env:prod,service:web,model:<b>bold</b>
streaming.tasks.active:1|g|#env:prod,service:web,app:shop,model:"><svg/onload=document.title=1>,worker:1
_sc|streaming.health|2|#env:prod,service:web,check:database|m:<i>down</i>
_e{9,14}:deploy <b>|<script>x</scr|#env:prod
not a metric <b>at all</b>
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; every test that needs it says so when it is not there.

    For a module only: while playwright runs, its event loop keeps `asyncio.run` from tests of other modules.
    """
    if not CHROMIUM.exists():
        pytest.skip("there is no /usr/bin/chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS, timeout=LAUNCH)
        yield found
        found.close()


class Fed:
    """An agent with metrics, traces, logs, checks and events, hostile ones among them, and one closed bucket.

    On a slow machine the tests of a module take longer than what was sent is recent: then another agent is fed.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._began = -math.inf
        self._agent: LocalAgent | None = None

    def agent(self) -> LocalAgent:
        if self._agent is None or time.monotonic() - self._began > FRESH:
            self.close()
            self._began = time.monotonic()
            self._agent = self._stack.enter_context(
                LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=0).running()
            )
            feed(self._agent)
        return self._agent

    def close(self) -> None:
        self._stack.close()
        self._agent = None


def feed(agent: LocalAgent) -> None:
    send_metrics(agent, METRICS)
    send_traces(agent)
    send_logs(agent)
    deadline = time.monotonic() + 120
    while not evaluated(agent):
        assert time.monotonic() < deadline, "no bucket was closed and evaluated within two minutes"
        time.sleep(0.25)


@pytest.fixture(scope="module")
def fed() -> Iterator[Fed]:
    found = Fed()
    yield found
    found.close()


@pytest.fixture
def agent(fed: Fed) -> LocalAgent:
    """An agent that was fed lately."""
    return fed.agent()


@pytest.fixture(scope="module")
def empty_agent() -> Iterator[LocalAgent]:
    """An agent to which nothing was sent."""
    with LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=0).running() as running:
        yield running


def send_metrics(agent: LocalAgent, lines: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for line in lines.splitlines():
            sock.sendto(line.encode(), ("127.0.0.1", agent.dogstatsd_port))


def send_traces(agent: LocalAgent) -> None:
    """A request whose span submits a task, the task linked to it, failed, with markup in its resource."""
    now = time.time_ns()
    request = span(TRACE, 11, 0, "asgi.request", "GET /", now - 3_000_000_000, 800_000_000)
    submit = span(TRACE, 12, 11, "task.submit", "shop.export", now - 2_800_000_000, 1_000_000)
    task = span(TASK_TRACE, BIG, 0, "task.run", f"shop.{MARKUP}", now - 2_700_000_000, 1_500_000_000, error=1)
    task["meta"] |= {
        "task.status": "failed", "task.app": "shop", "task.model": MARKUP, "task.id": str(BIG),
        "error.type": "boom.Error", "error.message": MARKUP, "error.stack": f"Traceback\n  {MARKUP}",
    }  # fmt: skip
    task["span_links"] = [
        {"trace_id": TRACE, "trace_id_high": 0, "span_id": 12, "attributes": {"link.kind": "submitted_by"}}
    ]
    put_traces(agent, [[request, submit], [task]])


def send_many_spans(agent: LocalAgent, count: int) -> None:
    """Entry spans, every other one a root."""
    now = time.time_ns()
    put_traces(
        agent,
        [
            [span(1000 + n // 2, n + 1, n % 2 * n, "asgi.request", "GET /", now - n * 1_000_000, 1_000_000)]
            for n in range(count)
        ],
    )


def send_calls(agent: LocalAgent) -> None:
    """Requests of a shop that calls two services, one of them failing, both of which ask a database; tasks link back."""
    now, chunks = time.time_ns(), []
    for n in range(20):
        trace, at = 5000 + n, now - n * 10_000_000

        def one(
            id: int, parent: int, service: str, error: int = 0, *, trace: int = trace, at: int = at
        ) -> Any:
            found = span(trace, id, parent, f"{service}.request", "GET /", at, id * 20_000_000, error)
            return {**found, "service": service}

        chunks.append(
            [
                one(1, 0, "shop"),
                one(2, 1, "prices", n % 2),
                one(3, 1, "stock"),
                one(4, 2, "postgres"),
                one(5, 3, "postgres"),
            ]
        )
        task = {**span(6000 + n, 6, 0, "task.run", "reports.export", at, 90_000_000), "service": "reports"}
        task["span_links"] = [{"trace_id": trace, "trace_id_high": 0, "span_id": 1, "attributes": {}}]
        chunks.append([task])
    put_traces(agent, chunks)


def put_traces(agent: LocalAgent, chunks: list[list[Any]]) -> None:
    payload = msgspec.msgpack.encode(chunks)
    call = urllib.request.Request(
        f"http://127.0.0.1:{agent.trace_port}/v0.4/traces",
        payload,
        {"Content-Type": "application/msgpack", "Datadog-Meta-Lang": "python"},
        method="PUT",
    )
    with urllib.request.urlopen(call, timeout=60) as answer:
        assert answer.status == 200


def span(
    trace: int, id: int, parent: int, name: str, resource: str, start: int, duration: int, error: int = 0
) -> Any:
    return {
        "trace_id": trace, "span_id": id, "parent_id": parent, "name": name, "resource": resource, "service": "web",
        "type": "web", "start": start, "duration": duration, "error": error, "meta": {"env": "prod"},
        "metrics": {"_dd.top_level": 1.0, "_dd.measured": 1.0},
    }  # fmt: skip


def line(message: str, status: str = "info", **attributes: object) -> bytes:
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "Z"
    record = {"timestamp": now, "status": status, "message": message, "service": "web", **attributes}
    return json.dumps(record).encode() + b"\n"


def send_logs(agent: LocalAgent) -> None:
    task = {"logger.name": "streaming_dd.tasks", "task.app": "shop", "task.model": MARKUP}
    lines = [
        line("a quiet line"),
        line(MARKUP, "error", **{"error.kind": MARKUP, "error.stack": MARKUP, "user.id": BIG}),
        line("inside of the trace", dd_trace="", **{"dd.trace_id": f"{TRACE:032x}", "dd.span_id": "11"}),
        line("task started", **task, **{"task.id": "running-1"}),
        line("x" * 5_000_000, "warning"),
        b"<marquee>no JSON</marquee>\n",
    ]
    send_lines(agent, *lines)


def send_lines(agent: LocalAgent, *lines: bytes) -> None:
    with socket.create_connection(("127.0.0.1", agent.logs_port), timeout=60) as sock:
        sock.sendall(b"".join(lines))


def evaluated(agent: LocalAgent) -> bool:
    rows = get(agent, "monitors")["monitors"]
    return any(row["evaluated"] for row in rows) and len(get(agent, "logs?limit=50")["logs"]) >= 6


def get(agent: LocalAgent, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.page_port}/api/{path}", timeout=60) as answer:
        return json.load(answer)


class Visit:
    """A page with what went wrong on it. `open` waits until the network is quiet, and what came is drawn."""

    def __init__(self, page: Page, agent: LocalAgent) -> None:
        self.page = page
        self.base = f"http://127.0.0.1:{agent.page_port}"
        self.problems: list[str] = []
        self.foreign: list[str] = []
        page.set_default_timeout(WAIT)
        page.add_init_script(COUNTING)
        page.on(
            "console",
            lambda message: message.type in ("error", "warning") and self.problems.append(message.text),
        )
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.foreign.append(request.url)

    def open(self, path: str, live: bool = False) -> Page:
        extra = "" if live else ("&" if "?" in path else "?") + "live=0"
        self.page.goto(f"{self.base}/{path}{extra}")
        self.page.wait_for_selector("main")
        if not live:
            self.calm()
        return self.page

    def calm(self) -> None:
        """Wait until everything is there and drawn; what a chart's height moves is in its place then."""
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate("calm()")

    def check(self) -> None:
        assert self.problems == []
        assert self.foreign == []
        assert "owned" not in self.page.title()


@pytest.fixture
def visit(browser: Browser, agent: LocalAgent, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A visit to the fed agent; at its end nothing was wrong and nothing came from elsewhere."""
    options = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    found = Visit(context.new_page(), agent)
    yield found
    found.check()
    context.close()
