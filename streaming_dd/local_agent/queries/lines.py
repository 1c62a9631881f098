"""Lines: one value or none for each step of a grid, and a group. What queries give and functions take. No state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt

Value = float | None
Group = dict[str, str]
FINEST = 10
STEPS = (10, 20, 30, 60, 120, 300, 600, 1800, 3600)
MOST_POINTS = 240
MISSING_TAG = "N/A"


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of `step` seconds from `start`; both are multiples of ten seconds.

    `bounds` cuts the first and the last step short: only points from the one to before the other are looked at.
    """

    start: int
    step: int
    count: int
    bounds: tuple[int, int] | None = None

    @property
    def end(self) -> int:
        return self.start + self.step * self.count

    @property
    def times(self) -> list[int]:
        return [self.start + self.step * index for index in range(self.count)]

    def shifted(self, seconds: int) -> Grid:
        """Return the same grid, `seconds` earlier."""
        bounds = self.bounds and (self.bounds[0] - seconds, self.bounds[1] - seconds)
        return Grid(self.start - seconds, self.step, self.count, bounds)

    @property
    def range(self) -> tuple[int, int]:
        """From when to when points are looked at."""
        return self.bounds or (self.start, self.end)


def aligned(start: int, end: int, step: int) -> Grid:
    """Return the steps over a range that are whole multiples of `step` since 1970; the first and last may be partial."""
    first = start // step * step
    return Grid(first, step, max(1, -(-(end - first) // step)), (start, end))


def grid(start: float, end: float, step: int | None = None) -> Grid:
    """Return the grid over a range: of the step that is asked for if it is not too fine, else at most 240 points."""
    span = max(FINEST, end - start)
    least = next((each for each in STEPS if span / each <= MOST_POINTS), STEPS[-1])
    if step is not None:
        least = max(-(-step // FINEST) * FINEST, FINEST)
        while span / least > 1500:  # Datadog's limit; a finer interval is widened
            least *= 2
    first = int(start) // least * least
    return Grid(first, least, max(1, -(-(int(-(-end // 1)) - first) // least)))


@dataclass(slots=True)
class Line:
    """The values of one group on a grid. `absent` is what a missing value counts as in arithmetic."""

    group: Group
    values: list[Value]
    absent: Value = None

    @property
    def key(self) -> frozenset[tuple[str, str]]:
        """What tells the group from others, whatever the order of its keys."""
        return frozenset(self.group.items())

    @property
    def label(self) -> str:
        """The group as Datadog writes it: `app:reports,model:summary`."""
        return ",".join(f"{key}:{value}" for key, value in self.group.items()) or "*"


@dataclass(slots=True)
class Lines:
    """What an expression gives on a grid; `constant` is set instead of lines for a plain number."""

    grid: Grid
    lines: list[Line] = field(default_factory=list)
    constant: Value = None
    counts: bool = False
    """Every query below is a count: a group that one of them lacks counts as 0 there."""


def reduced(values: Sequence[Value], aggregator: str) -> Value:
    """Return one value for many: avg, min, max, sum, last, count, stddev, area or l2norm; None for none."""
    there = [value for value in values if value is not None]
    if not there:
        return None
    match aggregator:
        case "sum" | "area":
            return sum(there)
        case "min":
            return min(there)
        case "max":
            return max(there)
        case "last":
            return there[-1]
        case "count":
            return float(len(there))
        case "l2norm":
            return sqrt(sum(value * value for value in there))
        case "stddev":
            mean = sum(there) / len(there)
            return sqrt(sum((value - mean) ** 2 for value in there) / len(there))
        case _:
            return sum(there) / len(there)


def shown(value: Value) -> str:
    """Write a value as Datadog does: three decimals at most."""
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")
