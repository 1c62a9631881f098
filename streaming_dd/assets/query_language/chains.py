"""Monitors written as a chain of calls: service checks, logs, trace analytics, SLO alerts. No state.

Datadog takes the steps in any order; `Refused` says which one is missing, unknown or wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from ...errors import QueryError
from .builder import NotEvaluated, Refused, duration, unquoted
from .expressions import Expression
from .monitor_queries import Duration, EventMonitor, FormulaMonitor, ServiceCheckMonitor, SloMonitor
from .searches import Search

TWO_DAYS = 48 * 3600
QUARTER = 90 * 86_400
Parsed = TypeVar("Parsed")
Step = tuple[Any, tuple[Any, ...]]


def _steps(parts: list[Any], known: dict[str, tuple[int, int]]) -> dict[str, tuple[Any, ...]]:
    """Sort `.name(arguments)` steps by name; `known` gives each one's least and greatest number of arguments."""
    found: dict[str, tuple[Any, ...]] = {}
    for name, arguments in parts:
        if name not in known:
            raise Refused(f"unknown step .{name}(): {', '.join(known)} are known", name.start_pos)
        if name in found:
            raise Refused(f".{name}() stands twice", name.start_pos)
        least, greatest = known[name]
        if not least <= len(arguments) <= greatest:
            takes = str(least) if least == greatest else f"{least} to {greatest}"
            raise Refused(f".{name}() takes {takes} arguments, not {len(arguments)}", name.start_pos)
        found[str(name)] = arguments
    return found


def _strings(tokens: tuple[Any, ...]) -> tuple[str, ...]:
    for token in tokens:
        if token.type != "STRING":
            raise Refused(f"expected a quoted text, found {str(token)!r}", token.start_pos)
    return tuple(unquoted(token) for token in tokens)


def _needs(steps: dict[str, tuple[Any, ...]], names: tuple[str, ...], position: int) -> None:
    for name in names:
        if name not in steps:
            raise Refused(f".{name}() is missing", position)


def service_check(parts: list[Any]) -> ServiceCheckMonitor:
    """Read the steps of a service check monitor."""
    check, *chain = parts
    known = {"over": (1, 20), "exclude": (1, 20), "by": (1, 20), "last": (1, 1), "count_by_status": (0, 0)}
    steps = _steps(chain, {**known, "pct_by_status": (0, 0)})
    if "pct_by_status" in steps:
        raise NotEvaluated("pct_by_status() is not evaluated locally; Datadog does it", check.end_pos)
    _needs(steps, ("last", "count_by_status"), check.end_pos)
    last = steps["last"][0]
    if not last.isdigit() or not 1 <= int(last) <= 100:
        raise Refused(f".last() takes a whole number from 1 to 100, not {str(last)!r}", last.start_pos)
    over, exclude, by = (_strings(steps.get(name, ())) for name in ("over", "exclude", "by"))
    return ServiceCheckMonitor(unquoted(check), over or ("*",), exclude, by, int(last))


def event_monitor(
    parts: list[Any], source: Literal["logs", "trace-analytics"], text: str, parse: Callable[[str], Search]
) -> EventMonitor:
    """Read the steps of a log or trace-analytics monitor; `parse` reads the search in its quotes."""
    head, search, *chain, comparator, threshold = parts
    if head != source:
        raise Refused(f"this type of monitor begins with {source}(", head.start_pos)
    known = {"index": (1, 20), "rollup": (1, 2), "by": (1, 20), "last": (1, 1)}
    steps = _steps(chain, known)
    _needs(steps, ("rollup", "last"), search.end_pos)
    rollup = _strings(steps["rollup"])
    methods = (
        "count",
        "cardinality",
        "avg",
        "sum",
        "min",
        "max",
        "median",
        "pc75",
        "pc90",
        "pc95",
        "pc98",
        "pc99",
    )
    at = steps["rollup"][0].start_pos
    if rollup[0] not in methods:
        raise Refused(f"rollup knows {', '.join(methods)}, not {rollup[0]!r}", at)
    if (rollup[0] == "count") != (len(rollup) == 1):
        raise Refused(
            'write rollup("count"), or another method with what it measures: ("avg", "@duration")', at
        )
    length = steps["last"][0]
    return EventMonitor(
        source,
        _inner(search, text, parse),
        rollup[0],
        rollup[1] if len(rollup) > 1 else None,
        duration(_strings((length,))[0], length.start_pos, TWO_DAYS, "window"),
        str(comparator),
        threshold,
        _strings(steps.get("index", ())),
        tuple(key.strip() for keys in _strings(steps.get("by", ())) for key in keys.split(",")),
    )


def formula_monitor(parts: list[Any], text: str, parse: Callable[[str], Expression]) -> FormulaMonitor:
    """Read the steps of a monitor on a formula; `parse` reads the formula in its quotes."""
    _, formula, *chain, comparator, threshold = parts
    steps = _steps(chain, {"by": (1, 20), "last": (1, 1)})
    _needs(steps, ("last",), formula.end_pos)
    length = steps["last"][0]
    return FormulaMonitor(
        _inner(formula, text, parse),
        duration(_strings((length,))[0], length.start_pos, TWO_DAYS, "window"),
        str(comparator),
        threshold,
        tuple(key.strip() for keys in _strings(steps.get("by", ())) for key in keys.split(",")),
    )


def _inner(token: Any, text: str, parse: Callable[[str], Parsed]) -> Parsed:
    """Parse what is inside the quotes; an error points into the whole text."""
    try:
        return parse(unquoted(token))
    except QueryError as error:
        raw = re.findall(r'\\["\\]|.', token[1:-1], re.DOTALL)  # one piece for each unquoted character
        offset = sum(map(len, raw[: error.position])) if token[0] == '"' else error.position
        raise QueryError(error.message, text, token.start_pos + 1 + offset) from None


def slo_monitor(parts: list[Any]) -> SloMonitor:
    """Read the steps of an SLO alert."""
    function, slo, *chain, comparator, threshold = parts
    burning = function == "burn_rate"
    windows = ("over", "long_window", "short_window") if burning else ("over",)
    steps = _steps(chain, dict.fromkeys(windows, (1, 1)))
    _needs(steps, windows, slo.end_pos)
    lengths: list[Duration] = []
    for name in windows:
        token = steps[name][0]
        lengths.append(duration(_strings((token,))[0], token.start_pos, QUARTER, "window"))
    if comparator not in (">", ">="):
        raise Refused(f"an SLO alert compares with > or >=, not {str(comparator)!r}", comparator.start_pos)
    kind = cast(Literal["error_budget", "burn_rate"], str(function))
    return SloMonitor(kind, unquoted(slo), lengths[0], str(comparator), threshold, *lengths[1:])
