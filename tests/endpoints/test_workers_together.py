"""The numbers of several workers in one: whatever they count, in whatever order, the sum is the sum."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming_dd import Metric, MetricError, recorder
from streaming_dd.endpoints.workers import Series, Total
from streaming_dd.endpoints.workers.state import State
from streaming_dd.endpoints.workers.totals import Places, merged

Configure = Callable[..., recorder.Recorder]

ROWS = Metric("t.rows", "count", tags=("kind",))
OPEN = Metric("t.open", "gauge", tags=("kind",))
WORST = Metric("t.worst", "gauge", tags=("kind",), across="max")
EACH = Metric("t.each", "gauge", tags=("kind",), across="worker")
TOOK = Metric("t.took", "timer", tags=("kind",))
BOUNDS = (1.0, 10.0)

KINDS = st.sampled_from(["a", "b", "c", "ü", "x.y"])
NUMBERS = st.dictionaries(KINDS, st.integers(0, 1000), max_size=5)
WORKERS = st.lists(st.tuples(NUMBERS, NUMBERS, st.booleans()), min_size=1, max_size=6)


@pytest.fixture
def state(configure: Configure) -> Callable[..., State]:
    """Return the state of a worker that counted so."""

    def make(counts: dict[str, float], levels: dict[str, int] | None = None, slot: str = "0") -> State:
        seen = configure(metrics_enabled=False)
        seen.metrics.set_worker(slot)
        series = Series(seen)
        series.observe(lambda metric: (BOUNDS, 1.0))
        for kind, number in counts.items():
            seen.metrics.counter(ROWS, kind=kind).increment(number)
            seen.metrics.timing(TOOK, kind=kind).record(number)
        for kind, number in (levels or {}).items():
            for metric in (OPEN, WORST, EACH):
                seen.metrics.gauge(metric, kind=kind).set(number)
        seen.metrics.flush()
        return series.state(last=False)

    return make


def counted(total: Total, name: str) -> dict[tuple[str, ...], list[float]]:
    return {point.values: values for point, values in total.points() if point.name.name == name}


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(workers=WORKERS)
def test_the_sum_is_the_sum(workers: Any, state: Callable[..., State]) -> None:
    """Counts, buckets and sums of all, also of those that have ended and were merged; gauges of those that live, by
    their rule."""
    places = Places()
    total = Total(places)
    ended: list[bytes] = []
    rows: Counter[tuple[str, ...]] = Counter()
    took: dict[tuple[str, ...], list[int]] = {}
    open_now: Counter[tuple[str, ...]] = Counter()
    worst: dict[tuple[str, ...], int] = {}
    for slot, (counts, levels, alive) in enumerate(workers):
        data = state(counts, levels, str(slot)).encode()
        for kind, number in counts.items():
            rows[kind,] += number
            took.setdefault((kind,), []).append(number)
        if not alive:
            ended.append(data)
            continue
        total.add(State.decode(data))
        for kind, level in levels.items():
            open_now[kind,] += level
            worst[kind,] = max(worst.get((kind,), level), level)
    if ended:
        half = len(ended) // 2
        whole = merged(
            [merged(ended[:half]), *ended[half:]] if half else ended
        )  # as burials come, one by one
        total.add(State.decode(whole), ended=True)
    assert counted(total, "t.rows") == {kind: [number] for kind, number in rows.items()}
    assert counted(total, "t.took") == {
        kind: [
            sum(value <= 1 for value in values),
            sum(1 < value <= 10 for value in values),
            sum(value > 10 for value in values),
            sum(values),
        ]
        for kind, values in took.items()
    }
    gauges = {(point.name.name, point.values, point.worker): value for point, value in total.gauges.items()}
    assert {key[1]: value for key, value in gauges.items() if key[0] == "t.open"} == dict(open_now)
    assert {key[1]: value for key, value in gauges.items() if key[0] == "t.worst"} == worst
    each = {
        ((kind,), str(slot)): level
        for slot, (_, levels, alive) in enumerate(workers)
        if alive
        for kind, level in levels.items()
    }
    assert {key[1:]: value for key, value in gauges.items() if key[0] == "t.each"} == each


@pytest.mark.parametrize("alike", [True, False], ids=["of the same series", "of other series"])
def test_every_worker_comes_to_the_same_sum(alike: bool, state: Callable[..., State]) -> None:
    """Each begins with its own numbers; decimals added up in another order are another number, which would be a reset."""
    numbers = [0.1, 0.2, 0.3, 0.7]
    states = [
        state({"a": number, **({} if alike else {f"only {slot}": 1})}) for slot, number in enumerate(numbers)
    ]
    assert len({sum(order) for order in permutations(numbers)}) > 1
    told = set()
    for order in permutations(states):
        total = Total(Places())
        for one in order:
            total.add(one)
        told.add((*counted(total, "t.rows")["a",], counted(total, "t.took")["a",][-1]))
    assert len(told) == 1


def test_a_state_without_what_it_declares(state: Callable[..., State]) -> None:
    """What is known by its mark need not be sent again; what is not known is an error, and no sum."""
    first = state({"a": 3})
    places = Places()
    bare = State(first.about, first.mark, b"", first.sums, first.gauges)
    with pytest.raises(ValueError, match="not known"):
        Total(places).add(bare)
    Total(places).add(first)
    assert places.known() == [first.mark]
    total = Total(places)
    total.add(bare)
    assert counted(total, "t.rows") == {("a",): [3]}


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(at=st.integers(0, 400), byte=st.integers(0, 255), cut=st.booleans())
def test_a_broken_state_is_a_value_error(at: int, byte: int, cut: bool, state: Callable[..., State]) -> None:
    """Half a file, or one with a wrong byte, is read or refused; nothing else is raised."""
    data = bytearray(state({"a": 3, "b": 4}, {"a": 1}).encode())
    at %= len(data)
    if cut:
        del data[at:]
    else:
        data[at] = byte
    try:
        total = Total(Places())
        total.add(State.decode(bytes(data)))
        list(total.points())
    except ValueError:
        pass


def test_another_version_is_not_added(state: Callable[..., State], caplog: pytest.LogCaptureFixture) -> None:
    """A worker of another version is left out of the sum of the dead, and that is said."""
    good, other = state({"a": 3}).encode(), state({"a": 4}).encode().replace(b'"v":1', b'"v":9')
    with pytest.raises(ValueError, match="another version"):
        State.decode(other)
    total = Total(Places())
    total.add(State.decode(merged([good, other, b"", struct.pack("<4I", 1, 2, 3, 4)])), ended=True)
    assert counted(total, "t.rows") == {("a",): [3]}
    assert "are lost: speaks another version" in caplog.text


def test_how_a_gauge_is_read_is_checked() -> None:
    """A rule that is none is an error where the metric is declared."""
    with pytest.raises(MetricError, match="sum, max, worker"):
        Metric("t.open", "gauge", across="mean")  # type: ignore[arg-type]
