"""The true share behind a damped one: `failed / (all + 20)` is also said as "12 of 114, 10.5 %". No state.

A constant in the denominator keeps a few events from alerting. With little traffic the value is then far below what charts
show, so the share without it, and what it is a share of, stand beside the value.
"""

from __future__ import annotations

from ...assets.query_language import Arithmetic, Expression, MetricMonitor, MonitorQuery, Number, walk
from ..store.series import Store
from .values import counted_values

Measured = dict[frozenset[tuple[str, str]], str]


def guarded(query: MonitorQuery | None) -> tuple[Expression, Expression, float] | None:
    """Return (part, whole, constant) of a monitor on `part / (whole + constant)`, None for any other."""
    if not isinstance(query, MetricMonitor):
        return None
    for node in walk(query.expression):
        match node:
            case Arithmetic("/", part, Arithmetic("+", whole, Number(constant))):
                return part, whole, constant
    return None


def measured(query: MonitorQuery | None, store: Store, end: float) -> Measured:
    """Say for each group of such a monitor what its share really is: `12 of 114, 10.5 %`."""
    found = guarded(query)
    if found is None or not isinstance(query, MetricMonitor):
        return {}
    part, whole, _ = found
    start = int(end) - query.window.seconds
    parts = {
        frozenset(group.items()): value
        for group, value in counted_values(part, query.aggregator, store, start, int(end))
    }
    said: Measured = {}
    for group, value in counted_values(whole, query.aggregator, store, start, int(end)):
        key = frozenset(group.items())
        of = parts.get(key) or 0.0
        if value:
            said[key] = f"{of:.6g} of {value:.6g}, {100 * of / value:.3g} %"
    return said
