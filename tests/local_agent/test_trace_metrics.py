"""Trace metrics: which spans count, in which bucket, with which tags."""

from __future__ import annotations

import pytest
from local_agent_helpers import START, Clock, make_span

from streaming_dd.local_agent.store.aggregate import Aggregator
from streaming_dd.local_agent.store.series import Store
from streaming_dd.local_agent.store.trace_metrics import TraceMetrics, counts, mark_top_level

EVER = (START - 3600, START + 40_000)


@pytest.fixture
def trace_metrics(store: Store, aggregator: Aggregator, clock: Clock) -> TraceMetrics:
    return TraceMetrics(store, aggregator.series_tags, clock=clock)


@pytest.mark.parametrize(
    ("metrics", "meta", "counted"),
    [
        ({}, {}, False),
        ({"_dd.top_level": 1.0}, {}, True),
        ({"_dd.measured": 1.0}, {}, True),
        ({"_dd.measured": 0.0}, {}, False),
        ({}, {"span.kind": "server"}, True),
        ({}, {"span.kind": "CLIENT"}, True),
        ({}, {"span.kind": "producer"}, True),
        ({}, {"span.kind": "consumer"}, True),
        ({}, {"span.kind": "internal"}, False),
        ({"_dd.top_level": 1.0, "_dd.partial_version": 0.0}, {}, False),
    ],
)
def test_only_the_spans_that_the_agent_counts_are_counted(metrics, meta, counted) -> None:
    """Top-level, measured, or of a counted kind; a plain child gives no trace metric."""
    assert counts(make_span(metrics=metrics, meta=meta)) is counted


def test_hits_errors_and_latency_by_operation(trace_metrics, store, clock) -> None:
    """Each operation has hits, errors and a latency distribution in seconds, with the Agent's tags only."""
    meta = {"env": "prod", "version": "1.4", "http.status_code": "503", "model": "Summary"}
    entry = {"_dd.top_level": 1.0}
    trace_metrics.add(
        [
            make_span(name="task.run", resource="reports.Summary", metrics=entry, meta=meta, duration_ns=ns, error=error)
            for ns, error in ((2 * 10**9, 0), (4 * 10**9, 1))
        ]
    )  # fmt: skip
    clock.now += 10
    trace_metrics.flush()
    tags = {
        "service:web", "resource_name:reports.summary", "env:prod", "version:1.4", "http.status_code:503",
        "http.status_class:5xx",
    }  # fmt: skip
    found = {name: store.select(name, None, *EVER)[0] for name in store.names()}
    assert {name: (series.kind, series.values) for name, series in found.items()} == {
        "trace.task.run": ("distribution", [2.0]),
        "trace.task.run.hits": ("count", [2.0]),
        "trace.task.run.hits.by_http_status": ("count", [2.0]),
        "trace.task.run.errors": ("count", [1.0]),
        "trace.task.run.errors.by_http_status": ("count", [1.0]),
        "trace.task.run.duration": ("gauge", [6.0]),
    }
    assert all(series.tags == tags for series in found.values())
    assert (found["trace.task.run"].sketches[0].max, store.units["trace.task.run"]) == (4.0, "second")


def test_a_span_counts_where_it_ended(trace_metrics, store, clock) -> None:
    """A task of 35 s counts in the bucket of its end, and a late span is added to a bucket already written."""
    entry = {"_dd.measured": 1.0}
    clock.now = START + 60
    for _ in range(2):
        trace_metrics.add([make_span(metrics=entry, duration_ns=35 * 10**9)])
        trace_metrics.flush()
    for name in ("trace.web.request.hits", "trace.web.request"):
        (series,) = store.select(name, None, *EVER)
        assert (series.times, series.values) == ([START + 30], [2.0])
    (duration,) = store.select("trace.web.request.duration", None, *EVER)
    assert duration.values == [70.0]


@pytest.mark.parametrize("start_ns", [0, 2**62, (START + 4000) * 10**9, (START - 4000) * 10**9])
def test_a_span_of_an_impossible_time_counts_now(trace_metrics, store, clock, start_ns) -> None:
    """A client whose clock is far off does not spread its spans over years of buckets."""
    clock.now = START + 5
    trace_metrics.add([make_span(metrics={"_dd.top_level": 1.0}, start_ns=start_ns)])
    trace_metrics.flush(everything=True)
    (hits,) = store.select("trace.web.request.hits", None, *EVER)
    assert hits.times == [START]


def test_nothing_is_written_before_the_bucket_is_over(trace_metrics, store, clock) -> None:
    """The open bucket stays open, unless the agent stops."""
    clock.now = START + 5
    trace_metrics.add([make_span(metrics={"_dd.top_level": 1.0})])
    trace_metrics.flush()
    assert list(store.names()) == []
    trace_metrics.flush(everything=True)
    assert "trace.web.request.hits" in store.names()


def test_sampled_spans_weigh_what_they_stand_for(trace_metrics, store, clock) -> None:
    """A client that keeps one span of four says so; hits count four."""
    trace_metrics.add([make_span(metrics={"_dd.top_level": 1.0, "_sample_rate": 0.25}, error=1)])
    trace_metrics.flush(everything=True)
    (hits,) = store.select("trace.web.request.hits", None, *EVER)
    (errors,) = store.select("trace.web.request.errors", None, *EVER)
    assert (hits.values, errors.values) == ([4.0], [4.0])


def test_top_level_is_computed_for_clients_that_do_not() -> None:
    """Roots, spans whose parent is elsewhere, and the first span of another service are top-level."""
    chunk = [
        make_span(span_id="1"),
        make_span(span_id="2", parent_id="1"),
        make_span(span_id="3", parent_id="2", service="db"),
        make_span(span_id="4", parent_id="99"),
    ]
    mark_top_level(chunk)
    assert [span.span_id for span in chunk if span.metrics.get("_dd.top_level")] == ["1", "3", "4"]


def test_a_trace_that_its_user_rejected_is_counted_and_not_kept() -> None:
    """Health checks' spans come with a negative priority: their hits count, their trace is dropped as by the Agent."""
    from streaming_dd.local_agent import LocalAgent

    agent = LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=None)
    with agent.running():
        rejected = make_span(metrics={"_sampling_priority_v1": -1, "_dd.top_level": 1})
        kept = make_span(trace_id=f"{2:032x}", metrics={"_dd.top_level": 1})
        agent._on_loop(lambda: agent.holdings.take_traces([[rejected], [kept]], True))
        rows = agent._on_loop(lambda: agent.holdings.records.select("select trace_id from spans", ()))
        assert len(rows) == 1
