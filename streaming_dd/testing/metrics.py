"""Metrics in memory: what would have been sent to DogStatsD, read back from the lines themselves.

State: a `MetricCapture` per capture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NoReturn

from .. import catalog, recorder
from ..catalog import Metric
from ..output.metrics import clean_tag_value

_KINDS: Final = {letter: kind for kind, letter in catalog.TYPE_LETTERS.items()}
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric line: its values and tags as the Agent would see them. Timers are in milliseconds."""

    name: str
    kind: str
    values: tuple[float, ...]
    tags: dict[str, str]

    def series(self) -> str:
        """Return `name{tag:value,...}`."""
        return f"{self.name}{{{','.join(f'{key}:{value}' for key, value in sorted(self.tags.items()))}}}"


@dataclass(frozen=True, slots=True)
class CapturedCheck:
    """One service check: status 0 is ok, 1 warning, 2 critical, 3 unknown."""

    name: str
    status: int
    tags: dict[str, str]
    message: str


class MetricCapture:
    """What was recorded since the test began. Every question first counts what has ended up to now.

    A metric is a `Metric` (those of `catalog`, or one's own), or its name with or without the prefix. Tags that are
    given must be equal, others may be anything.
    """

    def __init__(self) -> None:
        self._sender = _MemorySender()

    # --- what there is ----------------------------------------------------------------------------------------

    @property
    def samples(self) -> list[Sample]:
        """Return every metric line, oldest first."""
        _catch_up()
        return list(self._sender.samples)

    @property
    def service_checks(self) -> list[CapturedCheck]:
        """Return every service check, oldest first."""
        _catch_up()
        return list(self._sender.checks)

    def count(self, metric: Metric | str, /, **tags: object) -> float:
        """Return the sum of a count."""
        return sum(sum(sample.values) for sample in self._matching(metric, tags))

    def values(self, metric: Metric | str, /, **tags: object) -> list[float]:
        """Return the values of a timer (milliseconds), histogram or distribution, oldest first."""
        return [value for sample in self._matching(metric, tags) for value in sample.values]

    def gauge(self, metric: Metric | str, /, **tags: object) -> float:
        """Return a gauge's present value: the sum over its series, as a dashboard shows it."""
        last = {sample.series(): sample.values[-1] for sample in self._matching(metric, tags)}
        if not last:
            self._fail(f"the gauge {_described(metric, tags)} was never sent.", metric)
        return sum(last.values())

    def clear(self) -> None:
        """Forget what was recorded so far."""
        _catch_up()
        self._sender.samples.clear()
        self._sender.checks.clear()

    # --- assertions -------------------------------------------------------------------------------------------

    def assert_count(self, metric: Metric | str, expected: float, /, **tags: object) -> None:
        """Fail unless the count's sum is `expected`."""
        found = self.count(metric, **tags)
        if found != expected:
            self._fail(f"{_described(metric, tags)} is {found:g}, not {expected:g}.", metric)

    def assert_values(self, metric: Metric | str, number: int, /, **tags: object) -> list[float]:
        """Fail unless a timer, histogram or distribution has `number` values; return them."""
        found = self.values(metric, **tags)
        if len(found) != number:
            self._fail(f"{_described(metric, tags)} has {len(found)} values, not {number}.", metric)
        return found

    def assert_gauge(self, metric: Metric | str, expected: float, /, **tags: object) -> None:
        """Fail unless the gauge's present value is `expected`."""
        found = self.gauge(metric, **tags)
        if found != expected:
            self._fail(f"the gauge {_described(metric, tags)} is {found:g}, not {expected:g}.", metric)

    @contextmanager
    def grows(self, metric: Metric | str, /, by: float = 1, **tags: object) -> Iterator[None]:
        """Fail unless the block makes a count grow by `by`, or gives a timer that many values."""
        measure = self._measure(metric)
        before = measure(metric, tags)
        yield
        grown = measure(metric, tags) - before
        if grown != by:
            self._fail(f"{_described(metric, tags)} grew by {grown:g}, not by {by:g}.", metric)

    # --- helpers ----------------------------------------------------------------------------------------------

    def _measure(self, metric: Metric | str) -> Callable[[Metric | str, dict[str, object]], float]:
        """Return what grows: the sum of a count, the number of values of anything else."""
        if isinstance(metric, Metric):
            counts = metric.kind == "count"
        else:
            known = next((item for item in catalog.METRICS if metric in _names(item)), None)
            kinds = {sample.kind for sample in self._matching(metric, {})}
            counts = known.kind == "count" if known is not None else kinds <= {"count"}
        if counts:
            return lambda metric, tags: self.count(metric, **tags)
        return lambda metric, tags: len(self.values(metric, **tags))

    def _matching(self, metric: Metric | str, tags: dict[str, object]) -> list[Sample]:
        samples = self.samples
        names = _names(metric)
        if isinstance(metric, Metric):
            unknown = [key for key in tags if key not in metric.tags]
            if unknown:
                declared = ", ".join(metric.tags) or "none"
                raise ValueError(f"{metric.name} has no tag {unknown[0]!r} (it has: {declared})")
        elif not any(sample.name in names for sample in samples) and not any(
            names & _names(known) for known in catalog.METRICS
        ):
            self._fail(
                f"no metric {metric!r} is in the catalogue or was recorded. For one of your own, pass the Metric object.",
                metric,
            )
        wanted = {key: clean_tag_value(value, key) for key, value in tags.items()}
        return [item for item in samples if item.name in names and wanted.items() <= item.tags.items()]

    def _fail(self, problem: str, metric: Metric | str) -> NoReturn:
        raise AssertionError(f"{problem}\nCaptured metrics:\n{self.summary(metric)}")

    def summary(self, about: Metric | str | None = None) -> str:
        """Return one line per series with its sum, its last value or its values; zeros only of `about`."""
        names = _names(about) if about is not None else set()
        own = f"{_prefix()}.telemetry."
        found: dict[tuple[str, str], list[float]] = {}
        for sample in self.samples:
            if sample.name in names or not sample.name.startswith(own):
                found.setdefault((sample.kind, sample.series()), []).extend(sample.values)
        lines = []
        for (kind, series), values in sorted(found.items(), key=lambda item: item[0][1]):
            if kind in ("count", "gauge"):
                number = sum(values) if kind == "count" else values[-1]
                if number or series.partition("{")[0] in names:
                    lines.append(f"  {kind:<12} {series} {number:g}")
            else:
                few = " ".join(f"{value:g}" for value in values[:5]) + (" ..." if len(values) > 5 else "")
                lines.append(f"  {kind:<12} {series} {few} ({len(values)} values)")
        if len(lines) > _SHOWN:
            lines[_SHOWN:] = [f"  ... and {len(lines) - _SHOWN} series more"]
        return "\n".join(lines) or "  nothing but zeros"

    @property
    def sender(self) -> _MemorySender:
        """What the recorder sends to."""
        return self._sender


class _MemorySender:
    """Stands in for the agent's socket, and parses what goes over it: our own lines, so without surprises."""

    payload_limit = 65_536
    tags: tuple[str, ...] = ()
    suffix = ""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.checks: list[CapturedCheck] = []

    def send(self, payload: bytes) -> bool:
        """Take one payload."""
        self.samples.extend(_parse(line) for line in payload.decode().split("\n"))
        return True

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        """Take one service check."""
        self.checks.append(CapturedCheck(name, status, _tags(tags), message))

    def close(self) -> None:
        """Do nothing: there is no socket."""


def _parse(line: str) -> Sample:
    head, letter, *rest = line.split("|")
    name, *values = head.split(":")
    tags = rest[0].removeprefix("#").split(",") if rest else []
    return Sample(name, _KINDS[letter], tuple(map(float, values)), _tags(tags))


def _tags(tags: list[str]) -> dict[str, str]:
    return {key: value for key, _, value in (tag.partition(":") for tag in tags)}


def _prefix() -> str:
    found = recorder.current
    return found.config.metric_prefix if found is not None else "streaming"


def _names(metric: Metric | str) -> set[str]:
    """The names that a metric may have on the wire."""
    if isinstance(metric, Metric):
        return {metric.full_name(_prefix())}
    return {metric, f"{_prefix()}.{metric}"}


def _described(metric: Metric | str, tags: dict[str, object]) -> str:
    name = metric.full_name(_prefix()) if isinstance(metric, Metric) else metric
    return name + (f"{{{','.join(f'{key}:{value}' for key, value in sorted(tags.items()))}}}" if tags else "")


def _catch_up() -> None:
    found = recorder.current
    if found is not None:
        found.catch_up()
