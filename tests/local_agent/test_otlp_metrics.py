"""OTLP metrics: opentelemetry's own messages over HTTP to a real agent, and what its store has then."""

from __future__ import annotations

import json
import math
from contextlib import suppress

import httpx
import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from local_agent_helpers import START, Clock
from test_otlp_traces import attributes

from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.intake.otlp import metrics as otlp_metrics
from streaming_dd.local_agent.intake.otlp import protobuf
from streaming_dd.local_agent.intake.otlp.metrics import Reading
from streaming_dd.local_agent.store import timed_points
from streaming_dd.local_agent.store.timed_points import TimedPoints

metrics_service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
from opentelemetry.proto.metrics.v1.metrics_pb2 import (  # noqa: E402
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    Summary,
)  # fmt: skip
from opentelemetry.proto.resource.v1.resource_pb2 import Resource  # noqa: E402

NS = 10**9
RESOURCE = {"service__name": "reports", "deployment__environment": "prod", "service__version": "1.4"}
RESOURCE_TAGS = {"service:reports", "env:prod", "version:1.4"}
DELTA, CUMULATIVE = 1, 2


def request(*metrics: Metric, **resource: object):
    return metrics_service.ExportMetricsServiceRequest(
        resource_metrics=[
            ResourceMetrics(
                resource=Resource(attributes=attributes(**(resource or RESOURCE))),
                scope_metrics=[ScopeMetrics(metrics=metrics)],
            )
        ]
    )


def number(value: float, at: int = START, since: int = START, **tags: object) -> NumberDataPoint:
    held = {"as_int": value} if isinstance(value, int) else {"as_double": value}
    return NumberDataPoint(
        time_unix_nano=at * NS, start_time_unix_nano=since * NS, attributes=attributes(**tags), **held
    )


def total(name: str, *points: NumberDataPoint, temporality: int, monotonic: bool = True) -> Metric:
    return Metric(
        name=name,
        sum=Sum(data_points=points, aggregation_temporality=temporality, is_monotonic=monotonic),
    )


@pytest.fixture
def agent(run_agent, clock: Clock) -> LocalAgent:
    return run_agent(clock=clock, hostname="")


def post(agent: LocalAgent, message: object) -> httpx.Response:
    return httpx.post(
        f"http://127.0.0.1:{agent.trace_port}/v1/metrics",
        content=message.SerializeToString(),
        headers={"content-type": "application/x-protobuf"},
        timeout=60,
    )


def arrived(agent: LocalAgent) -> list[tuple]:
    return [(s.name, s.kind, s.values) for s in agent.received.metrics]


def test_every_kind_is_in_the_store_under_its_name_and_tags(agent) -> None:
    """Sums are counts, gauges gauges, histograms distributions; `|` in a name or tag separates nothing."""
    histogram = HistogramDataPoint(
        time_unix_nano=START * NS, count=4, sum=10.0, bucket_counts=[1, 2, 1], explicit_bounds=[1, 3],
        min=0.5, max=5.0,
    )  # fmt: skip
    answer = post(
        agent,
        request(
            total("jobs|done", number(3, route="a|b"), temporality=DELTA),
            Metric(name="queue.depth", gauge=Gauge(data_points=[number(7.5)])),
            total("workers", number(-2), temporality=CUMULATIVE, monotonic=False),
            Metric(name="took", histogram=Histogram(data_points=[histogram], aggregation_temporality=DELTA)),
        ),
    )
    assert (answer.status_code, answer.content) == (200, b"")
    kept = {
        name: (tags, kind, recorded)
        for name, series in agent.holdings.store._metrics.items()
        for (tags, kind), recorded in series.items()
    }
    assert {name: kind for name, (_, kind, _) in kept.items()} == {
        "jobs_done": "count", "queue.depth": "gauge", "workers": "gauge", "took": "distribution",
    }  # fmt: skip
    assert kept["jobs_done"][0] == RESOURCE_TAGS | {"route:a_b"}
    assert kept["took"][0] == RESOURCE_TAGS
    assert arrived(agent) == [
        ("jobs|done", "c", (3.0,)), ("queue.depth", "g", (7.5,)), ("workers", "g", (-2.0,)),
        ("took", "d", (0.75, 2.0, 4.0)),
    ]  # fmt: skip


def test_cumulative_sums_count_what_is_new(agent, clock) -> None:
    """The first value counts if it began after the agent; one that fell or started again counts whole."""
    steps = [(5, START, 5.0), (5, START, 0.0), (9, START, 4.0), (2, START, 2.0), (30, START + 8, 30.0)]
    for second, (value, since, _) in enumerate(steps):
        clock.now = START + 10 + second
        post(agent, request(total("n", number(value, int(clock.now), since), temporality=CUMULATIVE)))
    assert [values for _, _, (values,) in arrived(agent)] == [expected for _, _, expected in steps]


def test_workers_of_one_service_are_counted_apart(agent) -> None:
    """Two processes with the same tags do not take each other's values for their own that fell."""
    for at, values in ((START, (10, 100)), (START + 1, (11, 105))):
        for worker, value in enumerate(values):
            counted = total("n", number(value, at), temporality=CUMULATIVE)
            post(agent, request(counted, service__name="web", service__instance__id=f"w{worker}"))
    assert [value for _, _, (value,) in arrived(agent)] == [10.0, 100.0, 1.0, 5.0]


def test_first_value_of_an_older_process_counts_nothing(agent) -> None:
    """What a process counted before the agent was there is not of now."""
    old = number(1_000_000, START, START - 600)
    post(agent, request(total("n", old, temporality=CUMULATIVE)))
    assert arrived(agent) == []
    post(agent, request(total("n", number(1_000_003, START + 1, START - 600), temporality=CUMULATIVE)))
    assert arrived(agent) == [("n", "c", (3.0,))]


def test_cumulative_histograms_give_the_new_samples(agent) -> None:
    """Bucket by bucket, with the exact count and sum; with no bounds at all the average stands for them."""
    for at, counts, sums in ((START, [1, 1], 3.0), (START + 1, [1, 4], 12.0)):
        points = [
            HistogramDataPoint(
                time_unix_nano=at * NS, start_time_unix_nano=START * NS, count=sum(counts), sum=sums, **more
            )
            for more in (
                {"bucket_counts": counts, "explicit_bounds": [2.0]},
                {"attributes": attributes(a="b")},
            )
        ]
        histogram = Histogram(data_points=points, aggregation_temporality=CUMULATIVE)
        post(agent, request(Metric(name="took", histogram=histogram)))
    by_tags = {
        len(tags): next(iter(recorded.sketches.values()))
        for (tags, _), recorded in agent.holdings.store._metrics["took"].items()
    }
    assert [(s.count, s.sum) for s in by_tags.values()] == [(5, 12.0), (5, 12.0)]
    assert arrived(agent)[-1][2] == (3.0,)


def test_exponential_histograms_lie_within_their_buckets(agent) -> None:
    """Positive, negative and zero; cumulative ones are passed over and counted."""
    point = ExponentialHistogramDataPoint(
        time_unix_nano=START * NS, count=6, sum=1.0, scale=0, zero_count=1,
        positive=ExponentialHistogramDataPoint.Buckets(offset=1, bucket_counts=[2, 0, 300]),
        negative=ExponentialHistogramDataPoint.Buckets(offset=-1, bucket_counts=[1]),
    )  # fmt: skip
    for temporality in (DELTA, CUMULATIVE):
        histogram = ExponentialHistogram(data_points=[point], aggregation_temporality=temporality)
        assert post(agent, request(Metric(name="e", exponential_histogram=histogram))).status_code == 200
    ((_, _, values),) = arrived(agent)
    assert values == pytest.approx((0.0, -(2**-0.5), 2**1.5, 2**3.5))
    assert agent.holdings.trace_api.put_right == {"otlp_exponential_cumulative": 1}


def test_what_cannot_be_kept_is_passed_over_and_counted(agent) -> None:
    """Values that are no number, summaries, old points: the others of the request are kept."""
    message = request(
        Metric(name="g", gauge=Gauge(data_points=[number(math.nan), number(math.inf), number(1.0)])),
        Metric(name="s", summary=Summary()),
        Metric(name="old", gauge=Gauge(data_points=[number(1.0, START - 4000)])),
        Metric(name="none", gauge=Gauge(data_points=[NumberDataPoint(time_unix_nano=START * NS, flags=1)])),
    )
    assert post(agent, message).status_code == 200
    assert arrived(agent) == [("g", "g", (1.0,))]
    assert agent.holdings.trace_api.put_right == {
        "otlp_value_not_finite": 2, "otlp_metric_unsupported": 1, "otlp_time_out_of_range": 1,
    }  # fmt: skip


def test_json_and_protobuf_give_the_same_readings() -> None:
    """Numbers of 64 bits are text in JSON."""
    point = HistogramDataPoint(
        time_unix_nano=START * NS, count=3, sum=4.0, bucket_counts=[1, 2], explicit_bounds=[1.0], attributes=attributes(a=1)
    )  # fmt: skip
    message = request(
        total("n", number(3), number(0.5), temporality=DELTA),
        Metric(name="h", histogram=Histogram(data_points=[point], aggregation_temporality=CUMULATIVE)),
    )
    as_json = MessageToDict(message, use_integers_for_enums=True)
    notes: list[str] = []
    from_json = otlp_metrics.decode(json.dumps(as_json).encode(), "application/json", notes.append)
    assert from_json == otlp_metrics.decode(message.SerializeToString(), "", notes.append)
    assert len(from_json) == 3
    assert notes == []


def _json(**point: object) -> bytes:
    histogram = {"dataPoints": [point], "aggregationTemporality": 1}
    return json.dumps(
        {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "h", "histogram": histogram}]}]}]}
    ).encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[]", 400),
        (b'{"resourceMetrics": 5}', 400),
        (b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"gauge": {}}]}]}]}', 400),
        (b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": 5, "gauge": {}}]}]}]}', 400),
        (_json(count=1, bucketCounts=[1, 2], explicitBounds=[1]), 400),
        (_json(count=1, bucketCounts=[1], explicitBounds=[1]), 400),
        (_json(count=2, bucketCounts=[1, 1, 0], explicitBounds=[2, 1]), 400),
        (_json(count=-1), 400),
        (_json(count=2**60), 400),
        (_json(count="x"), 400),
        (_json(count=0, timeUnixNano=10**40), 400),
        (_json(count=0, attributes=[{"key": 5}]), 400),
        (_json(count=0, bucketCounts=[0] * 1001, explicitBounds=list(range(1000))), 413),
        (_json(count=0, attributes=[{"key": f"k{n}"} for n in range(101)]), 413),
        (b'{"x": [' + b"1," * 4_100_000 + b"1]}", 413),
    ],
)
def test_what_is_no_request_is_refused_and_counted(agent, body: bytes, status: int) -> None:
    """Missing fields, wrong types and absurd sizes: nothing of such a request is kept."""
    url = f"http://127.0.0.1:{agent.trace_port}/v1/metrics"
    answer = httpx.post(url, content=body, headers={"content-type": "application/json"}, timeout=60)
    assert answer.status_code == status, answer.text
    assert agent.holdings.trace_api.rejected == {"/v1/metrics": 1}
    assert arrived(agent) == []


@given(st.binary(max_size=300), st.sampled_from(["application/json", "application/x-protobuf"]))
def test_any_bytes_are_metrics_or_raise_value_error(body: bytes, content_type: str) -> None:
    """No body makes the decoder fail in another way."""
    with suppress(ValueError):
        assert isinstance(otlp_metrics.decode(body, content_type, lambda reason: None), list)


def test_packed_numbers_are_bounded() -> None:
    """Eight million buckets of one byte are refused before they are objects."""
    body = b"\x12" + b"\x80\x92\xf4\x01" + b"\1" * 4_000_000
    with pytest.raises(protobuf.TooMany):
        protobuf.decode(body, "Buckets")


def test_last_values_are_bounded(aggregator, monkeypatch) -> None:
    """Of too many series the longest silent is forgotten: its next value begins anew."""
    monkeypatch.setattr(timed_points, "MAX_LAST_VALUES", 2)
    points = TimedPoints(aggregator, note=lambda reason: None)
    for name in ("a", "b", "c"):
        points.take([Reading(name, "count", (), "", START, START - 9, 1.0, cumulative=True)])
    assert len(points._last) == 2
    points.take(
        [Reading(name, "count", (), "", START + 1, START - 9, 3.0, cumulative=True) for name in "abc"]
    )
    assert aggregator.intake.samples == 0


def test_late_and_repeated_readings_do_not_count_twice(aggregator) -> None:
    """A reading that is older than the last one is counted as such, and changes nothing."""
    notes: list[str] = []
    points = TimedPoints(aggregator, note=notes.append)
    for at, value in ((START + 5, 4.0), (START + 2, 1.0), (START + 6, 6.0)):
        points.take([Reading("n", "count", (), "", at, START, value, cumulative=True)])
    assert notes == ["otlp_out_of_order"]
    assert aggregator.intake.samples == 2
