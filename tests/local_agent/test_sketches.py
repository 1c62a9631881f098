"""Sketches: the Agent's accuracy, whatever the values, and merges in any order."""

from __future__ import annotations

import math

import pytest
from ddsketch import DDSketch
from ddsketch.mapping import LogarithmicMapping
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd.local_agent.store.sketch import ACCURACY, MAX_BINS, Sketch, key_of, merged, value_of

ERROR = ACCURACY * 1.001
values = st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-8)
QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


def sketch_of(numbers: list[float]) -> Sketch:
    sketch = Sketch()
    sketch.add(numbers)
    return sketch


@given(st.lists(values, min_size=1, max_size=300))
def test_quantiles_lie_within_the_accuracy_of_the_sorted_list(numbers: list[float]) -> None:
    """Every quantile is within 1/128 of the value at that rank; count, sum, min and max are exact."""
    sketch, ordered = sketch_of(numbers), sorted(numbers)
    for q in QUANTILES:
        exact = ordered[round(q * (len(ordered) - 1))]
        assert sketch.quantile(q) == pytest.approx(exact, rel=ERROR, abs=1e-9)
    assert (sketch.count, sketch.min, sketch.max) == (len(numbers), ordered[0], ordered[-1])
    assert sketch.sum == pytest.approx(math.fsum(numbers), abs=1e-13 * sum(map(abs, numbers)) + 1e-9)


@given(st.lists(st.lists(values, max_size=50), max_size=6), st.randoms())
def test_merge_order_does_not_matter(parts: list[list[float]], order) -> None:
    """Sketches merged in any order, frozen or not, equal the sketch of all values."""
    sketches = [sketch_of(part) for part in parts]
    mixed = [sketch.freeze() if i % 2 else sketch for i, sketch in enumerate(sketches)]
    order.shuffle(mixed)
    whole, joined = sketch_of([number for part in parts for number in part]), merged(mixed)
    assert joined.bins == whole.bins
    assert (joined.count, joined.min, joined.max) == (whole.count, whole.min, whole.max)


@given(st.lists(values, min_size=1, max_size=100))
def test_freezing_loses_nothing(numbers: list[float]) -> None:
    """A frozen sketch has the bins, count, sum and extremes of the open one."""
    sketch = sketch_of(numbers)
    frozen = sketch.freeze()
    assert dict(frozen.items()) == sketch.bins
    assert (frozen.count, frozen.sum, frozen.min, frozen.max) == (
        sketch.count, sketch.sum, sketch.min, sketch.max,
    )  # fmt: skip


@given(st.floats(1e-8, 1e300))
def test_bins_are_as_fine_as_ddsketch_wants_them(value: float) -> None:
    """A value's bin lies as near as Datadog's own mapping of the same accuracy puts it."""
    mapping = LogarithmicMapping(ACCURACY)
    assert value_of(key_of(value)) == pytest.approx(value, rel=ERROR)
    assert mapping.value(mapping.key(value)) == pytest.approx(value_of(key_of(value)), rel=2 * ERROR)


def test_quantiles_agree_with_datadogs_own_sketch() -> None:
    """On skewed data both sketches give the same quantiles, each within its own error."""
    numbers = [1.0001**i for i in range(100_000)]
    ours, theirs = sketch_of(numbers), DDSketch(ACCURACY)
    for number in numbers:
        theirs.add(number)
    for q in (0.5, 0.9, 0.95, 0.99):
        assert ours.quantile(q) == pytest.approx(theirs.get_quantile_value(q), rel=2 * ERROR)


def test_a_sketch_never_has_more_than_its_bins() -> None:
    """Values over the whole range of floats leave the tails exact and the bins bounded."""
    sketch = Sketch()
    sketch.add(10.0 ** (exponent / 100) for exponent in range(-800, 30_000))
    assert len(sketch.bins) <= MAX_BINS
    assert sum(sketch.bins.values()) == sketch.count == 30_800
    assert sketch.quantile(0.999) == pytest.approx(10.0 ** (29_968 / 100), rel=0.05)


def test_an_empty_sketch_has_no_quantile() -> None:
    """Nothing was seen: the answer is nan, not zero."""
    assert math.isnan(Sketch().quantile(0.5))
    assert math.isnan(Sketch().average)


def test_weight_counts_a_value_several_times() -> None:
    """A sample rate of 0.1 makes a value count ten times."""
    sketch = Sketch()
    sketch.add([5.0], 10)
    sketch.add([1.0])
    assert (sketch.count, sketch.sum) == (11, 51.0)
    assert sketch.quantile(0.5) == pytest.approx(5.0, rel=ERROR)
