"""Add up the numbers of several workers. State: which series has which place, in `Places`."""

from __future__ import annotations

import threading
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from math import fsum
from operator import itemgetter
from typing import Final, NamedTuple

import orjson

from ...output.notices import say
from .state import Declared, Name, State, declared_of

_PLANS_LIMIT: Final = 500


class Point(NamedTuple):
    """A series of the whole: its name, the values of its tags, and the worker where that is told apart."""

    name: Name
    values: tuple[str, ...]
    worker: str | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the values of a state go."""

    sums: list[int]
    #: Of each gauge its number, and whether the highest is wanted.
    gauges: list[tuple[int, bool]]


class Total:
    """The numbers of several workers in one."""

    def __init__(self, places: Places) -> None:
        self._places = places
        #: By number: a point is a tuple of tuples, and its hash takes longer than adding up.
        self._levels: dict[int, float] = {}
        self._sums = array("d")
        #: By the mark of what is declared, and the worker where that is told apart: where they go, and the values.
        self._alike: dict[tuple[int, str], tuple[list[int], list[array[float]]]] = {}
        self._told: dict[int, set[Point]] = {}

    def add(self, state: State, *, worker: str | None = None, ended: bool = False) -> None:
        """Add a worker's numbers; those of one that has ended have no gauges any more."""
        plan, told = self._places.plan(state, worker)
        if len(plan.sums) != len(state.sums) or len(plan.gauges) != len(state.gauges):
            raise ValueError("it has more or less values than series")
        self._told[id(told)] = told  # most workers have one and the same: points are dear to compare
        # Workers that count the same are added up first, column by column: that is four times as fast.
        self._alike.setdefault((state.mark, worker or ""), (plan.sums, []))[1].append(state.sums)
        if ended:
            return
        levels = self._levels
        for (number, highest), value in zip(plan.gauges, state.gauges, strict=True):
            if value == value:  # it is no NaN: the gauge has a value
                before = levels.get(number)
                levels[number] = (
                    value if before is None else max(before, value) if highest else before + value
                )

    @property
    def gauges(self) -> dict[Point, float]:
        """The value of each gauge that has one."""
        points = self._places.levels
        return {points[number]: value for number, value in self._levels.items()}

    @property
    def sums(self) -> array[float]:
        """The values of all series, each at its place; the same to the last bit whichever worker adds them up.

        Else seconds would now and then be less by a bit than a sibling has told, and Prometheus take that for a reset.
        """
        alike, self._alike = self._alike, {}
        sums = self._sums
        sums.extend([0.0] * (len(self._places) - len(sums)))
        for _, (places, several) in sorted(alike.items(), key=itemgetter(0)):
            columns = several[0] if len(several) == 1 else map(fsum, zip(*several, strict=True))
            for at, value in zip(places, columns, strict=True):
                sums[at] += value
        return sums

    def points(self) -> Iterable[tuple[Point, list[float]]]:
        """Yield each series of a count or a histogram, and its values: one, or those of the buckets and the sum."""
        sums = self.sums
        for point in sorted(set().union(*self._told.values()), key=self._places.at.__getitem__):
            at = self._places.at[point]
            yield point, list(sums[at : at + _width(point.name)])

    def counts(self, name: str) -> Iterable[tuple[tuple[str, ...], float]]:
        """Yield each series of the catalogue's count of this name."""
        sums = self.sums
        for point in set().union(*self._told.values()):
            if point.name.name == name and point.name.prefixed:
                yield point.values, sums[self._places.at[point]]

    def levels(self, name: str) -> Iterable[tuple[tuple[str, ...], float]]:
        """Yield each series of the catalogue's gauge of this name."""
        for point, value in self.gauges.items():
            if point.name.name == name and point.name.prefixed:
                yield point.values, value


def _width(name: Name) -> int:
    return 1 if name.kind == "count" else len(name.bounds) + 2


class Places:
    """Where each series is in the totals. It only grows, so that adding up again costs no look into a dictionary."""

    def __init__(self) -> None:
        self.at: dict[Point, int] = {}
        self._length = 0
        #: The gauges by their numbers, and their numbers.
        self.levels: list[Point] = []
        self._numbers: dict[Point, int] = {}
        self._declared: dict[int, Declared] = {}
        self._plans: dict[tuple[int, str, bool], tuple[_Plan, set[Point]]] = {}
        self._columns: dict[tuple[int, str | None], tuple[list[int], set[Point]]] = {}
        self._lock = threading.Lock()

    def known(self) -> list[int]:
        """Return the marks of what is known here: a state may come without what it declares."""
        return list(self._declared)

    def __len__(self) -> int:
        return self._length

    def plan(self, state: State, worker: str | None) -> tuple[_Plan, set[Point]]:
        """Return where the values of a state go, and which series it has; with `worker` they are told apart by it."""
        slot = str(state.about.get("slot", ""))
        key = (state.mark, worker or slot, worker is not None)
        with self._lock:
            plan = self._plans.get(key)
            if plan is None:
                if len(self._plans) >= _PLANS_LIMIT:
                    self._plans.clear()
                    self._declared.clear()
                    self._columns.clear()
                declared = self._declared.get(state.mark)
                try:
                    if declared is None:
                        declared = self._declared[state.mark] = declared_of(state.declared)
                    plan = self._plans[key] = self._make(declared, worker, slot)
                except (IndexError, KeyError, TypeError) as error:
                    raise ValueError(f"what it counts cannot be read: {error!r}") from None
                alike, told = self._columns.setdefault((state.mark, worker), (plan[0].sums, plan[1]))
                if alike is not plan[0].sums:  # another slot, the same places
                    plan = self._plans[key] = (_Plan(alike, plan[0].gauges), told)
            return plan

    def _make(self, declared: Declared, worker: str | None, slot: str) -> tuple[_Plan, set[Point]]:
        sums: list[int] = []
        gauges: list[tuple[int, bool]] = []
        told: set[Point] = set()
        for number, values in declared.series:
            name = declared.names[number]
            if name.kind == "gauge":
                alone = slot if name.across == "worker" else None
                gauges.append((self._number(Point(name, values, worker or alone)), name.across == "max"))
                continue
            point = Point(name, values, worker)
            at = self.at.get(point)
            width = _width(name)
            if at is None:
                at = self.at[point] = self._length
                self._length += width
            told.add(point)
            sums.extend(range(at, at + width))
        return _Plan(sums, gauges), told

    def _number(self, point: Point) -> int:
        number = self._numbers.setdefault(point, len(self.levels))
        if number == len(self.levels):
            self.levels.append(point)
        return number


def merged(states: list[bytes]) -> bytes:
    """Add the states of workers that have ended to one, without gauges; one that cannot be read is said and left out."""
    total = Total(Places())
    for data in states:
        try:
            total.add(State.decode(data), ended=True)
        except ValueError as error:
            say("siblings:merge", f"the totals of a worker that has ended are lost: {error}")
    numbers: dict[Name, int] = {}
    series: list[tuple[int, tuple[str, ...]]] = []
    sums = array("d")
    for point, values in total.points():
        series.append((numbers.setdefault(point.name, len(numbers)), point.values))
        sums.extend(values)
    declared = orjson.dumps([[tuple(name) for name in numbers], series])
    return State({"slot": "ended", "pid": 0}, zlib.crc32(declared), declared, sums, array("d")).encode()
