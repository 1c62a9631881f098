"""What the terminal shows, computed from what the agent received: numbers, the last traces, the last error.

State: a `Watch` remembers the last totals, for rates.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from streaming_dd import catalog
from streaming_dd.catalog import Metric
from streaming_dd.local_agent import LocalAgent, Span
from streaming_dd.local_agent.intake.spans import trace_id_of
from streaming_dd.local_agent.store.contexts import Summary
from streaming_dd.local_agent.store.sketch import merged

PREFIX = "streaming"
_OURS = frozenset(operation.name for operation in catalog.SPAN_OPERATIONS)
#: Seconds over which rates are taken.
WINDOW = 10.0
TRACES, CHILDREN = 3, 3
ERROR_LINES = 5


@dataclass(frozen=True)
class TaskRow:
    """One model's tasks since the start."""

    model: str
    started: int
    completed: int
    failed: int
    cancelled: int
    active: int
    p95_ms: float


@dataclass(frozen=True)
class Node:
    """A span in a tree; `linked` if it is the root of a trace of its own, reached by a link."""

    span: Span
    linked: bool
    children: list[Node] = field(default_factory=list)
    #: Children that `last_traces` left out.
    left_out: int = 0

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Node]]:
        """Yield this node and those under it, with their depth."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


@dataclass(frozen=True)
class Failure:
    """An error's log line, and the other lines of the same trace."""

    kind: str
    message: str
    trace_id: str
    lines: list[dict[str, Any]]


@dataclass(frozen=True)
class View:
    """Everything on the terminal."""

    seconds: float
    requests: int
    per_second: float
    errors: int
    error_share: float
    ttfb_p95_ms: float
    slowest: list[tuple[str, float]]
    tasks: list[TaskRow]
    clients: int
    clients_peak: int
    streams_closed: dict[str, int]
    websockets: int
    traces: list[Node]
    failure: Failure | None
    received: dict[str, int]


class Totals:
    """The series of an agent's snapshot, summed by what one asks for."""

    def __init__(self, series: Iterable[Summary]) -> None:
        self._by_name: dict[str, list[tuple[Summary, dict[str, str]]]] = defaultdict(list)
        for one in series:
            tags = dict(tag.partition(":")[::2] for tag in one.tags)
            self._by_name[one.name].append((one, tags))

    def of(self, metric: Metric, **tags: str) -> list[tuple[Summary, dict[str, str]]]:
        """Return the series of a metric that have these tags."""
        series = self._by_name.get(metric.full_name(PREFIX), [])
        return [
            (one, has) for one, has in series if all(has.get(key) == value for key, value in tags.items())
        ]

    def count(self, metric: Metric, **tags: str) -> int:
        """Return a counter's total."""
        return round(sum(one.total for one, _ in self.of(metric, **tags)))

    def now(self, metric: Metric, **tags: str) -> int:
        """Return a gauge's last values, added up over the workers."""
        return round(sum(one.last for one, _ in self.of(metric, **tags)))

    def p95(self, metric: Metric, **tags: str) -> float:
        """Return the 95th percentile of a timer; nan if there is none."""
        sketches = [one.sketch for one, _ in self.of(metric, **tags) if one.sketch is not None]
        return merged(sketches).quantile(0.95) if sketches else float("nan")

    def values(self, metric: Metric, tag: str) -> list[str]:
        """Return the values of a tag."""
        return sorted({tags[tag] for _, tags in self.of(metric) if tag in tags})


class Watch:
    """Looks at an agent, again and again."""

    def __init__(self, agent: LocalAgent) -> None:
        self.agent = agent
        self.began = time.monotonic()
        self._requests: deque[tuple[float, int]] = deque([(self.began, 0)])
        self._most_clients = 0

    def look(self) -> View:
        """Return what there is to see now."""
        totals, now = Totals(self.agent.snapshot()), time.monotonic()
        requests, errors = totals.count(catalog.HTTP_REQUESTS), totals.count(catalog.HTTP_ERRORS)
        clients = totals.now(catalog.CLIENTS_ACTIVE)
        # Between two looks there may have been more: a worker's own peak says so.
        peak = round(max((one.last for one, _ in totals.of(catalog.CLIENTS_WORKER_PEAK)), default=0))
        self._most_clients = max(self._most_clients, clients, peak)
        received = self.agent.received
        spans, logs, came = received.spans, received.logs, self.agent.holdings.totals()
        return View(
            seconds=now - self.began,
            requests=requests,
            per_second=self._rate(now, requests),
            errors=errors,
            error_share=errors / requests if requests else 0.0,
            ttfb_p95_ms=totals.p95(catalog.HTTP_TIME_TO_FIRST_BYTE),
            slowest=slowest_routes(totals),
            tasks=task_rows(totals),
            clients=clients,
            clients_peak=self._most_clients,
            streams_closed={
                outcome: count
                for outcome in catalog.STREAM_OUTCOMES
                if (count := totals.count(catalog.STREAMS_CLOSED, outcome=outcome))
            },
            websockets=totals.now(catalog.WS_ACTIVE),
            traces=last_traces(spans),
            failure=last_failure(logs),
            received={
                "datagrams": self.agent.holdings.aggregator.intake.datagrams,
                "samples": came["samples"],
                "spans": came["spans"],
                "log lines": came["logs"],
                "malformed": self.agent.holdings.aggregator.intake.malformed,
            },
        )

    def _rate(self, now: float, requests: int) -> float:
        self._requests.append((now, requests))
        while len(self._requests) > 2 and self._requests[1][0] <= now - WINDOW:
            self._requests.popleft()
        then, before = self._requests[0]
        return (requests - before) / (now - then) if now > then else 0.0


def task_rows(totals: Totals) -> list[TaskRow]:
    """Return one row a model, by name."""
    return [
        TaskRow(
            model,
            totals.count(catalog.TASKS_STARTED, model=model),
            totals.count(catalog.TASKS_COMPLETED, model=model),
            totals.count(catalog.TASKS_FAILED, model=model),
            totals.count(catalog.TASKS_CANCELLED, model=model),
            totals.now(catalog.TASKS_ACTIVE, model=model),
            totals.p95(catalog.TASK_DURATION, model=model),
        )
        for model in totals.values(catalog.TASKS_STARTED, "model")
    ]


def slowest_routes(totals: Totals, limit: int = 2) -> list[tuple[str, float]]:
    """Return the routes that were slowest to their first byte, with their p95 in milliseconds."""
    routes = totals.values(catalog.HTTP_TIME_TO_FIRST_BYTE, "route")
    times = [(route, totals.p95(catalog.HTTP_TIME_TO_FIRST_BYTE, route=route)) for route in routes]
    return sorted(times, key=lambda item: item[1], reverse=True)[:limit]


def last_traces(spans: list[Span], limit: int = TRACES) -> list[Node]:
    """Return the traces that tell most, the newest first: requests that submitted a task which has ended too.

    A task's root span links to the span that submitted it, and hangs under that here. Where there are too few of
    them, the last other roots follow.
    """
    spans = spans[-5_000:]
    known = {(span.trace_id, span.span_id) for span in spans}
    children: dict[tuple[str, str], list[Span]] = defaultdict(list)
    followers: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for span in spans:
        children[span.trace_id, span.parent_id].append(span)
        if span.name == catalog.TASK_RUN.name:  # a stream links to the task that it watches: not from it
            for link in span.links:
                followers[link.trace_id, link.span_id].append(span)

    def grow(span: Span, linked: bool, seen: frozenset[str]) -> Node:
        here, seen = (span.trace_id, span.span_id), seen | {span.span_id}
        inner = [grow(child, False, seen) for child in children[here] if child.span_id not in seen]
        outer = [grow(other, True, seen) for other in followers[here] if other.span_id not in seen]
        kept = most_telling(inner + outer)
        return Node(span, linked, kept, len(inner) + len(outer) - len(kept))

    roots = [
        span
        for span in spans
        if span.parent_id == "0"
        and not (
            span.name == catalog.TASK_RUN.name
            and any((link.trace_id, link.span_id) in known for link in span.links)
        )
    ]
    trees: list[Node] = []
    plain: list[Node] = []
    for root in sorted(roots, key=lambda span: span.start_ns + span.duration_ns, reverse=True):
        tree = grow(root, False, frozenset())
        complete = any(node.span.name == catalog.TASK_RUN.name for _, node in tree.walk())
        (trees if complete and root.name != catalog.TASK_RUN.name else plain).append(tree)
        if len(trees) == limit:
            break
    return (trees + plain)[:limit]


def most_telling(nodes: list[Node], limit: int = CHILDREN) -> list[Node]:
    """Return at most so many nodes by their start: those first that lead to spans of the catalogue or to failures."""

    def telling(node: Node) -> bool:
        return any(below.span.name in _OURS or below.span.error for _, below in node.walk())

    ranked = sorted(nodes, key=lambda node: (not telling(node), node.span.start_ns))
    return sorted(ranked[:limit], key=lambda node: (node.linked, node.span.start_ns))


def last_failure(logs: list[dict[str, Any]]) -> Failure | None:
    """Return the last error that was logged inside a trace, with the lines of its trace; None if there is none."""
    logs = logs[-5_000:]
    for log in reversed(logs):
        trace_id = trace_id_of(str(log.get("dd.trace_id", "")))
        if log.get("error.kind") and trace_id:
            same = [other for other in logs if trace_id_of(str(other.get("dd.trace_id", ""))) == trace_id]
            return Failure(
                str(log["error.kind"]), str(log.get("error.message", "")), trace_id, same[-ERROR_LINES:]
            )
    return None
