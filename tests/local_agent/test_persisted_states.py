"""`--persist FILE`: monitors, events and service checks over restarts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from local_agent_helpers import START, Clock

from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.monitors.evaluation import Monitors
from streaming_dd.local_agent.page_server.shipped import Shipped


@pytest.fixture
def monitors(tmp_path: Path) -> Path:
    """A directory with a monitor by host that alerts above 5."""
    (tmp_path / "monitors").mkdir()
    write(tmp_path, "max(last_1m):max:queue{*} by {host} > 5")
    return tmp_path


def write(directory: Path, query: str) -> None:
    options = {"thresholds": {"critical": 5}, "new_group_delay": 0}
    document = {"name": "Queue", "type": "query alert", "query": query, "message": "@me", "options": options}
    (directory / "monitors" / "queue.json").write_text(json.dumps(document))


@pytest.fixture
def start(tmp_path: Path, clock: Clock) -> Callable[[], object]:
    """Run an agent on the same file again and again; gives it with the monitors that it evaluates."""

    @contextmanager
    def started() -> Iterator[tuple[LocalAgent, Monitors]]:
        agent = LocalAgent(
            dogstatsd_port=0, trace_port=None, logs_port=None, page_port=0, hostname="",
            dashboards=str(tmp_path), persist=str(tmp_path / "file"), clock=clock,
        )  # fmt: skip
        with agent.running():
            shipped = next(
                each.__self__ for each in agent.holdings.on_bucket if isinstance(each.__self__, Shipped)
            )
            yield agent, agent._on_loop(lambda: shipped.monitors)

    return started


def step(agent: LocalAgent, send, clock: Clock, line: bytes) -> None:
    """Send a line, and let the bucket close that it falls into."""
    before = agent.holdings.totals()["samples"]
    send(agent, line)
    agent.wait_for(lambda received: agent.holdings.totals()["samples"] > before)
    clock.now += 10
    agent._on_loop(agent.holdings.tick)


def test_monitors_go_on_where_they_were(start, send, clock: Clock, monitors: Path) -> None:
    """A group in Alert is still in Alert, is not notified again, and recovers; the pause is Skipped."""
    with start() as (agent, first):
        step(agent, send, clock, b"queue:9|g|#host:a")
        assert [(each.state, each.monitor) for each in first.notifications] == [("Alert", "queue")]
        since = first.monitors["queue"].since
    stopped = clock.now
    clock.now += 600
    with start() as (agent, second):
        monitor = second.monitors["queue"]
        (group,) = monitor.groups.values()
        assert (group.state, group.group, group.told) == ("Alert", {"host": "a"}, "Alert")
        step(agent, send, clock, b"queue:9|g|#host:a")
        assert [each.state for each in second.notifications] == ["Alert"]
        assert [(a, b, state) for a, b, state in monitor.segments(START, clock.now + 5)] == [
            (since, stopped, "Alert"),
            (stopped, clock.now, "Skipped"),
            (clock.now, clock.now + 5, "Alert"),
        ]
        for _ in range(7):
            step(agent, send, clock, b"queue:1|g|#host:a")
        assert [each.state for each in second.notifications] == ["Alert", "OK"]
        assert [each.after for each in second.transitions][-2:] == ["Alert", "OK"]


def test_changed_monitor_begins_anew(start, send, clock: Clock, monitors: Path) -> None:
    """States belong to a query: another one does not inherit them."""
    with start() as (agent, _):
        step(agent, send, clock, b"queue:9|g|#host:a")
    write(monitors, "max(last_1m):max:other{*} by {host} > 5")
    with start() as (_, monitors_again):
        monitor = monitors_again.monitors["queue"]
        assert monitor.groups == {}
        assert not monitor.history


def test_events_and_checks_are_there_again(start, send, clock: Clock, monitors: Path) -> None:
    """Events and the runs of service checks come back as they were; what is older than a day does not."""
    with start() as (agent, _):
        send(
            agent,
            b"_e{5,4}:title|text|t:error|#a:1\n_sc|db|2|#env:x|m:down\n_e{3,1}:old|x|d:%d" % (START - 90_000),
        )
        agent.wait_for(lambda received: received.service_checks and len(received.events) == 2)
        events, checks = agent._on_loop(
            lambda: (list(agent.holdings.store.events), agent.holdings.store.checks("db"))
        )
        assert len(events) == 2
    clock.now += 60
    with start() as (agent, _):
        assert list(agent.holdings.store.events) == [each for each in events if each.event.title == "title"]
        assert agent.holdings.store.checks("db") == checks
        assert checks[0][0].message == "down"


def test_states_of_another_version_are_told(start, send, clock: Clock, monitors: Path) -> None:
    """Monitors begin anew, with a problem in the health view; events that cannot be read stop the start."""
    with start() as (agent, _):
        step(agent, send, clock, b"queue:9|g|#host:a")
    with closing(sqlite3.connect(monitors / "file")) as file, file:
        file.execute("UPDATE states SET document = ? WHERE name = 'monitors'", [b'{"saved": "then"}'])
    with start() as (agent, again):
        assert again.monitors["queue"].groups == {}
        assert any("begin anew" in problem for problem in agent.holdings.problems)
    with closing(sqlite3.connect(monitors / "file")) as file, file:
        file.execute("UPDATE states SET document = ? WHERE name = 'events'", [b"[7]"])
    with pytest.raises(LocalAgentError, match="Delete the file"), start():
        pass
