"""Texts that are refused, why, and where the pointer stands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streaming_dd.assets.query_language import (
    parse_formula,
    parse_metric_query,
    parse_monitor,
    parse_query,
    parse_search,
)
from streaming_dd.errors import QueryError

# The caret line below each text marks the character that the error must point at.
BAD_QUERIES = [
    ("", "found the end", 0),
    ("a + b", "'a' has no aggregator", 0),
    ("sum:a", "expected '{', found the end", 5),
    ("sum:a{", "found the end", 6),
    ("sum:a{x:1", "found the end", 9),
    ("sum:a{x:1,}", "found '}'", 10),
    ("sum:a{x=1}", "found '='", 7),
    ("sum:a{x:1 y:2}", "found 'y:2'", 10),
    ("sum:a{x:1,y:2 AND z:3}", "choose one style", 14),
    ("sum:a{x:1 OR !y:2}", "choose one style", 13),
    ("sum:a{!x:1 OR y:2}", "choose one style", 11),
    ("sum:a{x IN (1,2),y:3}", "choose one style", 16),
    ("sum:a{x:1 IN (2)}", "IN takes a tag key", 6),
    ("sum:a{x IN (x:1)}", "values of IN stand alone: 1", 12),
    ("sum:a{x IN ()}", "a tag's value", 12),
    ("sum:a{x:1 AND}", "found '}'", 13),
    ("sum:a{*} by {}", "expected a key", 13),
    ("sum:a{*} by {x:y}", "found ':y'", 14),
    ("sum:a{*}.as_counts()", "as_count(), as_rate(), rollup() or fill()", 9),
    ("sum:a{*}.as_count(5)", "takes no argument", 18),
    ("sum:a{*}.as_count().as_rate()", "asked for once", 20),
    ("sum:a{*}.rollup()", "write rollup(sum, 60)", 9),
    ("sum:a{*}.rollup(median, 60)", "rollup knows avg", 16),
    ("sum:a{*}.rollup(sum, 0)", "whole seconds from 1", 21),
    ("sum:a{*}.rollup(sum, 1.5)", "whole seconds from 1", 21),
    ("sum:a{*}.fill(last, 2678401)", "from 0 to 2678400", 20),
    ("percentile:a{*}", "in space write p50", 0),
    ("median:a{*}", "'median' has no aggregator", 6),
    ("abs(avg:a{*}", "found the end", 12),
    ("1 + (2 * 3", "found the end", 10),
    ("avg:a{*} avg:b{*}", "found 'avg'", 9),
    ("avg:a{*} > 5", "found '>'", 9),
    ("avg:a{*} %", "found '%'", 9),
    ("avg:é{*}", "found 'é'", 4),
]

BAD_MONITORS = [
    ("query alert", "hello", "found 'hello'", 0),
    ("query alert", "avg(last_5m):avg:a{*}", "a comparison such as '>'", 21),
    ("query alert", "avg(last_5m):avg:a{*} = 5", "write '=='", 22),
    ("query alert", "avg(last_5m):avg:a{*} > 5%", "found '%'", 25),
    ("query alert", "avg(last_5m):avg:a{*} > x", "expected '-' or a number", 24),
    ("query alert", "avg(last_5s):avg:a{*} > 5", "is not a window", 4),
    ("query alert", "avg(last_0m):avg:a{*} > 5", "out of range", 4),
    ("query alert", "avg(last_9999h):avg:a{*} > 5", "out of range", 4),
    ("query alert", "avg(5m):avg:a{*} > 5", "a window such as 'last_5m'", 4),
    ("query alert", "median(last_5m):avg:a{*} > 5", "found 'median'", 0),
    ("query alert", "p95(last_5m):avg:a{*} > 5", "does not aggregate in time", 0),
    ("query alert", "avg(last_5m):a.b{*} > 5", "'a.b' has no aggregator", 13),
    ("query alert", "avg(last_5m):failed > 5", "'failed' has no aggregator", 13),
    ("query alert", "pct_change(avg(last_1h)):avg:a{*} > 5", "expected ','", 23),
    ("service check", '"a"', "expected '.'", 3),
    ("service check", '"a".over("*").last(0).count_by_status()', "1 to 100", 19),
    ("service check", '"a".over("*").last("2").count_by_status()', "1 to 100", 19),
    ("service check", '"a".over("*").last(2).last(3).count_by_status()', "stands twice", 22),
    ("service check", '"a".over("*").lasts(2)', "unknown step .lasts()", 14),
    ("service check", '"a".over(5).last(2).count_by_status()', "expected a quoted text", 9),
    ("log alert", 'trace-analytics("a").rollup("count").last("5m") > 5', "begins with logs(", 0),
    ("log alert", 'logs("a").rollup("count").last("5m")', "a comparison", 36),
    ("log alert", 'logs("a").rollup("avg").last("5m") > 5', "what it measures", 17),
    ("log alert", 'logs("a").rollup("count", "@x").last("5m") > 5', "what it measures", 17),
    ("log alert", 'logs("a").rollup("p95", "@x").last("5m") > 5', "rollup knows count", 17),
    ("log alert", 'logs("a").rollup("count").last("3d") > 5', "out of range", 31),
    ("log alert", 'logs("a").rollup("count").last(5) > 5', "expected a quoted text", 31),
    ("log alert", 'logs("\\"x\\" service: web").rollup("count").last("5m") > 5', "right after ':'", 19),
    ("slo alert", 'error_budget("x").over("7d") < 5', "> or >=", 29),
    ("slo alert", 'burn_rate("x").over("7d") > 5', ".long_window() is missing", 13),
    ("slo alert", 'error_budget("x").over("1y") > 5', "is not a window", 23),
    ("composite", "1 &&", "found the end", 4),
    ("composite", "1 & 2", "found '&'", 2),
    ("composite", "1.5 || 2", "whole number", 0),
    ("composite", "${slo:x} && 1", "found '$'", 0),
    ("rum alert", "x", "not evaluated locally", 0),
    ("room alert", "x", "not understood", 0),
    ("query alert", "avg(last_5m):avg:a{*} > threshold", "not evaluated locally", 22),
]

BAD_SEARCHES = [
    ("service: web", "right after ':'", 7),
    ("a AND", "found the end", 5),
    ("OR a", "stands between two terms", 0),
    ("a OR OR b", "stands between two terms", 5),
    ('"open', "found '\"'", 0),
    ("(a", "found the end", 2),
    ("a)", "found ')'", 1),
    ("@x:>abc", "not a number", 4),
    ("@x:[1 TO b]", "no number", 9),
    ("@x:[1 5]", "expected TO", 6),
    ("x:(y:z)", "only values can stand", 0),
    ("x:()", "found ')'", 3),
    ("a\\", "found '\\\\'", 1),
]


def refused(parse: Callable[[], object], message: str, position: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse()
    assert message in caught.value.message
    assert caught.value.position == position


@pytest.mark.parametrize(("text", "message", "position"), BAD_QUERIES)
def test_bad_query_is_refused(text: str, message: str, position: int) -> None:
    """A bad metric query is refused with what is wrong and where."""
    refused(lambda: parse_query(text), message, position)


@pytest.mark.parametrize(("type", "text", "message", "position"), BAD_MONITORS)
def test_bad_monitor_is_refused(type: str, text: str, message: str, position: int) -> None:
    """A bad monitor query is refused with what is wrong and where."""
    refused(lambda: parse_monitor(text, type), message, position)


@pytest.mark.parametrize(("text", "message", "position"), BAD_SEARCHES)
def test_bad_search_is_refused(text: str, message: str, position: int) -> None:
    """A bad search is refused with what is wrong and where."""
    refused(lambda: parse_search(text), message, position)


def test_formula_refuses_a_metric_query() -> None:
    """A metric query in a formula is a mistake that Datadog's editor accepts silently."""
    refused(lambda: parse_formula("a / sum:b{*}"), "goes into 'queries'", 4)


def test_metric_query_refuses_arithmetic() -> None:
    """`queries[].query` holds one metric query; arithmetic is the formula's business."""
    refused(lambda: parse_metric_query("avg:a{*} * 2"), "into a formula", 0)


def test_error_points_at_the_character() -> None:
    """The message carries the text and a caret below the character."""
    with pytest.raises(QueryError) as caught:
        parse_query("sum:a{x:1,}")
    assert str(caught.value).splitlines()[1:] == ["  sum:a{x:1,}", "            ^"]


@pytest.mark.parametrize(
    "text",
    ["(" * 5000 + "1" + ")" * 4999, "1" + "+1" * 4000, "-" * 5000 + "1", "avg:a{" + "NOT " * 1500 + "x:1}"],
)
def test_deep_nesting_is_refused(text: str) -> None:
    """Nesting that would exhaust the stack is an error like any other."""
    with pytest.raises(QueryError):
        parse_query(text)


@pytest.mark.parametrize("text", ["-" * 5000 + "x", "NOT " * 1500 + "x"])
def test_deep_search_is_refused(text: str) -> None:
    """The same holds for searches."""
    refused(lambda: parse_search(text), "nested deeper", 0)


def test_long_text_is_refused() -> None:
    """A text beyond the limit is refused before it is parsed, and not repeated in the message."""
    with pytest.raises(QueryError, match="too long") as caught:
        parse_search("a " * 6000)
    assert len(str(caught.value)) < 200
