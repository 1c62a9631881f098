"""SLOs over what the local agent keeps: indicator, error budget, burn rate. No state.

Datadog looks back 7 to 90 days; here it is what is there, at most 24 hours, and `Status.covered` says how much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...assets.query_language import Duration, SloMonitor, parse_formula, parse_query
from ...errors import QueryError
from ..queries.evaluate import Evaluation
from ..queries.lines import FINEST, Grid, Value
from ..store.points import KEEP_HOURS
from ..store.series import Store
from .rules import COMPARATORS

Json = Mapping[str, Any]
Uptime = Callable[[str, float, float], Value]
"""Percent of a range in which the monitor with this reference was not in Alert; None if it was never evaluated."""
TIMEFRAMES = {"7d": 7 * 86_400, "30d": 30 * 86_400, "90d": 90 * 86_400}


@dataclass(frozen=True, slots=True)
class Status:
    """An SLO now. `indicator` and `target` in percent, `budget` what is left of 100, `covered` in seconds."""

    indicator: Value
    target: float
    budget: Value
    covered: float
    timeframe: str


def check(slo: Json) -> None:
    """Refuse an SLO that cannot be evaluated. Raises QueryError with what is wrong."""
    try:
        for threshold in slo["thresholds"]:
            float(threshold["target"])
            str(threshold["timeframe"])
        if slo["type"] == "metric":
            for part in ("numerator", "denominator"):
                parse_query(slo["query"][part])
        elif slo["type"] == "time_slice":
            spec = slo["sli_specification"]["time_slice"]
            float(spec["threshold"])
            COMPARATORS[spec["comparator"]]
            int(spec.get("query_interval_seconds", 300))
            parse_formula(spec["query"]["formulas"][0]["formula"])
            for query in spec["query"]["queries"]:
                str(query["name"])
                parse_query(query["query"])
        elif slo["type"] != "monitor" or not isinstance(slo["monitor_ids"], list):
            raise QueryError(
                f"type {slo['type']!r} is none of metric, monitor with 'monitor_ids', time_slice"
            )
        if not slo["thresholds"]:
            raise QueryError("'thresholds' is empty")
    except (KeyError, IndexError) as error:
        raise QueryError(f"the field {error} is missing or unknown") from None
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, QueryError):
            raise
        raise QueryError(f"a field has the wrong type: {error}") from None


def status(slo: Json, store: Store, uptime: Uptime, now: float, timeframe: str) -> Status:
    """Return an SLO's indicator over a time frame, and what is left of its budget."""
    target = target_of(slo, timeframe)
    covered = min(TIMEFRAMES.get(timeframe, KEEP_HOURS * 3600), KEEP_HOURS * 3600)
    value = indicator(slo, store, uptime, now - covered, now)
    budget = None if value is None else 100 - _spent(value, target)
    return Status(value, target, budget, covered, timeframe)


def target_of(slo: Json, timeframe: str) -> float:
    """Return the target in percent for a time frame, or the first there is."""
    thresholds = slo["thresholds"]
    found = next((each for each in thresholds if each["timeframe"] == timeframe), thresholds[0])
    return float(found["target"])


def indicator(slo: Json, store: Store, uptime: Uptime, start: float, end: float) -> Value:
    """Return the percentage of good events, slices or time in a range; None where there is nothing to judge."""
    if slo["type"] == "metric":
        return _events(slo["query"], store, start, end)
    if slo["type"] == "time_slice":
        return _slices(slo["sli_specification"]["time_slice"], store, start, end)
    found = [uptime(str(reference), start, end) for reference in slo["monitor_ids"]]
    there = [value for value in found if value is not None]
    return min(there) if there else None


def _whole(start: float, end: float) -> Grid:
    first = int(start) // FINEST * FINEST
    return Grid(first, max(FINEST, int(end) // FINEST * FINEST - first), 1)


def _events(query: Json, store: Store, start: float, end: float) -> Value:
    evaluation = Evaluation(store, over_window="sum")
    sums = []
    for part in ("numerator", "denominator"):
        values = evaluation.values(parse_query(query[part]), _whole(start, end))
        sums.append(sum(value for _, value in values if value is not None) if values else None)
    good, total = sums
    return None if not total else min(100.0, (good or 0.0) / total * 100)


def _slices(spec: Json, store: Store, start: float, end: float) -> Value:
    """Return the share of slices that are good; a slice without data is good, as in Datadog."""
    step = int(spec.get("query_interval_seconds", 300))
    queries = {query["name"]: parse_query(query["query"]) for query in spec["query"]["queries"]}
    formula = parse_formula(spec["query"]["formulas"][0]["formula"])
    first = int(start) // step * step
    lines = Evaluation(store, queries=queries).lines(
        formula, Grid(first, step, max(1, (int(end) - first) // step))
    )
    compare, threshold = COMPARATORS[spec["comparator"]], float(spec["threshold"])
    values = [value for line in lines.lines for value in line.values if value is not None]
    if not values:
        return None
    bad = sum(not compare(value, threshold) for value in values)
    return 100 * (1 - bad / (lines.grid.count * max(1, len(lines.lines))))


def _spent(value: float, target: float) -> float:
    """Return the percentage of the error budget that is spent; beyond 100 it is overspent."""
    allowed = 100 - target
    return (100 - value) / allowed * 100 if allowed else (0.0 if value >= 100 else 100.0)


def alert_value(query: SloMonitor, slo: Json, store: Store, uptime: Uptime, now: float) -> Value:
    """Return what an SLO alert compares: percent of the budget spent, or the burn rate of its slower window."""
    timeframe = str(query.over)
    if query.function == "error_budget":
        found = status(slo, store, uptime, now, timeframe)
        return None if found.budget is None else 100 - found.budget
    allowed = 100 - target_of(slo, timeframe)
    rates = [
        _burn(slo, store, uptime, now, window, allowed) for window in (query.long_window, query.short_window)
    ]
    there = [rate for rate in rates if rate is not None]
    return min(there) if len(there) == len(rates) else None


def _burn(
    slo: Json, store: Store, uptime: Uptime, now: float, window: Duration | None, allowed: float
) -> Value:
    value = indicator(slo, store, uptime, now - (window.seconds if window else 3600), now)
    return None if value is None or not allowed else (100 - value) / allowed
