"""The metric store: ranges, resolutions, ageing and bounds."""

from __future__ import annotations

import pytest
from local_agent_helpers import START, Clock

from streaming_dd.local_agent.store.series import Store
from streaming_dd.local_agent.store.sketch import Sketch, merged

NO_TAGS: frozenset[str] = frozenset()


def sketch(*values: float) -> Sketch:
    made = Sketch()
    made.add(values)
    return made


def test_select_takes_start_and_leaves_end(store: Store) -> None:
    """A range is `start <= t < end`, across hours."""
    for time in range(START - 3600, START + 3600, 10):
        store.put("c", NO_TAGS, "count", time, time)
    (series,) = store.select("c", None, START - 20, START + 20)
    assert series.times == [START - 20, START - 10, START, START + 10]
    assert series.values == series.times
    assert series.interval == 10
    (series,) = store.select("c", None, START - 20.5, START + 10.5)
    assert series.times[0] == START - 20
    assert series.times[-1] == START + 10


def test_select_by_tags_and_leaves_out_what_has_no_points(store: Store) -> None:
    """Only series whose tags satisfy the predicate and that have points in the range are returned."""
    store.put("c", frozenset(("a:1", "b:1")), "count", START, 1)
    store.put("c", frozenset(("a:2",)), "count", START, 2)
    store.put("c", frozenset(("a:1",)), "count", START - 500, 3)
    found = store.select("c", {"a:1"}.issubset, START, START + 10)
    assert [(series.tags, series.values) for series in found] == [(frozenset(("a:1", "b:1")), [1.0])]
    assert store.select("nobody.sent.this", None, 0, START) == []


def test_counts_add_up_and_gauges_replace(store: Store) -> None:
    """A second write to a bucket adds to a count and replaces a gauge."""
    for kind in ("count", "gauge"):
        store.put(kind, NO_TAGS, kind, START, 1)
        store.put(kind, NO_TAGS, kind, START, 2)
    assert store.select("count", None, START, START + 1)[0].values == [3.0]
    assert store.select("gauge", None, START, START + 1)[0].values == [2.0]


def test_old_points_are_kept_by_the_minute(store: Store, clock: Clock) -> None:
    """Beyond four hours counts are summed and gauges averaged by minute, also where both resolutions meet."""
    for time in range(START, START + 120, 10):
        store.put("c", NO_TAGS, "count", time, 1)
        store.put("g", NO_TAGS, "gauge", time, time % 60)
    clock.now = START + 6 * 3600
    store.put("c", NO_TAGS, "count", int(clock.now), 5)
    store.age()
    (count,) = store.select("c", None, START - 3600, clock.now + 10)
    assert count.interval == 60
    assert sum(count.values) == 17
    assert all(time % 60 == 0 for time in count.times)
    (gauge,) = store.select("g", None, START, START + 120)
    assert gauge.interval == 60
    assert 25.0 in gauge.values


def test_nothing_is_kept_beyond_a_day(store: Store, clock: Clock) -> None:
    """A series whose last point is older than 24 hours is forgotten, and makes room."""
    store.put("c", NO_TAGS, "count", START, 1)
    store.put_sketch("d", NO_TAGS, START, sketch(1, 2))
    clock.now = START + 26 * 3600
    store.age()
    assert (list(store.names()), store.series_count, store.bins) == ([], 0, 0)


def test_old_sketches_are_merged_by_the_minute_and_lose_nothing(store: Store, clock: Clock) -> None:
    """After 15 minutes six buckets become one; count, sum and quantiles stay."""
    for i in range(12):
        store.put_sketch("d", NO_TAGS, START + 40 + 10 * i, sketch(i, i + 100))
    before = merged(store.select("d", None, START, START + 600)[0].sketches)
    bins = store.bins
    clock.now = START + 1800
    store.age()
    (series,) = store.select("d", None, START, START + 600)
    assert len(series.times) == 2
    after = merged(series.sketches)
    assert (after.bins, after.count, after.sum) == (before.bins, before.count, before.sum)
    assert store.bins == sum(len(part.keys) for part in series.sketches) <= bins


def test_sketches_are_bounded_by_their_bins(clock: Clock) -> None:
    """When all sketches together have too many bins the oldest go."""
    store = Store(clock=clock, max_bins=1000)
    for minute in range(60):
        store.put_sketch("d", NO_TAGS, START + 60 * minute, sketch(*(1.1**i for i in range(100))))
    clock.now = START + 3600
    store.age()
    assert store.bins <= 1000
    (series,) = store.select("d", None, START, START + 4000)
    assert series.times[-1] == START + 59 * 60


def test_full_store_refuses_and_counts(clock: Clock) -> None:
    """Beyond `max_series` new series are refused; known ones go on."""
    store = Store(clock=clock, max_series=1)
    assert store.put("a", NO_TAGS, "count", START, 1)
    assert not store.put("b", NO_TAGS, "count", START, 1)
    assert not store.put_sketch("b", NO_TAGS, START, sketch(1))
    assert store.put("a", NO_TAGS, "count", START, 1)
    assert store.rejected == {"b": 2}
    assert list(store.names()) == ["a"]


def test_metrics_tell_kinds_cardinality_and_last_value(store: Store) -> None:
    """A metric's info names its kinds, series, values per tag key, and what came last."""
    store.put("m", frozenset(("a:1", "b:1")), "count", START, 1)
    store.put("m", frozenset(("a:2", "b:1", "flag")), "count", START + 10, 7)
    store.put("m", frozenset(("a:2",)), "gauge", START, 3)
    (info,) = store.metrics()
    assert (info.name, info.kinds, info.series) == ("m", ["count", "gauge"], 3)
    assert info.tags == {"a": 2, "b": 1, "flag": 1}
    assert (info.last_time, info.last_value) == (START + 10, 7.0)
    assert store.metric("other") is None
    assert store.tag_values()["a"] == {"1", "2"}


def test_many_series_are_shrunk_a_part_at_a_time(store: Store, clock: Clock, monkeypatch) -> None:
    """Shrinking does not hold up the intake: it goes on with each call, and answers are right meanwhile."""
    monkeypatch.setattr("streaming_dd.local_agent.store.series.AGED_AT_ONCE", 3)
    for number in range(10):
        store.put(f"c{number}", NO_TAGS, "count", START, number)
        store.put(f"c{number}", NO_TAGS, "count", START + 10, 1)
    clock.now = START + 6 * 3600
    for calls in range(1, 5):
        store.age()
        assert sum(not one.fine for one in store.all()) == min(10, 3 * calls)
        values = [store.select(f"c{n}", None, START - 60, START + 60)[0].values for n in range(10)]
        assert values == [[n + 1.0] for n in range(10)]  # both points lie in the same minute


@pytest.mark.parametrize("hours", [1, 4, 24])
def test_memory_of_a_series_is_bounded(store: Store, clock: Clock, hours: int) -> None:
    """A series that gets a point every 10 s holds at most five hours of them, and 24 h of minutes."""
    for time in range(START, START + hours * 3600, 10):
        if time % 3600 == 0:
            clock.now = time
            store.age()
        store.put("c", NO_TAGS, "count", time, 1)
    recorded = store.series("c", NO_TAGS, "count")
    assert recorded is not None
    assert len(recorded.fine) <= 6
    assert len(recorded.coarse) <= 25
    clock.now = START + hours * 3600
    (series,) = store.select("c", None, START, clock.now)
    assert sum(series.values) == pytest.approx(hours * 360, abs=360)
