"""Metrics: every sample becomes exactly one well-formed value, or a counted drop."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd import catalog, config
from streaming_dd.catalog import Metric
from streaming_dd.errors import MetricError
from streaming_dd.output.metrics import UDP_PAYLOAD, Counter, Metrics, clean_tag, clean_tag_value
from streaming_dd.output.metrics.handles import ShardedCounter

ROWS = Metric("reports.rows", "count", "row", ("kind",), "Rows.")
RENDER = Metric("reports.render", "timer", "millisecond", ("kind",), "Rendering.")
DEPTH = Metric("reports.depth", "gauge", "item", ("kind",), "Depth.")
SIZE = Metric("reports.size", "distribution", "byte", (), "Size.")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(sender: Any, clock: Clock) -> Metrics:
    return Metrics(config.load({"max_series": 20}, environ={}), sender, clock=clock)


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (lambda m: m.counter(ROWS, kind="csv").increment(3), "reports.rows:3|c|#kind:csv"),
        (lambda m: m.counter(ROWS, kind="csv").increment(0.25), "reports.rows:0.25|c|#kind:csv"),
        (lambda m: m.counter(ROWS).increment(), "reports.rows:1|c|#kind:none"),
        (lambda m: m.timing(RENDER, kind="a").record(1.5), "reports.render:1.500|d|#kind:a"),
        (
            lambda m: [m.timing(RENDER, kind="a").record(v) for v in (1, 2)],
            "reports.render:1.000:2.000|d|#kind:a",
        ),
        (lambda m: m.timing(SIZE).record(12), "reports.size:12.000|d"),
        (lambda m: m.gauge(DEPTH, kind="a").set(7), "reports.depth:7|g|#kind:a"),
        (
            lambda m: m.counter(catalog.TASKS_CANCELLED, app="a", model="b").increment(),
            "streaming.tasks.cancelled:1|c|#app:a,model:b",
        ),
        (lambda m: m.gauge(catalog.HTTP_ACTIVE).set(2), "streaming.http.active:2|g|#worker:0"),
    ],
)
def test_a_sample_becomes_this_line(metrics: Metrics, sender: Any, record: Any, line: str) -> None:
    """The byte table of the wire format."""
    record(metrics)
    metrics.flush()
    assert line in sender.lines


def test_timers_become_distributions_by_one_setting(sender: Any) -> None:
    """STREAMING_TIMERS=distribution sends timers as `|d`."""
    metrics = Metrics(config.load({"timers": "distribution"}, environ={}), sender)
    metrics.timing(RENDER, kind="a").record(1)
    metrics.flush()
    assert "reports.render:1.000|d|#kind:a" in sender.lines


def test_without_packing_every_line_has_one_value(sender: Any) -> None:
    """STREAMING_PACKING=false suits receivers older than DogStatsD 1.1."""
    metrics = Metrics(config.load({"packing": False}, environ={}), sender)
    for value in range(500):
        metrics.timing(RENDER).record(value)
    metrics.flush()
    assert [value for value, _ in sender.samples("reports.render")] == [
        f"{value:.3f}" for value in range(500)
    ]


@given(st.lists(st.floats(min_value=0, max_value=1e12), min_size=1, max_size=3000))
def test_no_payload_exceeds_the_limit_and_no_timing_is_lost(sender_class: Any, values: list[float]) -> None:
    """Packing keeps every value, in order, in payloads that fit a datagram."""
    sender = sender_class()
    metrics = Metrics(config.load({}, environ={}), sender)
    for value in values:
        metrics.timing(RENDER, kind="a").record(value)
    metrics.flush()
    assert all(len(payload) <= UDP_PAYLOAD for payload in sender.payloads)
    assert sender.values("reports.render") == [float(f"{value:.3f}") for value in values]


@given(
    st.text(max_size=300)
    | st.integers()
    | st.none()
    | st.floats()
    | st.binary(max_size=20)
    | st.lists(st.integers())
)
def test_any_tag_value_gives_exactly_one_clean_line(sender_class: Any, value: Any) -> None:
    """Whatever is given as a tag value, one line goes out, and nothing in it is a separator."""
    sender = sender_class()
    metrics = Metrics(config.load({}, environ={}), sender)
    handle = metrics.lookup(ROWS, {"kind": value})
    assert handle is not None
    handle.increment(1)  # type: ignore[union-attr]
    metrics.flush()
    samples = sender.samples("reports.rows")
    assert len(samples) == 1
    assert samples[0][0] == "1"
    assert set(samples[0][1]) == {"kind"}


def test_secrets_in_tag_values_are_masked_by_key_and_by_shape(metrics: Metrics, sender: Any) -> None:
    """No secret is a tag's value, whether the tag's name, the value's shape or what is cut off gives it away."""
    logins = Metric(
        "reports.logins", "count", "row", ("k", "url", "long", "password", "token_type"), "Logins."
    )
    handle = metrics.lookup(
        logins,
        {
            "k": "token=hunter2x",
            "url": "http://u:hunter2x@h/",
            "long": f"{'x' * 150} postgres://u:{'hunter2x' * 20}@h/d",
            "password": "hunter2x",
            "token_type": "input",
        },
    )
    assert isinstance(handle, Counter)
    handle.increment()
    metrics.flush()
    ((_, tags),) = sender.samples("reports.logins")
    assert "hunter2x" not in str(tags)
    assert (tags["k"], tags["url"], tags["password"]) == ("token_***", "http://u:***_h/", "***")
    assert tags["token_type"] == "input"
    assert clean_tag("password:hunter2x") == "password:***"


@pytest.mark.parametrize(
    ("given_value", "cleaned"),
    [
        ("u:evil\nadmin:9|c", "u:evil_admin:9_c"),
        ("a|b,c#d", "a_b_c_d"),
        ("/stream/{app}/{id}", "/stream/{app}/{id}"),
        ("naïve", "naïve"),
        ("🔥🔥", "none"),
        ("", "none"),
        ("x" * 10_000, "x" * 200),
        (True, "True"),
        (12, "12"),
    ],
)
def test_tag_values_are_cleaned_as_datadog_would(given_value: object, cleaned: str) -> None:
    """Separators, control characters and emoji become underscores; a value is never empty nor over 200 long."""
    assert clean_tag_value(given_value) == cleaned


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "12", object(), [1]])
def test_a_value_that_is_no_finite_number_is_dropped_and_counted(
    metrics: Metrics, sender: Any, value: Any
) -> None:
    """A bad value never raises, never reaches the wire, and shows in telemetry.samples_dropped."""
    metrics.counter(ROWS).increment(value)
    metrics.gauge(DEPTH).set(value)
    metrics.timing(RENDER).record(value)
    metrics.timing(RENDER).record(5)
    metrics.flush()
    metrics.flush()
    assert sender.values("reports.render") == [5.0]
    assert sender.samples("reports.depth") == []
    assert sender.total("reports.rows") == 0
    assert sender.total("streaming.telemetry.samples_dropped", reason="bad_value") == 3


def test_a_count_cannot_shrink(metrics: Metrics, sender: Any) -> None:
    """A negative increment is dropped and counted."""
    metrics.counter(ROWS).increment(5)
    metrics.counter(ROWS).increment(-3)
    metrics.flush()
    assert sender.total("reports.rows") == 5
    assert metrics.dropped == {"negative_count": 1}


def test_a_name_in_place_of_a_metric_is_told_how_to_make_one(
    metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that the sample is dropped, and what to write."""
    metrics.find("reports.rows")
    assert "'reports.rows' is no Metric" in caplog.text
    assert "make one: dd.Metric(" in caplog.text


def test_a_call_with_an_undeclared_tag_is_dropped_and_counted(metrics: Metrics) -> None:
    """By metric and tags, a misdeclared sample returns no handle, is counted, and raises nothing."""
    assert metrics.lookup(ROWS, {"user_id": 7}) is None
    assert metrics.dropped == {"undeclared": 1}


def test_a_handle_of_the_wrong_kind_is_refused(metrics: Metrics) -> None:
    """Binding a handle is start-up work: a wrong kind or tag raises MetricError."""
    with pytest.raises(MetricError, match="is a timer, not a count"):
        metrics.counter(RENDER)
    with pytest.raises(MetricError, match="'user' is not declared"):
        metrics.counter(ROWS, user=1)


def test_tag_combinations_beyond_the_limit_become_other(metrics: Metrics, sender: Any) -> None:
    """An id used as a tag cannot grow the series without bound; the total stays right."""
    for number in range(100):
        metrics.lookup(ROWS, {"kind": f"user-{number}"}).increment(1)  # type: ignore[union-attr]
    metrics.flush()
    assert sender.total("reports.rows") == 100
    assert len({tags["kind"] for _, tags in sender.samples("reports.rows")}) == 21
    assert sender.total("reports.rows", kind="other") == 80


def test_an_idle_counter_sends_a_zero_every_ten_seconds(metrics: Metrics, sender: Any, clock: Clock) -> None:
    """A monitor can tell 'none' from 'no data'."""
    metrics.counter(ROWS, kind="a")
    for _ in range(4):
        metrics.flush()
        clock.now += 5
    assert [value for value, _ in sender.samples("reports.rows")] == ["0", "0"]


def test_a_gauge_is_sent_again_while_nothing_changes_and_ends_at_zero(metrics: Metrics, sender: Any) -> None:
    """Gauges are re-sent at every flush; the final flush leaves none standing."""
    metrics.gauge(DEPTH, kind="a").set(3)
    metrics.flush()
    metrics.flush()
    metrics.final_flush()
    assert [value for value, _ in sender.samples("reports.depth")] == ["3", "3", "0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "has_lock", [True, False], ids=["with the interpreter's lock", "free-threaded, simulated"]
)
def test_counting_from_eight_threads_loses_nothing(
    has_lock: bool, metrics: Metrics, sender: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight threads, 20,000 increments and timings each, with flushes in between: the sums are exact."""
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: has_lock, raising=False)
    counter, timing = metrics.counter(ROWS, kind="a"), metrics.timing(RENDER, kind="a")
    assert (type(counter) is Counter) == has_lock

    def work() -> None:
        for _ in range(10_000):
            counter.increment()
            timing.record(1)
            counter.total += 1  # as those do that cannot afford the call
            timing.record(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.flush()
    for thread in threads:
        thread.join()
    metrics.flush()
    assert sender.total("reports.rows") == 160_000
    assert len(sender.values("reports.render")) == 160_000


def test_a_thread_that_is_held_between_reading_and_writing_loses_nothing() -> None:
    """Without the interpreter's lock another thread adds while `total += 1` is half done: both are counted."""
    counter = ShardedCounter(None, ROWS, (), b"")  # type: ignore[arg-type]
    counter.increment(5)
    half = counter.total
    other = threading.Thread(target=counter.increment, args=(10,))
    other.start()
    other.join()
    counter.total = half + 1
    assert counter.total == 16
    counter.total = 20
    assert counter.total == 20


@pytest.mark.slow
def test_hundred_thousand_samples_need_few_datagrams(metrics: Metrics, sender: Any) -> None:
    """At most 10 datagrams for 100,000 increments, 800 for 100,000 timings, none sampled away."""
    for _ in range(100_000):
        metrics.counter(ROWS).increment()
    metrics.flush()
    assert len(sender.payloads) <= 10
    sender.payloads.clear()
    timing = metrics.timing(RENDER)
    for number in range(100_000):
        timing.record(number / 7)
    metrics.flush()
    assert len(sender.payloads) <= 800
    assert len(sender.values("reports.render")) == 100_000


def test_what_an_absent_agent_did_not_take_is_sent_later(metrics: Metrics, sender: Any) -> None:
    """Payloads that could not be sent wait, bounded, for the next flush; nothing is counted twice."""
    sender.working = False
    metrics.counter(ROWS).increment(5)
    metrics.flush()
    metrics.counter(ROWS).increment(2)
    metrics.flush()
    sender.working = True
    metrics.flush()
    assert sender.total("reports.rows") == 7


def test_a_broken_gauge_source_does_not_stop_the_others(metrics: Metrics, sender: Any) -> None:
    """A gauge that cannot be read is counted as a drop; the rest of the flush goes on."""

    def broken() -> Any:
        raise RuntimeError("no")

    metrics.add_gauges(broken)
    metrics.counter(ROWS).increment()
    metrics.flush()
    assert sender.total("reports.rows") == 1
    assert metrics.dropped == {"gauge_source": 1}


def test_a_forked_child_sends_only_its_own(metrics: Metrics, sender: Any) -> None:
    """What the parent had recorded before the fork is the parent's to send."""
    metrics.counter(ROWS).increment(5)
    metrics.timing(RENDER).record(5)
    metrics.after_fork()
    metrics.counter(ROWS).increment(1)
    metrics.flush()
    assert sender.total("reports.rows") == 1
    assert sender.values("reports.render") == []


def test_a_metric_named_like_the_catalogues_is_said(
    metrics: Metrics, sender: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An application's own metric below the prefix is sent as it is, and said once: it may be taken for ours."""
    for kind in ("csv", "pdf"):
        metrics.lookup(Metric("streaming.rows", "count", tags=("kind",)), {"kind": kind})
    metrics.lookup(ROWS, {"kind": "csv"})
    assert caplog.text.count("streaming.rows of the application is named like this package's own") == 1
