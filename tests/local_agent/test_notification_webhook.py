"""Notifications that leave the agent: to a webhook on this machine, and to open pages."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from local_agent_helpers import Clock

from streaming_dd.config.masking import Redactor
from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent.monitors import webhook
from streaming_dd.local_agent.monitors.webhook import Webhook, checked


class Receiver(ThreadingHTTPServer):
    """A real HTTP server that keeps what is posted, and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.location = ""
        self.bodies: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.hold: threading.Event | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.put((self.path, body))
        if self.server.hold:
            self.server.hold.wait(60)
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def monitors(tmp_path: Path) -> str:
    """A directory with one monitor that alerts above 5."""
    (tmp_path / "monitors").mkdir()
    (tmp_path / "monitors" / "queue.json").write_text(
        json.dumps(
            {
                "name": "Queue is long",
                "type": "query alert",
                "query": "max(last_1m):max:queue{*} > 5",
                "message": "{{#is_alert}}{{value}} wait, more than {{threshold}}{{/is_alert}} @slack-ops",
                "options": {"thresholds": {"critical": 5}},
            }
        )
    )
    return str(tmp_path)


def wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_alert_and_recovery_reach_the_receiver(
    run_agent, send, clock: Clock, receiver, monitors: str
) -> None:
    """Each notification is posted once, with its title, text, handles and the link to the monitor on the page."""
    agent = run_agent(
        page_port=0, dashboards=monitors, notify_webhook=f"{receiver.url}/alerts?key=k", clock=clock
    )
    send(agent, b"queue:9|g")
    agent.wait_for(lambda received: received.metrics)
    clock.now += 10
    path, body = receiver.bodies.get(timeout=60)
    assert path == "/alerts?key=k"
    assert body["title"] == "[Triggered] Queue is long"
    assert (body["body"], body["handles"]) == ("9 wait, more than 5 @slack-ops", ["@slack-ops"])
    assert (body["alert_transition"], body["monitor"], body["date"]) == (
        "Triggered",
        "queue",
        clock.now * 1000,
    )
    assert body["link"] == f"http://127.0.0.1:{agent.page_port}/monitors/queue"
    clock.now += 80
    send(agent, b"queue:1|g")
    agent.wait_for(lambda received: len(received.metrics) == 2)
    clock.now += 10
    assert receiver.bodies.get(timeout=60)[1]["alert_transition"] == "Recovered"
    assert receiver.bodies.empty()
    wait_until(lambda: agent.holdings.webhook.counts.delivered == 2)
    with urllib.request.urlopen(f"{agent.page_url}/api/health", timeout=60) as answer:
        told = json.load(answer)["webhook"]
    assert told == {"where": receiver.url, "delivered": 2, "failed": 0, "dropped": 0}


def test_what_leaves_is_masked(run_agent, send, clock: Clock, receiver, tmp_path: Path) -> None:
    """A secret that a check's message brought is masked in what the receiver gets."""
    (tmp_path / "monitors").mkdir()
    (tmp_path / "monitors" / "db.json").write_text(
        json.dumps(
            {
                "name": "A check fails",
                "type": "service check",
                "query": '"db.ok".over("*").by("*").last(2).count_by_status()',
                "message": "{{check_message}}",
                "options": {"thresholds": {"critical": 1, "ok": 1}},
            }
        )
    )
    agent = run_agent(
        page_port=0,
        dashboards=str(tmp_path),
        notify_webhook=receiver.url,
        clock=clock,
        mask=Redactor().masked,
    )
    send(agent, b"_sc|db.ok|2|m:no way to postgres://app:hunter2x@db/shop")
    agent.wait_for(lambda received: received.service_checks)
    clock.now += 10
    assert receiver.bodies.get(timeout=60)[1]["body"] == "no way to postgres://app:***@db/shop"


def test_open_pages_are_told_but_not_later_ones(run_agent, send, clock: Clock, monitors: str) -> None:
    """A notification is an event of the live stream; a page opened afterwards does not get it again."""
    agent = run_agent(page_port=0, dashboards=monitors, clock=clock)
    with urllib.request.urlopen(f"{agent.page_url}/api/live", timeout=120) as stream:
        wait_until(lambda: agent.holdings.live.readers == 1)
        send(agent, b"queue:9|g")
        agent.wait_for(lambda received: received.metrics)
        clock.now += 10
        while stream.readline().strip() != b"event: notification":
            pass
        data = json.loads(stream.readline().removeprefix(b"data: "))
    assert (data["monitor"], data["state"], data["title"]) == ("queue", "Alert", "[Triggered] Queue is long")
    kept = agent._on_loop(lambda: set(agent.holdings.live._last))
    assert "transition" in kept
    assert "notification" not in kept


def test_failing_receiver_is_said_once_and_survived(receiver) -> None:
    """Errors are counted and told once; the next notification goes out, and the address' path stays secret."""
    problems: list[str] = []
    hook = Webhook(
        f"{receiver.url}/secret", on_problem=lambda text: text in problems or problems.append(text)
    )
    receiver.status = 500
    hook.send({"n": 1})
    hook.send({"n": 2})
    wait_until(lambda: hook.counts.failed == 2)
    receiver.status = 200
    hook.send({"n": 3})
    wait_until(lambda: hook.counts.delivered == 1)
    hook.close()
    assert [receiver.bodies.get(timeout=60)[1]["n"] for _ in range(3)] == [1, 2, 3]
    assert problems == [f"notifications cannot be delivered to {receiver.url}: it answers 500"]
    assert (hook.counts.delivered, hook.counts.failed) == (1, 2)


def test_nobody_listening_is_no_failure_of_the_agent(run_agent, send, clock: Clock, monitors: str) -> None:
    """With no receiver the agent goes on, and its health view says why nothing was delivered."""
    with socket.socket() as unused:  # bound, but nobody listens
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        agent = run_agent(page_port=0, dashboards=monitors, notify_webhook=url, clock=clock)
        send(agent, b"queue:9|g")
        agent.wait_for(lambda received: received.metrics)
        clock.now += 10
        wait_until(lambda: agent.holdings.webhook.counts.failed == 1)
    assert [problem for problem in agent.holdings.problems if "cannot be delivered" in problem]
    send(agent, b"queue:1|g")
    agent.wait_for(lambda received: len(received.metrics) == 2)


def test_receiver_that_hangs_holds_up_nothing(receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a bounded number of waiting notifications the newest are dropped and counted."""
    monkeypatch.setattr(webhook, "QUEUE", 2)
    monkeypatch.setattr(webhook, "PATIENCE", 0.01)
    receiver.hold = threading.Event()
    hook = Webhook(receiver.url)
    hook.send({"n": 0})
    receiver.bodies.get(timeout=60)
    for number in range(5):
        hook.send({"n": number})
    assert hook.counts.dropped == 3
    hook.close()
    receiver.hold.set()
    wait_until(lambda: hook.counts.delivered == 3)


def test_redirects_are_not_followed(receiver) -> None:
    """An address of this machine cannot send a notification elsewhere."""
    receiver.status, receiver.location = 302, f"{receiver.url}/elsewhere"
    hook = Webhook(f"{receiver.url}/here")
    hook.send({})
    hook.close()
    wait_until(lambda: hook.counts.failed == 1)
    assert receiver.bodies.get(timeout=60)[0] == "/here"
    assert receiver.bodies.empty()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://hooks.example.com/T1/secret", "not this machine"),
        ("http://10.0.0.1/x", "not this machine"),
        ("http://127.0.0.1.example.com/x", "not this machine"),
        ("ftp://127.0.0.1/x", "write a URL"),
        ("127.0.0.1:9000", "write a URL"),
        ("http://user:password@127.0.0.1/", "write a URL"),
        ("http://127.0.0.1:port/", "write a URL"),
        ("http://[::1/", "write a URL"),
    ],
)
def test_only_this_machine_unless_told_otherwise(url: str, words: str) -> None:
    """Other machines need `--notify-anywhere`; what is no URL is refused; neither quotes a secret path."""
    with pytest.raises(LocalAgentError, match=words) as told:
        checked(url, anywhere=False)
    assert "secret" not in str(told.value)
    assert "password" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:9/x", "http://127.9.9.9/"]
)
def test_addresses_of_this_machine_are_taken(url: str) -> None:
    """All ways to write this machine; a message names the address without its path."""
    assert checked(url, anywhere=False) + "/" in url.replace("/x", "/")
    assert checked("https://hooks.example.com/T1/secret", anywhere=True) == "https://hooks.example.com"


@pytest.mark.process
def test_command_refuses_another_machine(tmp_path: Path) -> None:
    """`streaming-dd agent --notify-webhook` to elsewhere ends with 2 and says which option allows it."""
    ended = subprocess.run(
        [sys.executable, "-m", "streaming_dd.cli", "agent", "--notify-webhook", "http://example.com/secret"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "--notify-anywhere" in ended.stderr
    assert "secret" not in ended.stderr
