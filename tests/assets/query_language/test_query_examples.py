"""Texts that Datadog accepts and what they mean."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streaming_dd.assets.query_language import (
    And,
    Arithmetic,
    ChangeMonitor,
    Compare,
    CompositeMonitor,
    Duration,
    EventMonitor,
    Everything,
    Fill,
    In,
    MetricMonitor,
    MetricQuery,
    MonitorId,
    Not,
    NotRead,
    Or,
    Phrase,
    Range,
    Rollup,
    ServiceCheckMonitor,
    SloMonitor,
    Tag,
    Term,
    Variable,
    parse_formula,
    parse_metric_query,
    parse_monitor,
    parse_queries,
    parse_query,
    parse_search,
    quantity,
    search_text,
    walk,
)
from streaming_dd.errors import QueryError

QUERIES = [
    "avg:system.load.1{*}",
    "sum:streaming.tasks.failed{env:prod,app:reports} by {model}.as_count()",
    "sum:a{!env:dev,region:eu-*}.as_rate().rollup(sum, 60)",
    "max:a{env:prod AND (region:eu OR region:us) AND NOT host:a}",
    "avg:a{env IN (prod,staging) AND host NOT IN (a,b)} by {host}",
    "p95:streaming.task.duration{$env,$service,model:$model.value}",
    "p99.9:a{*} by {route}",
    "avg:a{route:/stream/{id}}",
    "count:a{*}.fill(last, 300)",
    "sum:a{*}.as_count() / (sum:a{*}.as_count() + sum:b{*}.as_count()) * 100",
    "top(sum:a{*} by {model}.as_count(), 10, 'mean', 'desc')",
    "default_zero(sum:a{*}.as_count())",
    "timeshift(avg:a{*}, -3600)",
    "anomalies(avg:a{*}, 'basic', 2, direction='above', interval=60)",
    "-avg:a{*}",
    "avg:a{*} - (avg:b{*} - avg:c{*})",
    "avg:trace.task.run{env:prod} by {resource_name}",
    "sum:trace.asgi.request.hits.by_http_status{http.status_code:500}",
    "avg:a{production}",
]

MONITORS = {
    "query alert": [
        "avg(last_5m):avg:a{*} > 5",
        "sum(last_5m):sum:e{env:prod} by {model}.as_count() / sum:t{env:prod} by {model}.as_count() >= 0.05",
        "percentile(last_10m):p95:a{*} by {route} > 1500",
        "min(last_1w):min:a{*} <= -2.5",
        "pct_change(avg(last_1h),last_1w):p95:a{*} by {app} > 50",
        "change(sum(last_5m),1d_ago):sum:a{*}.as_count() < -10",
        "max(last_1mo):max:a{*} != 0",
    ],
    "service check": [
        '"streaming.health".over("env:prod","service:web").by("check").last(4).count_by_status()',
        '"http.can_connect".over("*").exclude("host:a").by("host","url").last(2).count_by_status()',
    ],
    "log alert": [
        'logs("service:web status:error").index("*").rollup("count").last("5m") > 10',
        'logs("\\"out of memory\\" -env:dev").index("main","audit").rollup("cardinality", "@usr.id").by("service,@model")'
        '.last("15m") >= 3',
    ],
    "trace-analytics alert": [
        'trace-analytics("env:prod operation_name:task.run").rollup("pc95", "@duration").by("resource_name")'
        '.last("1h") > 1000000000',
    ],
    "slo alert": [
        'error_budget("abc").over("7d") > 75',
        'burn_rate("${slo:task-success}").over("30d").long_window("1h").short_window("5m") > 14.4',
    ],
    "composite": ["1 && 2", "1 && (2 || !3)", "${monitor:task-errors} && !${monitor:no-data}"],
}

SEARCHES = [
    "*",
    "service:web",
    "service:web status:error",
    'service:web status:error @model:Summary @duration:>1s "free text" -x OR (a b)',
    "@http.status_code:[500 TO 599]",
    "@retries:[3 TO *]",
    "-@deleted_at:*",
    "host:eu-* -status:(info OR debug)",
    "NOT a -(b c)",
    "a AND b OR c",
    "$env service:$service.value",
    "resource_name:GET\\ /stream",
    '@error.message:"it said \\"no\\""',
    "@delta:-5",
    "*:boom",
    "env:prod@eu",
]


@pytest.mark.parametrize("text", QUERIES)
def test_metric_query_is_written_as_it_was_read(text: str) -> None:
    """A canonical query comes back character by character."""
    assert str(parse_query(text)) == text


@pytest.mark.parametrize(
    ("type", "text"), [(type, text) for type, texts in MONITORS.items() for text in texts]
)
def test_monitor_query_is_written_as_it_was_read(type: str, text: str) -> None:
    """A canonical monitor query of each type comes back character by character."""
    assert str(parse_monitor(text, type)) == text


@pytest.mark.parametrize("text", SEARCHES)
def test_search_means_the_same_when_read_again(text: str) -> None:
    """A search that is written out and read again is equal."""
    search = parse_search(text)
    assert parse_search(search_text(search)) == search


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("avg:a{}", "avg:a{*}"),
        ("avg: a { env:prod , x:y } by{ b , c }", "avg:a{env:prod,x:y} by {b,c}"),
        ("sum:a{*}.rollup(sum,60).as_count()", "sum:a{*}.as_count().rollup(sum, 60)"),
        ("avg:a{x:1 and not y:2}", "avg:a{x:1,!y:2}"),
        ("avg:a{not (x:1 or y:2)}", "avg:a{NOT (x:1 OR y:2)}"),
        ("avg:a{NOT x IN (1)}", "avg:a{x NOT IN (1)}"),
        ("avg:a{x:1 OR (y:2 AND z:3)}", "avg:a{x:1 OR y:2 AND z:3}"),
        ("(avg:a{*})", "avg:a{*}"),
        ("((1 + 2)) * 3", "(1 + 2) * 3"),
        ("1 + (2 * 3)", "1 + 2 * 3"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("AVG:a{*}".lower(), "avg:a{*}"),
    ],
)
def test_other_spellings_become_the_canonical_one(written: str, canonical: str) -> None:
    """White space, order of methods, superfluous parentheses and case of words do not change the meaning."""
    assert str(parse_query(written)) == canonical
    assert parse_query(written) == parse_query(canonical)


def test_nodes_of_a_metric_query() -> None:
    """Every part of a metric query has its field."""
    query = parse_metric_query(
        "sum:a.b{env:prod,!x:y*,$model} by {app,model}.as_count().rollup(max, 30).fill(zero)"
    )
    assert query == MetricQuery(
        "sum",
        "a.b",
        And((Tag("env", "prod"), Not(Tag("x", "y*")), Variable("model"))),
        ("app", "model"),
        "count",
        Rollup("max", 30),
        Fill("zero"),
    )
    assert [node.position for node in walk(query) if isinstance(node, Tag)] == [8, 18]


def test_nodes_of_a_boolean_filter() -> None:
    """AND binds tighter than OR, NOT tighter than both."""
    scope = parse_metric_query("sum:a{NOT x:1 AND y IN (2,3) OR z:4}").scope
    assert scope == Or((And((Not(Tag("x", "1")), In("y", ("2", "3")))), Tag("z", "4")))


def test_everything_is_the_default_scope() -> None:
    """Both `{}` and `{*}` mean all series."""
    assert parse_metric_query("avg:a{}").scope == parse_metric_query("avg:a{*}").scope == Everything()


def test_nodes_of_the_monitors() -> None:
    """Each family of monitor has its class."""
    metric = parse_monitor("sum(last_10m):sum:a{*} / sum:b{*} > 0.05", "metric alert")
    assert isinstance(metric, MetricMonitor)
    assert (metric.aggregator, metric.window.seconds, metric.comparator, metric.threshold) == (
        "sum",
        600,
        ">",
        0.05,
    )
    assert isinstance(metric.expression, Arithmetic)
    change = parse_monitor("pct_change(avg(last_1h),last_1w):avg:a{*} > 50")
    assert isinstance(change, ChangeMonitor)
    assert change.shift.duration.seconds == 7 * 86_400
    check = parse_monitor('"a".over("*").by("b").last(3).count_by_status()', "service check")
    assert check == ServiceCheckMonitor("a", ("*",), (), ("b",), 3)
    slo = parse_monitor('error_budget("x").over("7d") > 75', "slo alert")
    assert slo == SloMonitor("error_budget", "x", Duration(7, "d"), ">", 75)
    logs = parse_monitor('logs("a").rollup("count").by("service, @x").last("5m") > 1', "log alert")
    assert isinstance(logs, EventMonitor)
    assert logs.by == ("service", "@x")
    composite = parse_monitor("1 && !2", "composite")
    assert composite == CompositeMonitor(And((MonitorId("1"), Not(MonitorId("2")))))


def test_nodes_of_a_search() -> None:
    """A space is AND; a group's key is that of each of its words."""
    search = parse_search('service:(web OR api) @d:>=20ms "a b" @c:[1 TO *] -x')
    assert search == And(
        (
            Or((Term("service", "web"), Term("service", "api"))),
            Compare("@d", ">=", "20ms"),
            Phrase(None, "a b"),
            Range("@c", "1", "*"),
            Not(Term(None, "x")),
        )
    )
    assert parse_search("  ") == Everything()


def test_formula_names_queries() -> None:
    """A formula is arithmetic over names."""
    assert str(parse_formula("failed/(failed+completed)*100")) == "failed / (failed + completed) * 100"


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("-1.5", -1.5), ("1s", 1e9), ("20ms", 2e7), ("2m", 1.2e11), ("1e3", 1000)]
)
def test_quantities_of_time_are_nanoseconds(text: str, value: float) -> None:
    """Durations of spans and logs are nanoseconds, so a unit converts to them."""
    assert quantity(text) == value


@pytest.mark.parametrize("text", ["", "abc", "5x", "1 s", "s", "1.2.3"])
def test_what_is_no_quantity(text: str) -> None:
    """Text that is not a number, with or without a known unit, is None."""
    assert quantity(text) is None


@pytest.mark.process
def test_importing_does_not_import_lark() -> None:
    """The grammar is read at the first parse, not at import."""
    code = "import sys, streaming_dd.assets.query_language; print('lark' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


# --- what real dashboards and monitors hold, beside what ours do ----------------------------------------------------

REAL_QUERIES = [
    "avg:a{$sync.table.name}",
    "avg:a{service:$svc.name.value,$env.value}",
    "avg:system.load.1{*}.fill(zero, 0)",
    "avg:a{*}.fill(60)",
    "avg:a{*} by {host}.weighted()",
    "sum:a{*}.as_count().rollup(sum, daily)",
    "sum:a{*}.rollup('max', 60)",
    "sum:a{group:} by {resource}",
]


@pytest.mark.parametrize("text", REAL_QUERIES)
def test_query_of_a_real_dashboard_parses(text: str) -> None:
    """Variables with dots, fills without a mode or of zero, weighted(), calendar rollups and empty tags parse."""
    (query,) = parse_queries(text)
    assert parse_query(str(query)) == query


def test_query_without_an_aggregator_is_an_average_on_dashboards() -> None:
    """`system.load.1{*}` is avg on a dashboard; a monitor's API refuses it, and so do we."""
    assert str(parse_query("system.load.1{*}")) == "avg:system.load.1{*}"
    with pytest.raises(QueryError, match="has no aggregator"):
        parse_monitor("avg(last_5m):system.load.1{*} > 5")


def test_one_q_may_hold_several_queries() -> None:
    """The old `q` of a widget separates queries with commas; a call's own commas are none of them."""
    found = parse_queries("avg:a{x:1,y:2} by {h}, top(sum:b{*} by {h}, 10, 'mean', 'desc'),max:c{*}")
    assert [type(each).__name__ for each in found] == ["MetricQuery", "Call", "MetricQuery"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("@a:(>=400 <500)", "@a:>=400 @a:<500"),
        ("@s:([400 TO 499] OR [500 TO 599])", "@s:[400 TO 499] OR @s:[500 TO 599]"),
        ("-@@x:1", "-@@x:1"),
        ("#tag:yes $client.ip", "#tag:yes $client.ip"),
    ],
)
def test_search_of_a_real_dashboard_parses(text: str, written: str) -> None:
    """A key's parentheses may hold comparisons and ranges; keys begin with @, @@ or #."""
    assert search_text(parse_search(text)) == written


@pytest.mark.parametrize("text", [">=400", "x OR [400 TO 499]", "@a:1 <500"])
def test_comparison_without_a_field_is_refused(text: str) -> None:
    """Outside of a key's parentheses a comparison has nothing to compare."""
    with pytest.raises(QueryError, match="needs a field"):
        parse_search(text)


@pytest.mark.parametrize(
    ("type", "text"),
    [
        ("query alert", "max(next_2w):forecast(avg:a{*}, 'linear', 1, interval='60m') >= 5"),
        ("log alert", 'formula("a / b * 100").by("service").last("15m") > 5'),
        ("query alert", 'formula("a").last("5m") >= 1.5'),
        ("service check", '"a.up".last(2).count_by_status()'),
        ("service check", '"a.up".by("host").last(4).count_by_status()'),
    ],
)
def test_monitor_of_a_real_account_parses(type: str, text: str) -> None:
    """Forecast windows, formulas over the options' queries, and service checks without a scope."""
    query = parse_monitor(text, type)
    assert parse_monitor(str(query), type) == query


@pytest.mark.parametrize(
    "type", ["rum alert", "audit alert", "ci-pipelines alert", "cost alert", "process alert"]
)
def test_monitor_kind_that_is_not_read_says_so(type: str) -> None:
    """A kind that Datadog has is no syntax error: it says that it is not evaluated here."""
    with pytest.raises(NotRead, match="not evaluated locally"):
        parse_monitor("whatever it is", type)
