"""The map of services: edges from parents and from links, with the figures of the called side."""

from __future__ import annotations

import pytest
from local_agent_helpers import START, make_span

from streaming_dd.local_agent.intake.spans import SpanLink
from streaming_dd.local_agent.queries import service_map
from streaming_dd.local_agent.store.records import Records
from streaming_dd.local_agent.store.trace_metrics import mark_top_level


@pytest.fixture
def records() -> Records:
    """Twenty requests whose inner span asks a database, and whose task links to it."""
    records = Records()
    for n in range(20):
        trace = f"{n + 1:032x}"
        chunk = [
            make_span(trace_id=trace, span_id="1"),
            make_span(trace_id=trace, span_id="2", parent_id="1"),
            make_span(
                trace_id=trace,
                span_id="3",
                parent_id="2",
                service="db",
                duration_ns=(n + 1) * 10**6,
                error=n < 5,
            ),
        ]
        task = make_span(
            trace_id=f"{n + 101:032x}", span_id="9", links=[SpanLink(trace, "2"), SpanLink("f" * 32, "1")]
        )
        for one in (chunk, [task]):
            mark_top_level(one)
            records.add_spans(one)
    return records


def test_services_are_joined_by_calls_and_links(records: Records) -> None:
    """A child of another service is a call, a link a link, also to the service itself; a link to nothing is none."""
    found = service_map.edges(records, START - 100, START + 20, START + 20)
    call, link = found["edges"]
    assert (call["from"], call["to"], call["kind"], call["calls"], call["errors"]) == (
        "web",
        "db",
        "call",
        20,
        5,
    )
    assert (call["p95"], call["error_rate"], call["per_second"]) == (0.019, 0.25, 1.0)
    assert (link["from"], link["to"], link["kind"], link["calls"]) == ("web", "web", "link", 20)
    assert service_map.edges(records, START + 10, START + 20, START + 20)["edges"] == []


def test_the_newest_are_looked_at_and_it_is_said(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bounds the newest calls count, the busiest edges are shown, and the answer says so."""
    monkeypatch.setattr(service_map, "MAX_SPANS", 7)
    monkeypatch.setattr(service_map, "MAX_EDGES", 1)
    found = service_map.edges(records, START - 100, START + 20, START + 20)
    assert [edge["calls"] for edge in found["edges"]] == [7]
    assert (found["newest_only"], found["left_out"]) == (7, 1)


@pytest.mark.slow
def test_a_trace_of_many_services_is_joined_in_time(records: Records) -> None:
    """10,000 calls in one trace are looked up by their parents' ids, not by going through the trace for each."""
    trace = "a" * 32
    spans = [
        make_span(
            trace_id=trace,
            span_id=str(n + 1),
            parent_id=str(n),
            service=f"s{n % 2}",
            metrics={"_dd.top_level": 1.0},
        )
        for n in range(10_000)
    ]
    records.add_spans(spans)
    plan = " ".join(
        str(row) for row in records.select_tuples(f"EXPLAIN QUERY PLAN {service_map._CALLS}", [0, 2**62, 10])
    )
    assert "spans_in_trace (trace_low=? AND span_id=?)" in plan
    assert service_map.edges(records, START - 100, START + 20, START + 20)["edges"][0]["calls"] >= 4_999
