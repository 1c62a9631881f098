"""Aggregation by the Agent's rules: what each type is flushed as, zero-fill, expiry, and bounds."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_agent_helpers import START, Clock

from streaming_dd.local_agent.store import contexts
from streaming_dd.local_agent.store.aggregate import Aggregator
from streaming_dd.local_agent.store.contexts import HistogramRules
from streaming_dd.local_agent.store.series import Series, Store

EVER = (START - 3600, START + 40_000)


def only(store: Store, metric: str) -> Series:
    """Return the one series of a metric."""
    (series,) = store.select(metric, None, *EVER)
    return series


def points(store: Store, metric: str) -> dict[int, float]:
    series = only(store, metric)
    return dict(zip([time - START for time in series.times], series.values, strict=True))


def run(aggregator: Aggregator, clock: Clock, *steps: tuple[float, bytes]) -> None:
    """Feed datagrams at seconds after START, then close the last bucket."""
    for second, datagram in steps:
        clock.now = START + second
        aggregator.advance()
        aggregator.feed(datagram)
    clock.now = (int(clock.now) // 10 + 1) * 10
    aggregator.advance()


def test_count_is_the_sum_of_the_bucket_corrected_by_the_rate(aggregator, store, clock) -> None:
    """A counter's samples are added, each divided by its sample rate."""
    run(aggregator, clock, (0, b"c:1|c\nc:2:3|c"), (9.9, b"c:1|c|@0.25"), (10, b"c:7|c"))
    assert only(store, "c").kind == "count"
    assert points(store, "c") == {0: 10.0, 10: 7.0}


def test_gauge_keeps_the_last_value_and_ignores_the_rate(aggregator, store, clock) -> None:
    """A gauge's bucket holds what came last; a bucket without a sample has no point."""
    run(aggregator, clock, (0, b"g:1|g"), (5, b"g:5:4|g|@0.1"), (25, b"g:9|g"))
    assert only(store, "g").kind == "gauge"
    assert points(store, "g") == {0: 4.0, 20: 9.0}


def test_set_is_flushed_as_its_cardinality(aggregator, store, clock) -> None:
    """A set counts distinct strings, afresh in each bucket."""
    run(aggregator, clock, (0, b"s:a|s\ns:b|s\ns:a|s"), (12, b"s:a|s"))
    assert only(store, "s").kind == "gauge"
    assert points(store, "s") == {0: 2.0, 10: 1.0}


@pytest.mark.parametrize("kind", ["h", "ms"])
def test_histogram_is_flushed_as_the_agents_aggregates(aggregator, store, clock, kind) -> None:
    """Histograms and timers give max, median, avg and 95percentile as gauges, and count as a count."""
    values = ":".join(str(value) for value in range(1, 21))
    run(aggregator, clock, (0, f"t:{values}|{kind}".encode()))
    flushed = {name: points(store, name)[0] for name in store.names()}
    # median: rank (20-1)//2 = 9 -> 10; 95percentile: rank (95*20-1)//100 = 18 -> 19.
    assert flushed == {"t.max": 20, "t.median": 10, "t.avg": 10.5, "t.95percentile": 19, "t.count": 20}
    assert only(store, "t.count").kind == "count"
    assert {only(store, name).kind for name in store.names() if name != "t.count"} == {"gauge"}


def test_sampled_histogram_weighs_its_samples(aggregator, store, clock) -> None:
    """A sample at rate 0.1 weighs ten in the ranks, in the count and in the average."""
    run(aggregator, clock, (0, b"t:1|h|@0.1\nt:100|h"))
    assert points(store, "t.count") == {0: 11.0}
    assert points(store, "t.median") == {0: 1.0}
    assert points(store, "t.avg") == {0: pytest.approx(110 / 11)}
    assert points(store, "t.max") == {0: 100.0}


def test_histogram_rules_are_settings(store, clock) -> None:
    """The aggregates and percentiles of datadog.yaml decide what a histogram is flushed as."""
    rules = HistogramRules(("min", "sum"), (50, 99))
    run(Aggregator(store, clock=clock, host="", rules=rules), clock, (0, b"t:1:2:3|h"))
    assert list(store.names()) == ["t.50percentile", "t.99percentile", "t.min", "t.sum"]
    assert points(store, "t.sum") == {0: 6.0}


def test_timers_carry_their_unit(aggregator, store, clock) -> None:
    """The Agent attaches milliseconds to `ms`, not to `h`, and not to a count."""
    run(aggregator, clock, (0, b"t:1|ms\nh:1|h"))
    assert store.units == dict.fromkeys(["t.max", "t.median", "t.avg", "t.95percentile"], "millisecond")


def test_distribution_is_kept_as_a_sketch(aggregator, store, clock) -> None:
    """A distribution keeps its whole bucket, so that quantiles of several series are right."""
    run(aggregator, clock, (0, b"d:1:2:3|d|#a:1\nd:10|d|#a:2"), (11, b"d:5|d|@0.5|#a:1"))
    first, second = store.select("d", None, *EVER)
    assert first.kind == second.kind == "distribution"
    assert (first.times, first.values) == ([START, START + 10], [3.0, 2.0])
    assert [sketch.sum for sketch in first.sketches] == [6.0, 10.0]
    assert second.values == [1.0]


def test_counter_is_sent_as_zero_until_it_expires(aggregator, store, clock) -> None:
    """A silent counter is written as 0 for 300 s after its last sample, then not at all."""
    run(aggregator, clock, (4, b"c:1|c\ng:1|g"), (400, b"other:1|c"))
    written = points(store, "c")
    assert written[0] == 1.0
    assert set(written) == set(range(0, 310, 10))
    assert [written[time] for time in written if time] == [0.0] * 30
    assert points(store, "g") == {0: 1.0}


def test_counter_that_comes_back_starts_its_zeros_again(aggregator, store, clock) -> None:
    """After the expiry a new sample opens the series again, as the same series."""
    run(aggregator, clock, (0, b"c:1|c"), (500, b"c:2|c"), (520, b"x:1|g"))
    written = points(store, "c")
    assert written[500] == 2.0
    assert written[510] == 0.0
    assert 400 not in written


def test_timestamped_samples_go_to_their_own_bucket(aggregator, store, clock) -> None:
    """Counts and gauges with `|T` pass by aggregation, without zero-fill."""
    past = START - 95
    run(aggregator, clock, (0, f"c:2|c|T{past}\nc:3|c|T{past}\ng:7|g|T{past}".encode()), (30, b"x:1|g"))
    assert points(store, "c") == {-100: 5.0}
    assert points(store, "g") == {-100: 7.0}


@pytest.mark.parametrize("offset", [-3700, 700])
def test_timestamps_beyond_the_backends_limits_are_malformed(aggregator, store, clock, offset) -> None:
    """More than an hour ago or ten minutes ahead is dropped, counted, and shown."""
    run(aggregator, clock, (0, f"c:2|c|T{START + offset}".encode()))
    assert store.names() == []
    assert aggregator.intake.malformed == 1
    assert "timestamp" in aggregator.intake.malformed_lines[0].reason


@pytest.mark.parametrize("kind", ["ms", "h", "d", "s"])
def test_timestamp_on_what_is_aggregated_is_refused(aggregator, store, clock, kind: str) -> None:
    """Only counts and gauges have timestamps; the Agent discards another type, so it is counted and shown here."""
    run(aggregator, clock, (0, f"t:2|{kind}|T{START - 95}".encode()))
    assert store.names() == []
    assert aggregator.intake.malformed == 1
    assert "timestamp" in aggregator.intake.malformed_lines[0].reason


def test_rate_beside_a_timestamp_scales_nothing(aggregator, store, clock) -> None:
    """A count that was stamped by its client is passed on as it is (5 of `5|c|@0.5|T...`, not 10)."""
    run(aggregator, clock, (0, f"c:5|c|@0.5|T{START - 95}".encode()))
    assert sum(only(store, "c").values) == 5.0


def test_lines_may_end_as_on_windows(aggregator, store, clock) -> None:
    """One carriage return before a line feed, or at the end of a datagram, is none of the line."""
    run(aggregator, clock, (0, b"c:1|c\r\nc:2|c\r\nc:4|c\r"))
    assert points(store, "c") == {0: 7.0}
    assert aggregator.intake.malformed == 0


def test_tags_are_normalized_deduplicated_and_completed(store, clock) -> None:
    """Order, case and doubles make no new series; the agent's tags and host are added, internal ones taken out."""
    aggregator = Aggregator(store, clock=clock, host="laptop", tags=("env:local",))
    run(
        aggregator, clock,
        (0, b"c:1|c|#b:2,A:1,a:1\nc:1|c|#a:1,b:2,dd.internal.card:low\nc:1|c|#a:1,b:2,host:WEB-1"),
    )  # fmt: skip
    found = {series.tags: series.values for series in store.select("c", None, *EVER)}
    assert found == {
        frozenset(("a:1", "b:2", "env:local", "host:laptop")): [2.0],
        frozenset(("a:1", "b:2", "env:local", "host:web-1")): [1.0],
    }


def test_a_bad_line_leaves_its_neighbours_alone(aggregator, store, clock) -> None:
    """In a datagram each line stands for itself; the bad one is counted and shown."""
    run(aggregator, clock, (0, b"c:1|c\nrubbish\n\nc:x|c\nc:nan|c\nc:1|c\n"))
    assert points(store, "c") == {0: 2.0}
    assert aggregator.intake.malformed == 3
    assert [line.line for line in aggregator.intake.malformed_lines] == [b"rubbish", b"c:x|c", b"c:nan|c"]


def test_known_series_do_not_hide_bad_values(aggregator, store, clock) -> None:
    """The fast path for known lines refuses the same values as the first look."""
    run(aggregator, clock, (0, b"c:1|c"), (1, b"c:1_0|c\nc:inf|c\nc:1e999|c\nc:|c\nc:::|c\nc:-|c\nc:2::3|c"))
    assert points(store, "c") == {0: 6.0}
    assert aggregator.intake.malformed == 6


def test_datagram_longer_than_the_agents_buffer_is_cut(aggregator, store, clock) -> None:
    """As in the Agent 8192 bytes of a datagram are read; it is counted as oversized."""
    run(aggregator, clock, (0, b"\n".join([b"c:1|c"] * 2000)))
    assert aggregator.intake.oversized == 1
    assert points(store, "c") == {0: 8192 // 6}


def test_events_and_checks_are_kept_with_their_tags(aggregator, store, clock) -> None:
    """Events and service checks come out of the store with the agent's clock where they bring no time."""
    run(aggregator, clock, (3, b"_e{1,1}:a|b|#X:1\n_sc|db|0|#a:1\n_sc|db|2|#a:1|m:down\n_sc|db|0|#a:2"))
    (event,) = store.events
    assert (event.timestamp, event.event.title, event.tags) == (START + 3, "a", frozenset(("x:1",)))
    first, second = store.checks("db")
    assert [(run.status, run.message) for run in first] == [("ok", ""), ("critical", "down")]
    assert [run.status for run in second] == ["ok"]
    assert store.checks("db", {"a:2"}.issubset) == [second]


@pytest.mark.slow
def test_series_cap_refuses_new_series_and_names_the_metric(clock) -> None:
    """An app that sends 50,000 series fills the store to its limit; the rest is counted by metric."""
    store = Store(clock=clock, max_series=100)
    aggregator = Aggregator(store, clock=clock, host="")
    for i in range(0, 50_000, 100):
        aggregator.feed(b"\n".join(b"boom:1|c|#id:%d" % n for n in range(i, i + 100)))
    aggregator.feed(b"t:1|ms\nboom:1|c|#id:0")
    assert store.series_count == 100
    assert store.rejected == {"boom": 49_900, "t": 1}
    assert aggregator.intake.samples == 50_002
    run(aggregator, clock)
    assert sum(sum(s.values) for s in store.select("boom", None, *EVER)) == 101


@pytest.mark.slow
def test_histogram_of_a_million_samples_stays_bounded_and_right(aggregator, store, clock) -> None:
    """Beyond its limit a histogram joins neighbours: count, avg, max and ranks hold, memory does not grow."""
    tracemalloc.start()
    for start in range(0, 300_000, 1000):
        values = ":".join(str((start + i) * 7919 % 300_000) for i in range(1000))
        aggregator.feed(f"t:{values}|ms".encode())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    run(aggregator, clock)
    assert points(store, "t.count") == {0: 300_000}
    assert points(store, "t.avg")[0] == pytest.approx(149_999.5)
    assert points(store, "t.max") == {0: 299_999}
    assert points(store, "t.median")[0] == pytest.approx(150_000, rel=0.01)
    assert points(store, "t.95percentile")[0] == pytest.approx(285_000, rel=0.01)
    assert peak < 30 * 2**20


def test_clock_that_jumps_back_is_survived(aggregator, store, clock) -> None:
    """A step back closes the open bucket and goes on at the new time; nothing is lost."""
    run(aggregator, clock, (100, b"c:1|c"), (20, b"c:2|c"), (35, b"c:4|c"))
    assert aggregator.intake.clock_steps_back == 1
    assert points(store, "c") == {100: 1.0, 20: 2.0, 30: 4.0}


def test_clock_that_jumps_ahead_costs_no_more_than_the_expiry(aggregator, store, clock) -> None:
    """A laptop that slept a night writes five minutes of zeros, not eight hours."""
    run(aggregator, clock, (0, b"c:1|c"))
    clock.now += 8 * 3600
    closed = aggregator.advance()
    assert len(closed) == 32
    assert len(points(store, "c")) == 6  # five minutes, by the minute since they are hours old


def test_closing_writes_the_open_bucket(aggregator, store, clock) -> None:
    """When the agent stops, what the open bucket holds is not lost."""
    aggregator.feed(b"c:5|c")
    aggregator.close()
    assert points(store, "c") == {0: 5.0}


def test_snapshot_sums_up_since_the_start(aggregator, clock) -> None:
    """A snapshot tells totals, last values and quantiles, the open bucket included, and changes nothing."""
    run(aggregator, clock, (0, b"c:1|c|#a:1\nt:10:20:30|ms\nd:5|d\ng:1|g"), (10, b"c:2|c|#a:1"))
    aggregator.feed(b"c:4|c|#a:1\nt:40|ms\nd:7|d\ng:2|g")
    for _ in range(2):
        found = {summary.name: summary for summary in aggregator.snapshot()}
        assert (found["c"].total, found["c"].tags, found["c"].samples) == (7.0, ("a:1",), 3)
        assert (found["t"].total, found["t"].samples, found["t"].kind) == (100.0, 4, "ms")
        assert found["t"].quantile(1.0) == 40.0
        assert found["d"].quantile(0.0) == 5.0
        assert found["g"].last == 2.0
        assert math.isnan(found["g"].quantile(0.5))


def test_a_summary_outlives_its_series(aggregator, clock) -> None:
    """Totals go on counting when a series fell silent, expired and came back."""
    run(aggregator, clock, (0, b"c:1|c"), (500, b"c:2|c"))
    (summary,) = aggregator.snapshot()
    assert summary.total == 3.0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.integers(0, 3),
            st.lists(st.integers(-1000, 1000), min_size=1, max_size=5),
        ),
        max_size=60,
    )
)
def test_counts_are_conserved_across_buckets_and_series(samples) -> None:
    """Whatever the times and tags, the store's sums are the sums of what was sent."""
    clock = Clock()
    store = Store(clock=clock)
    aggregator = Aggregator(store, clock=clock, host="")
    for second, tag, values in sorted(samples):
        clock.now = START + second
        aggregator.advance()
        packed = ":".join(map(str, values))
        aggregator.feed(f"c:{packed}|c|#t:{tag}\nt:{packed}|h|#t:{tag}\nd:{packed}|d|#t:{tag}".encode())
    aggregator.close()
    for tag in range(4):
        where = {f"t:{tag}"}.issubset
        sent = [value for _, t, values in samples if t == tag for value in values]
        assert sum(sum(s.values) for s in store.select("c", where, *EVER)) == sum(sent)
        assert sum(sum(s.values) for s in store.select("t.count", where, *EVER)) == len(sent)
        sketches = [sketch for s in store.select("d", where, *EVER) for sketch in s.sketches]
        assert sum(sketch.count for sketch in sketches) == len(sent)
        assert sum(sketch.sum for sketch in sketches) == sum(sent)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.sampled_from([1, 5, 50, 75, 95, 99, 100]))
def test_percentiles_are_nearest_ranks(values: list[float], percentile: int) -> None:
    """A histogram's percentiles are samples, at the rank that the Agent's integer division gives."""
    clock = Clock()
    store = Store(clock=clock)
    rules = HistogramRules(("median",), (percentile,))
    aggregator = Aggregator(store, clock=clock, host="", rules=rules)
    for value in values:
        aggregator.feed(f"t:{value!r}|h".encode())
    aggregator.close()
    ordered = sorted(values)
    assert points(store, "t.median") == {0: ordered[(len(values) - 1) // 2]}
    assert points(store, f"t.{percentile}percentile") == {0: ordered[(percentile * len(values) - 1) // 100]}


def test_line_cache_is_bounded(aggregator, monkeypatch) -> None:
    """Lines that never come twice do not fill the memory."""
    monkeypatch.setattr("streaming_dd.local_agent.store.aggregate.MAX_BINDINGS", 50)
    for i in range(500):
        aggregator.feed(b"c:1|c|#a:1|@0.%03d" % (i + 1))
    assert len(aggregator._bound) <= 50


def test_set_is_bounded(aggregator, store, clock, monkeypatch) -> None:
    """A set that gets more distinct strings than its limit reports the limit."""
    monkeypatch.setattr(contexts, "MAX_SAMPLES", 100)
    run(aggregator, clock, *[(0, b"s:%d|s" % i) for i in range(300)])
    assert points(store, "s") == {0: 100.0}
