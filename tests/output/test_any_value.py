"""Whatever is given as a value or as a tag: the application sees nothing, and everything else arrives."""

from __future__ import annotations

import decimal
import enum
import fractions
import weakref
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streaming_dd as dd
from streaming_dd import config, recorder
from streaming_dd.output import notices
from streaming_dd.output.metrics import Metrics

ROWS = dd.Metric("reports.rows", "count", "row", ("kind",), "Rows.")
RENDER = dd.Metric("reports.render", "timer", "millisecond", ("kind",), "Rendering.")
DEPTH = dd.Metric("reports.depth", "gauge", "item", ("kind",), "Depth.")


class Hostile:
    """Raises wherever Python asks it something."""

    def __init__(self, *methods: str) -> None:
        self.__class__ = type("Hostile", (Hostile,), dict.fromkeys(methods, _raise))


def _raise(*_: object, **__: object) -> Any:
    raise RuntimeError("no")


class Like:
    """A number of another library: it has `__index__` or `__float__`."""

    def __init__(self, **methods: object) -> None:
        self.__class__ = type("Like", (Like,), {f"__{name}__": _answers(it) for name, it in methods.items()})


def _answers(value: object) -> Any:
    return lambda self: value


class Word(enum.StrEnum):
    CSV = "csv"


class Number(int):
    def __add__(self, other: object) -> Any:
        raise RuntimeError("no")

    __radd__ = __le__ = __ge__ = __lt__ = __gt__ = __str__ = __repr__ = __format__ = __add__  # type: ignore[assignment]


METHODS = (
    "__str__",
    "__repr__",
    "__hash__",
    "__eq__",
    "__float__",
    "__index__",
    "__bool__",
    "__len__",
    "__format__",
)
ANYTHING = (
    st.from_type(object)
    | st.integers()
    | st.floats()
    | st.decimals()
    | st.text(max_size=5)
    | st.sampled_from([10**400, 10**5000, -(10**5000), 2**63, Number(3), float, True, None, Word.CSV, 1j])
    | st.lists(st.sampled_from(METHODS), unique=True).map(lambda methods: Hostile(*methods))
    | st.builds(lambda number: Like(float=number), st.floats() | st.text(max_size=2))
    | st.builds(lambda number: Like(index=number), st.integers() | st.none())
)


@pytest.mark.slow
@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(value=ANYTHING, tag=ANYTHING)
def test_any_object_as_value_and_tag_harms_nothing_else(sender_class: Any, value: Any, tag: Any) -> None:
    """Each call returns, the block's result is its own, and the samples around it are there to the last one."""
    sender = sender_class()
    metrics = recorder.configure(
        sender=sender, logs_enabled=False, tracing_enabled=False, worker="0", flush_interval=10
    ).metrics
    try:
        for given_tag in ({"kind": tag}, {"kind": "a"}, {}):
            dd.increment(ROWS, value, **given_tag)
            dd.record(RENDER, value, **given_tag)
            dd.gauge(DEPTH, value, **given_tag)
        with dd.timer(RENDER, kind=tag):
            result = "own"
        assert result == "own"
        dd.increment(tag, 1)  # no metric at all
        dd.increment(ROWS, 5, kind="neighbour")
        dd.record(RENDER, 2.5, kind="neighbour")
        dd.gauge(DEPTH, 7, kind="neighbour")
        metrics.flush()
        metrics.flush()
        assert sender.total("reports.rows", kind="neighbour") >= 5
        assert 2.5 in sender.values("reports.render", kind="neighbour")
        assert sender.last("reports.depth", kind="neighbour") == 7
        assert "flush" not in metrics.dropped
        assert "internal_error" not in metrics.dropped
    finally:
        recorder.reset()
        notices.reset()


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (decimal.Decimal("1.5"), 1.5),
        (fractions.Fraction(1, 4), 0.25),
        (Like(index=3), 3),
        (Like(float=2.5), 2.5),
        (2**63, float(2**63)),
        (Number(3), 3),
    ],
    ids=["decimal", "fraction", "index", "float", "large", "hostile"],
)
def test_what_is_a_number_is_one_everywhere(sender_class: Any, value: Any, number: float) -> None:
    """Counts, gauges and timers take the same things for numbers."""
    sender = sender_class()
    metrics = Metrics(config.load({}, environ={}), sender)
    metrics.gauge(DEPTH).set(value)
    metrics.timing(RENDER).record(value)
    metrics.counter(ROWS).increment(value)
    metrics.flush()
    assert sender.last("reports.depth") == pytest.approx(number)
    assert sender.values("reports.render") == [pytest.approx(number)]
    if number < 2**63:
        assert sender.total("reports.rows") == number


def test_numpy_numbers_are_numbers(sender_class: Any) -> None:
    """Its integers and floats are taken; its truth values and arrays are not."""
    numpy = pytest.importorskip("numpy")
    sender = sender_class()
    metrics = Metrics(config.load({}, environ={}), sender)
    for value in (numpy.int64(5), numpy.uint8(5), numpy.float32(5), numpy.float64(5)):
        metrics.counter(ROWS).increment(value)
        metrics.timing(RENDER).record(value)
    for value in (numpy.bool_(True), numpy.array([1, 2])):
        metrics.counter(ROWS).increment(value)
    metrics.flush()
    assert sender.total("reports.rows") == 20
    assert sender.values("reports.render") == [5.0] * 4
    assert metrics.dropped == {"bad_value": 2}


def test_true_and_one_are_two_tags(sender_class: Any) -> None:
    """Equal keys of a dictionary are different tag values: True, 1, 1.0 and "1"."""
    sender = sender_class()
    metrics = Metrics(config.load({}, environ={}), sender)
    for value in (True, 1, 1.0, "1", False, 0):
        handle = metrics.lookup(ROWS, {"kind": value})
        handle.increment(1)  # type: ignore[union-attr]
    metrics.flush()
    found = {tags["kind"]: value for value, tags in sender.samples("reports.rows")}
    assert found == {"True": "1", "1": "2", "1.0": "1", "False": "1", "0": "1"}


class Changing:
    """A text that is another one each time."""

    def __init__(self) -> None:
        self.texts = iter(("first", "second"))

    def __str__(self) -> str:
        return next(self.texts)


def test_an_object_is_read_anew_at_each_call_and_not_kept(sender_class: Any) -> None:
    """What is remembered of a call are texts and whole numbers: an object says what it is now, and may go."""
    sender = sender_class()
    metrics = Metrics(config.load({}, environ={}), sender)
    value = Changing()
    kept = weakref.ref(value)
    for _ in range(2):
        metrics.lookup(ROWS, {"kind": value}).increment(1)  # type: ignore[union-attr]
    del value
    metrics.flush()
    assert {tags["kind"] for _, tags in sender.samples("reports.rows")} == {"first", "second"}
    assert kept() is None


def test_a_member_of_an_enum_is_its_text(sender_class: Any) -> None:
    """It is remembered, and neither taken for its value's own text nor for another Enum's member of the same value."""

    class Kind(str, enum.Enum):  # noqa: UP042 - its text is not its value
        CSV = "csv"

    sender = sender_class()
    metrics = Metrics(config.load({}, environ={}), sender)
    for value in (Kind.CSV, "csv", Word.CSV) * 2:
        metrics.lookup(ROWS, {"kind": value}).increment(1)  # type: ignore[union-attr]
    metrics.flush()
    found = {tags["kind"]: value for value, tags in sender.samples("reports.rows")}
    assert found == {"Kind.CSV": "2", "csv": "4"}
    assert metrics.find.cache_info().hits >= 3


@pytest.mark.slow
def test_what_is_remembered_of_calls_is_bounded(sender_class: Any) -> None:
    """Twice as many different values as are remembered are counted as well, under `other`."""
    metrics = Metrics(config.load({"max_series": 10}, environ={}), sender_class())
    most = metrics.find.cache_info().maxsize
    assert most is not None
    for number in range(2 * most):
        metrics.lookup(ROWS, {"kind": number}).increment()  # type: ignore[union-attr]
    assert metrics.find.cache_info().currsize == most
    assert sum(handle.total for handle in metrics.handles() if handle.metric is ROWS) == 2 * most  # type: ignore[union-attr]


def test_an_observer_that_fails_fails_alone(sender_class: Any) -> None:
    """Who watches timings and raises loses his own; the values go out, and to the others."""
    sender = sender_class()
    metrics = Metrics(config.load({}, environ={}), sender)
    seen: list[float] = []
    metrics.observe_timings(lambda timing: _raise if timing.metric is RENDER else None)
    metrics.observe_timings(lambda timing: seen.extend if timing.metric is RENDER else None)
    metrics.timing(RENDER).record(1.0)
    metrics.counter(ROWS).increment()
    metrics.flush()
    assert sender.values("reports.render") == seen == [1.0]
    assert sender.total("reports.rows") == 1
    assert metrics.dropped == {"observer": 1}
