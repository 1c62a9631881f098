"""What the demo's terminal shows of what the agent received, and what it says is missing."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator

import pytest

from examples.demo import expected
from examples.demo.terminal import Ink, Screen, clip, lines
from examples.demo.view import PREFIX, Watch, last_failure, last_traces
from streaming_dd import catalog
from streaming_dd.local_agent import LocalAgent, Span, SpanLink

TRACE, TASK_TRACE = "0" * 30 + "aa", "0" * 30 + "bb"


@pytest.fixture
def agent() -> Iterator[LocalAgent]:
    """An agent with a DogStatsD port alone."""
    with LocalAgent(dogstatsd_port=0, trace_port=None, logs_port=None, page_port=None).running() as running:
        yield running


def send(agent: LocalAgent, *metric_lines: str) -> None:
    """Send lines by hand, one datagram each, and wait until the agent has them."""
    before = len(agent.received.metrics)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for line in metric_lines:
            sender.sendto(f"{PREFIX}.{line}".encode(), ("127.0.0.1", agent.dogstatsd_port or 0))
    agent.wait_for(lambda received: len(received.metrics) >= before + len(metric_lines))


def span(name: str, trace: str, number: int, parent: int = 0, *, at: int = 0, **changes: object) -> Span:
    """Make a span."""
    made = Span(trace, str(number), str(parent), name, f"{name} resource", "reports", "web", at, 1_000_000, 0)
    for key, value in changes.items():
        setattr(made, key, value)
    return made


def test_numbers_come_from_counters_gauges_and_timers(agent: LocalAgent) -> None:
    """Counters add up over tags, gauges over workers, timers become one percentile."""
    send(
        agent,
        "http.requests:8|c|#method:GET,route:/a,status:200,status_class:2xx",
        "http.requests:2|c|#method:GET,route:/b,status:500,status_class:5xx",
        "http.errors:2|c|#method:GET,route:/b,error_type:RuntimeError",
        "http.time_to_first_byte:10:10:10|ms|#method:GET,route:/a,status_class:2xx",
        "http.time_to_first_byte:900|ms|#method:GET,route:/b,status_class:5xx",
        "clients.active:3|g|#app:reports,model:SalesReport,worker:0",
        "clients.active:4|g|#app:reports,model:SalesReport,worker:1",
        "clients.active:2|g|#app:reports,model:SalesReport,worker:1",
        "tasks.started:5|c|#app:reports,model:SalesReport",
        "tasks.completed:3|c|#app:reports,model:SalesReport",
        "tasks.failed:1|c|#app:reports,model:SalesReport,error_type:BadRow",
        "tasks.active:1|g|#app:reports,model:SalesReport,worker:0",
        "task.duration:2000|ms|#app:reports,model:SalesReport,outcome:completed",
        "streams.closed:1|c|#app:reports,model:SalesReport,route:/s,outcome:client_disconnect",
    )
    view = Watch(agent).look()
    assert (view.requests, view.errors, view.error_share) == (10, 2, 0.2)
    assert view.clients == 5
    assert view.streams_closed == {"client_disconnect": 1}
    assert [route for route, _ in view.slowest] == ["/b", "/a"]
    (row,) = view.tasks
    assert (row.model, row.started, row.completed, row.failed, row.cancelled, row.active) == (
        "salesreport",  # tags are lower case at Datadog, and so at the agent
        5,
        3,
        1,
        0,
        1,
    )
    assert row.p95_ms == pytest.approx(2000, rel=0.01)


def test_a_task_hangs_under_the_request_that_submitted_it() -> None:
    """The link is followed from the task's own trace to the submitting span, also when the task ended long after."""
    spans = [
        span("task.submit", TRACE, 2, 1),
        span("sse.request", TRACE, 1),
        span("reports.query", TASK_TRACE, 11, 10),
        span("task.run", TASK_TRACE, 10, links=[SpanLink(TRACE, "2")], at=5),
        span("asgi.request", "0" * 30 + "cc", 20, at=9),
    ]
    trees = last_traces(spans)
    drawn = [(depth, node.span.name, node.linked) for depth, node in trees[0].walk()]
    assert drawn == [
        (0, "sse.request", False),
        (1, "task.submit", False),
        (2, "task.run", True),
        (3, "reports.query", False),
    ]
    assert [tree.span.name for tree in trees[1:]] == ["asgi.request"]


def test_of_many_children_the_telling_ones_are_shown() -> None:
    """What leads to ours and what failed stays, in the order of the starts; the rest is counted."""
    spans = [span("sqlite.query", TRACE, number, 1, at=number) for number in range(10, 20)]
    spans += [span("django.view", TRACE, 30, 1, at=30), span("task.submit", TRACE, 32, 30, at=32)]
    spans += [span("http.request", TRACE, 31, 1, at=31, error=1), span("sse.request", TRACE, 1)]
    (tree,) = last_traces(spans)
    assert [child.span.span_id for child in tree.children] == ["10", "30", "31"]
    assert tree.left_out == 9


def test_spans_that_link_in_a_circle_are_drawn_once() -> None:
    """A hostile or broken client cannot hang the terminal."""
    spans = [
        span("task.run", TRACE, 1, links=[]),
        span("task.run", TASK_TRACE, 2, links=[SpanLink(TRACE, "1")]),
    ]
    spans[0].links.append(SpanLink(TASK_TRACE, "2"))
    spans.append(span("asgi.request", TRACE, 9))
    spans.append(span("task.run", TRACE, 3, 9, links=[SpanLink(TRACE, "3")]))
    assert sum(1 for tree in last_traces(spans) for _ in tree.walk()) == 2


def test_the_last_error_comes_with_the_lines_of_its_trace() -> None:
    """Lines of other traces are left out; an error outside of a trace is passed over."""
    trace = TRACE.replace("0", "1")
    logs = [
        {"message": "starts", "dd.trace_id": trace},
        {"message": "other", "dd.trace_id": TASK_TRACE},
        {"message": "failed", "dd.trace_id": trace, "error.kind": "shop.BadRow", "error.message": "line 5"},
        {"message": "boot", "dd.trace_id": "0", "error.kind": "OSError"},
    ]
    failure = last_failure(logs)
    assert failure is not None
    assert (failure.kind, failure.message, failure.trace_id) == ("shop.BadRow", "line 5", trace)
    assert [line["message"] for line in failure.lines] == ["starts", "failed"]
    assert last_failure(logs[:2]) is None


def test_control_characters_of_log_lines_do_not_reach_the_terminal(agent: LocalAgent) -> None:
    """An escape sequence in a message is drawn as dots: it cannot clear the screen or move the cursor."""
    view = Watch(agent).look()
    evil = {"message": "\x1b[2Jgone\nnext", "dd.trace_id": TRACE.replace("0", "1"), "error.kind": "E\x07"}
    failure = last_failure([evil])
    drawn = lines(type(view)(**{**vars(view), "failure": failure}), Ink(True), ["title"])
    text = "\n".join(drawn)
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    assert "·[2Jgone·next" in text


def test_colours_take_no_room() -> None:
    """Clipping counts what is seen, and keeps the sequence that ends the colour."""
    assert clip("\x1b[31mabcdef\x1b[0m", 3) == "\x1b[31mabc\x1b[0m"
    assert clip("abcdef", 10) == "abcdef"


@pytest.mark.parametrize("height", [12, 16, 20, 30, 60])
def test_on_a_small_terminal_the_traces_give_way(agent: LocalAgent, height: int) -> None:
    """The picture never has more lines than the terminal, and the last error stays in it."""
    deep = [
        span("sse.request", TRACE, 1),
        *(span("step", TRACE, number, number - 1) for number in range(2, 30)),
    ]
    failure = last_failure(
        [{"message": "failed", "dd.trace_id": TRACE.replace("0", "1"), "error.kind": "BadRow"}]
    )
    view = Watch(agent).look()
    view = type(view)(**{**vars(view), "failure": failure, "traces": last_traces(deep)})
    drawn = lines(view, Ink(False), ["title", "addresses"], height)
    assert len(drawn) <= height
    assert any("failed" in line for line in drawn)
    assert drawn[0].startswith("title")
    assert any(line.startswith("received") for line in drawn)


def test_output_that_is_no_terminal_gets_plain_blocks(agent: LocalAgent) -> None:
    """No escape sequence reaches a file or a pipe."""
    out = io.StringIO()
    with Screen(["title"], out) as screen:
        screen.draw(Watch(agent).look())
    assert "\x1b" not in out.getvalue()
    assert "title" in out.getvalue()


def test_what_did_not_arrive_is_listed_by_name(agent: LocalAgent) -> None:
    """Nothing was sent but one metric: everything else of the catalogue is missing, except what is excused."""
    send(agent, "tasks.started:1|c|#app:a,model:b")
    absent = expected.missing(agent)
    assert f"metric {PREFIX}.tasks.started" not in absent
    assert f"metric {PREFIX}.tasks.completed" in absent
    assert f"metric {PREFIX}.task.memory" not in absent
    assert f"span {catalog.TASK_RUN.name}" in absent
    assert "log: a task's start" in absent


def test_a_gauge_that_stays_up_after_the_end_is_wrong(agent: LocalAgent) -> None:
    """So are tasks and streams whose ends were not counted."""
    send(
        agent,
        "clients.active:1|g|#app:a,model:b,worker:0",
        "tasks.active:2|g|#app:a,model:b,worker:0",
        "tasks.active:0|g|#app:a,model:b,worker:0",
        "tasks.started:2|c|#app:a,model:b",
        "tasks.completed:1|c|#app:a,model:b",
        "streams.opened:1|c|#app:a,model:b,route:/s",
    )
    assert expected.wrong_after_exit(agent) == [
        f"{PREFIX}.clients.active is 1 after every server has stopped, not 0",
        "2 tasks were started, but 1 ended",
        "1 stream was opened, but 0 closed",
    ]


def test_every_excuse_names_something_of_the_catalogue() -> None:
    """A name that was changed or removed must go from the lists too."""
    names = {one.name for one in (*catalog.METRICS, *catalog.SERVICE_CHECKS, *catalog.SPAN_OPERATIONS)}
    assert names >= set(expected.NOT_PRODUCED)
    assert set(catalog.STREAM_OUTCOMES) >= expected.OUTCOMES_NOT_PRODUCED
