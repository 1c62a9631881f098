"""Make nodes of what the grammars recognise: one method for each rule of the `.lark` files. No state.

The methods refuse what a grammar cannot express; `Refused` carries the message and the position.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, cast

from .boolean import And, Everything, Not, Or, Variable
from .expressions import (
    Arithmetic,
    Call,
    Expression,
    Fill,
    Filter,
    In,
    Keyword,
    MetricQuery,
    Negative,
    Number,
    Reference,
    Rollup,
    Tag,
    Text,
    filter_text,
)
from .monitor_queries import ChangeMonitor, Duration, MetricMonitor, MonitorId, Shift, Window

Token = Any  # lark.Token: a str with start_pos
ROLLUP_AGGREGATORS = ("avg", "sum", "min", "max", "count")
CALENDAR = ("daily", "weekly", "monthly", "quarterly", "yearly")
FILL_MODES = ("linear", "last", "zero", "null")
_DURATION = re.compile(r"(\d+)(mo|m|h|d|w)")


class Refused(Exception):
    """The grammar accepts it, Datadog does not; `position` is the 0-based offset."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class NotEvaluated(Refused):
    """Datadog accepts it, and it is not evaluated here."""


def unquoted(token: Token) -> str:
    """Take the quotes off a string, and the backslashes off the quotes within."""
    return re.sub(r'\\(["\\])', r"\1", token[1:-1]) if token[0] == '"' else str(token[1:-1])


def duration(text: str, position: int, longest: int, what: str) -> Duration:
    """Read `5m`; refuse what is not a duration or longer than `longest` seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Refused(
            f"{text!r} is not a {what}: write a number and one of m, h, d, w, mo, such as 5m", position
        )
    length = Duration(int(found[1]), found[2])
    if not 60 <= length.seconds <= longest:
        raise Refused(f"a {what} of {text} is out of range: 1m to {longest // 3600}h", position)
    return length


class BooleanBuilder:
    """Rules that both grammars share."""

    def any_of(self, parts: Sequence[Any]) -> Or[Any]:
        return Or(tuple(parts))

    def all_of(self, parts: Sequence[Any]) -> And[Any]:
        return And(tuple(parts))

    def opposite(self, parts: Sequence[Any]) -> Not[Any]:
        return Not(parts[0])

    def variable(self, parts: Sequence[Any]) -> Variable:
        name = str(parts[0][1:])
        return Variable(name.removesuffix(".value"), name.endswith(".value"), parts[0].start_pos)


class QueryBuilder(BooleanBuilder):
    """Rules of `query.lark`."""

    LONGEST_WINDOW = 730 * 3600  # a month, Datadog's limit for metric monitors

    def expression_start(self, parts: Sequence[Any]) -> Any:
        return parts[0]

    metric_start = composite_start = expression_start

    def queries_start(self, parts: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(parts)

    def check_start(self, parts: Sequence[Any]) -> Any:
        return parts

    event_start = slo_start = check_start

    # monitors

    def metric_monitor(self, parts: Sequence[Any]) -> MetricMonitor:
        aggregator, window, expression, comparator, threshold = parts
        self._time_aggregator(aggregator)
        return MetricMonitor(str(aggregator), self._window(window), expression, str(comparator), threshold)

    def change_monitor(self, parts: Sequence[Any]) -> ChangeMonitor:
        function, aggregator, window, shift, expression, comparator, threshold = parts
        self._time_aggregator(aggregator)
        ago = shift.endswith("_ago")
        text = shift.removesuffix("_ago").removeprefix("last_").removeprefix("current_")
        return ChangeMonitor(
            cast(Literal["change", "pct_change"], str(function)),
            str(aggregator),
            self._window(window),
            Shift(duration(text, shift.start_pos, self.LONGEST_WINDOW, "shift"), ago),
            expression,
            str(comparator),
            threshold,
        )

    def _time_aggregator(self, token: Token) -> None:
        if token not in ("avg", "sum", "min", "max", "percentile"):
            raise Refused(
                f"{str(token)!r} does not aggregate in time: avg, sum, min, max or percentile",
                token.start_pos,
            )

    def _window(self, token: Token) -> Window:
        kind, _, length = token.partition("_")
        longest = self.LONGEST_WINDOW * 6 if kind == "next" else self.LONGEST_WINDOW
        return Window(duration(length, token.start_pos, longest, "window"), kind == "current", kind == "next")

    def threshold(self, parts: Sequence[Any]) -> float:
        return float(parts[0])

    def negative_threshold(self, parts: Sequence[Any]) -> float:
        return -float(parts[0])

    def step(self, parts: Sequence[Any]) -> tuple[Token, tuple[Token, ...]]:
        return parts[0], tuple(parts[1:])

    # expressions

    def number(self, parts: Sequence[Any]) -> Number:
        return Number(float(parts[0]))

    def reference(self, parts: Sequence[Any]) -> Reference:
        return Reference(str(parts[0]), parts[0].start_pos)

    def negative(self, parts: Sequence[Any]) -> Negative:
        return Negative(parts[0])

    def add(self, parts: Sequence[Any]) -> Arithmetic:
        return Arithmetic("+", parts[0], parts[1])

    def subtract(self, parts: Sequence[Any]) -> Arithmetic:
        return Arithmetic("-", parts[0], parts[1])

    def multiply(self, parts: Sequence[Any]) -> Arithmetic:
        return Arithmetic("*", parts[0], parts[1])

    def divide(self, parts: Sequence[Any]) -> Arithmetic:
        return Arithmetic("/", parts[0], parts[1])

    def call(self, parts: Sequence[Any]) -> Call:
        return Call(str(parts[0]), tuple(parts[1:]), parts[0].start_pos)

    def text(self, parts: Sequence[Any]) -> Text:
        return Text(self._plain_string(parts[0]))

    def scope_argument(self, parts: Sequence[Any]) -> Text:
        """Read the `{*}` of `percentile(query, 'p90', {*})`, which Datadog's own editor writes."""
        return Text(f"{{{filter_text(parts[0])}}}")

    def keyword(self, parts: Sequence[Any]) -> Keyword:
        name, value = parts
        given: Expression = Text(self._plain_string(value)) if isinstance(value, str) else value
        return Keyword(str(name), given)

    def _plain_string(self, token: Token) -> str:
        value = str(token[1:-1])
        if token[0] == '"' and ("\\" in value or '"' in value):
            raise Refused(
                "an argument of a function cannot hold a backslash or its own quotes", token.start_pos
            )
        return value

    # metric queries

    def query(self, parts: Sequence[Any]) -> MetricQuery:
        bare = parts[0].type == "NAME"
        aggregator, name, *rest = [parts[0], *parts] if bare else parts
        if not bare and aggregator == "percentile":
            raise Refused(
                "'percentile' aggregates in time; in space write p50, p95 or p99", aggregator.start_pos
            )
        scope: Filter = Everything()
        by: tuple[str, ...] = ()
        methods: dict[str, Any] = {}
        for part in rest:
            if isinstance(part, tuple):
                by = part
            elif isinstance(part, dict):
                self._add_method(methods, part)
            else:
                scope = part
        return MetricQuery(
            "avg" if bare else str(aggregator), str(name), scope, by, **methods,
            position=aggregator.start_pos, bare=bare,
        )  # fmt: skip

    def _add_method(self, methods: dict[str, Any], method: dict[str, Any]) -> None:
        position = method.pop("position")
        for field, value in method.items():
            if field in methods:
                raise Refused("as_count and as_rate, rollup and fill can each be asked for once", position)
            methods[field] = value

    def by(self, parts: Sequence[Any]) -> tuple[str, ...]:
        return tuple(map(str, parts))

    def word(self, parts: Sequence[Any]) -> Token:
        return parts[0]

    def method(self, parts: Sequence[Any]) -> dict[str, Any]:
        name, *arguments = parts
        at = name.start_pos
        if name in ("as_count", "as_rate"):
            if arguments:
                raise Refused(f"{name}() takes no argument", arguments[0].start_pos)
            return {"kind": name.removeprefix("as_"), "position": at}
        if name == "weighted":
            return {"weighted": True, "position": at}
        if name == "rollup":
            return {"rollup": self._rollup(arguments, at), "position": at}
        return {"fill": self._fill(arguments, at), "position": at}

    def _rollup(self, arguments: Sequence[Token], at: int) -> Rollup:
        rest = list(arguments)
        aggregator = str(rest.pop(0)) if rest and rest[0].type in ("NAME", "STRING") else None
        aggregator = aggregator and aggregator.strip("'\"")
        if aggregator is not None and aggregator not in ROLLUP_AGGREGATORS:
            raise Refused(
                f"rollup knows {', '.join(ROLLUP_AGGREGATORS)}, not {aggregator!r}", arguments[0].start_pos
            )
        if rest and aggregator and (calendar := str(rest[0]).strip("'\"")) in CALENDAR:
            return Rollup(aggregator, None, calendar)
        seconds = self._whole(rest.pop(0), 1, 2_678_400) if rest else None
        if rest or (aggregator is None and seconds is None):
            raise Refused("write rollup(sum, 60), rollup(sum) or rollup(60)", at)
        return Rollup(aggregator, seconds)

    def _fill(self, arguments: Sequence[Token], at: int) -> Fill:
        if not 1 <= len(arguments) <= 2:
            raise Refused("write fill(zero) or fill(last, 300)", at)
        if arguments[0].isdigit() and len(arguments) == 1:
            return Fill("linear", self._whole(arguments[0], 0, 2_678_400))
        if arguments[0] not in FILL_MODES:
            raise Refused(
                f"fill knows {', '.join(FILL_MODES)}, not {str(arguments[0])!r}", arguments[0].start_pos
            )
        return Fill(
            str(arguments[0]), self._whole(arguments[1], 0, 2_678_400) if len(arguments) > 1 else None
        )

    def _whole(self, token: Token, least: int, greatest: int) -> int:
        if not token.isdigit() or not least <= int(token) <= greatest:
            raise Refused(
                f"expected whole seconds from {least} to {greatest}, found {str(token)!r}", token.start_pos
            )
        return int(token)

    # filters

    def tag(self, parts: Sequence[Any]) -> Filter:
        token = parts[0]
        key, colon, value = token.partition(":")
        if token == "*":
            return Everything()
        return Tag(str(key), str(value) if colon else None, token.start_pos)

    def one_of(self, parts: Sequence[Any]) -> In:
        key, *values = parts
        if ":" in key or "*" in key:
            raise Refused(f"IN takes a tag key, not {str(key)!r}", key.start_pos)
        for value in values:
            if value.startswith(f"{key}:"):
                raise Refused(f"the values of IN stand alone: {value.partition(':')[2]}", value.start_pos)
        return In(str(key), tuple(map(str, values)), key.start_pos)

    def none_of(self, parts: Sequence[Any]) -> Any:
        return Not(self.one_of(parts))

    # composites

    def monitor_id(self, parts: Sequence[Any]) -> MonitorId:
        if parts[0].type == "NUMBER" and not parts[0].isdigit():
            raise Refused(f"a monitor's id is a whole number, not {str(parts[0])!r}", parts[0].start_pos)
        return MonitorId(str(parts[0]), parts[0].start_pos)
