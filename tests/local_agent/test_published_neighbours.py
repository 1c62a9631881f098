"""Cases beside those of the other tests, from what Datadog publishes, written anew.

Events, checks and metrics: datadog-agent comp/dogstatsd/server/impl/parse_*_test.go. Cut lines: its
pkg/logs/internal/decoder/single_line_handler_test.go. Statuses: docs logs/log_configuration/processors. Messages: docs
monitors/notify/variables. Queries: docs dashboards/functions, monitors/types, and dashboards of integrations.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from local_agent_helpers import START, Clock

from streaming_dd.assets.documents import Asset
from streaming_dd.assets.lint.rules import lint
from streaming_dd.assets.query_language import (
    NotRead,
    parse_formula,
    parse_monitor,
    parse_query,
    parse_search,
    search_text,
)
from streaming_dd.errors import QueryError
from streaming_dd.local_agent.intake import dogstatsd, logs
from streaming_dd.local_agent.intake.dogstatsd import Event, Sample, ServiceCheck
from streaming_dd.local_agent.intake.logs import Log
from streaming_dd.local_agent.intake.sockets import LineSplitter
from streaming_dd.local_agent.monitors.notification import Occasion, render
from streaming_dd.local_agent.queries import explorer
from streaming_dd.local_agent.queries.evaluate import Evaluation
from streaming_dd.local_agent.queries.filters import Choice
from streaming_dd.local_agent.queries.functions import Unsupported
from streaming_dd.local_agent.queries.lines import Grid
from streaming_dd.local_agent.store.records import Records
from streaming_dd.local_agent.store.series import Store

TAKEN: list[tuple[bytes, Event | ServiceCheck | Sample]] = [
    (rb"_e{10,24}:test title|test\line1\nline2\nline3", Event("test title", "test\\line1\nline2\nline3")),
    (b"_e{10,4}:test|title|text", Event("test|title", "text")),
    (b"_e{10,0}:test title|", Event("test title", "")),
    (b"_e{10,0}:test title||t:warning", Event("test title", "", alert_type="warning")),
    (b"_e{5,4}:title|text|x:1234", Event("title", "text")),
    (b"_sc|agent.up|0|d:21|h:one|h:two|d:22", ServiceCheck("agent.up", "ok", 22, "two")),
    (b"_sc|agent.up|0|d:some_time", ServiceCheck("agent.up", "ok")),
    (b"_sc|agent.up|0|u:unknown", ServiceCheck("agent.up", "ok")),
    (b"daemon:666|g|#", Sample("daemon", "g", (666.0,))),
    (b"daemon:666|g|m:test", Sample("daemon", "g", (666.0,))),
    (b"metric:1234|g|#|T1657100430", Sample("metric", "g", (1234.0,), timestamp=1657100430)),
    (b"metric:1|g|T1657100540|@0.25|#a", Sample("metric", "g", (1.0,), ("a",), 1657100540, 0.25)),
]
REFUSED = [
    b"_e:title|text", b"_e{10,10}:title|text", b"_e{0,0}:a|a", b"_e{5555:title|text", b"_e{5,}:title|text",
    b"_e{,4}:title|text", b"_e{}:title|text", b"_e|text", b"_e{-123,-987}:", b"_e{0001,-9876",
    b"_sc|agent.up|", b"_sc||", b"_sc|", b"_sc|agent.up|21", b"abc666|g",
]  # fmt: skip
STATUSES = {
    "Trace": "debug", "VERBOSE": "debug", "Fatal": "emergency", "EMERG": "emergency", "crit": "critical", "Alert": "alert",
    "success": "ok", "OK": "ok", "e": "info", "8": "info", -1: "info", 7: "debug", "4": "warn",
}  # fmt: skip
PARSED = [
    "avg:a{$env} by {$group,host}",
    "avg:a{env:$env.value}",
    "sum:a{*} by {b}.rollup(sum).as_count()",
    "top(avg:a{*} by {b}, 10, 'mean', 'desc')",
    'calendar_shift(avg:a{*}, "-1d", "UTC")',
    "avg:a{host NOT IN (a,b)}",
    "avg:a{!$env}",
]


@pytest.mark.parametrize(("line", "message"), TAKEN)
def test_line_that_the_agent_takes(line: bytes, message: object) -> None:
    """Odd fields are passed over, of two the later counts, texts may be empty and titles hold a bar."""
    assert dogstatsd.parse(line) == message


@pytest.mark.parametrize("line", REFUSED)
def test_line_that_the_agent_drops(line: bytes) -> None:
    """Half a header, lengths that do not fit, an unknown status."""
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        dogstatsd.parse(line)


@pytest.mark.parametrize(("written", "status"), STATUSES.items())
def test_status_by_its_first_letters(written: object, status: str) -> None:
    """Numbers are syslog's, words are known by how they begin, whatever else is info."""
    assert logs.status_of(written) == status


def test_cut_lines_have_no_space_at_the_cut() -> None:
    """What is cut is trimmed before the mark stands at its end; a third piece has marks at both."""
    splitter = LineSplitter(20)
    assert splitter.feed(b"a" * 16 + b" " * 4 + b"  aaaaaa\nnext\n") == [
        b"a" * 16 + b"...TRUNCATED...", b"...TRUNCATED...aaaaaa", b"next",
    ]  # fmt: skip
    assert splitter.feed(b"b" * 45 + b"\n") == [
        b"b" * 20 + b"...TRUNCATED...", b"...TRUNCATED..." + b"b" * 20 + b"...TRUNCATED...", b"...TRUNCATED..." + b"b" * 5,
    ]  # fmt: skip


@pytest.mark.parametrize("text", PARSED)
def test_query_that_datadog_takes(text: str) -> None:
    """It parses, and is written as it was read."""
    assert parse_query(str(parse_query(text))) == parse_query(text)


def test_scope_as_an_argument() -> None:
    """Datadog's editor writes `{*}` as the last argument of percentile()."""
    formula = parse_formula("percentile(query1, 'p90', { * })")
    assert str(formula) == "percentile(query1, 'p90', '{*}')"


def test_group_by_a_template_variable(clock: Clock) -> None:
    """What is chosen for the variable are the keys; without a choice it is said that one is missing."""
    store = Store(clock=clock)
    for host in ("a", "b"):
        store.put("g", frozenset((f"host:{host}", "env:x")), "gauge", START, 1.0)
    query, grid = parse_query("sum:g{*} by {$group}"), Grid(START, 10, 1)
    lines = Evaluation(store, {"group": Choice("group", ("host",))}).lines(query, grid).lines
    assert [line.group for line in lines] == [{"host": "a"}, {"host": "b"}]
    with pytest.raises(Unsupported, match="nothing is chosen for \\$group"):
        Evaluation(store).lines(query, grid)


def test_share_of_checks_is_read_and_not_evaluated() -> None:
    """A cluster alert on service checks is Datadog's, and no syntax error."""
    with pytest.raises(NotRead, match="pct_by_status"):
        parse_monitor(
            '"a.up".over("env:prod").exclude("host:x").by("host").last(2).pct_by_status()',
            "service check",
        )
    with pytest.raises(NotRead, match="pct_by_status"):
        parse_monitor('"a.up".by("host").last(2).pct_by_status()', "service check")
    with pytest.raises(QueryError, match="is missing"):
        parse_monitor('"a.up".by("host").last(2)', "service check")


@pytest.mark.parametrize("text", [r"@a.b\:c:d", r"@a.b\:c:(x OR d)", r"@my\-key:>4", r"@my\-key:5"])
def test_attribute_with_an_escaped_letter(text: str) -> None:
    """A backslash hides a letter of an attribute's name from the syntax."""
    records = Records()
    records.add_logs([Log(START, "info", "hello", attributes={"a.b:c": "d", "my-key": 5})])
    assert len(explorer.logs(records, parse_search(text), start=START - 1, end=START + 1)) == 1
    assert parse_search(search_text(parse_search(text))) == parse_search(text)


@pytest.mark.parametrize("text", [r"@a\'b:>1", r"@a\"b:x", r"@\'\;:x", r"@a\'\)\ OR\ 1\=\(1:>0"])
def test_no_letter_of_an_attribute_leaves_its_query(text: str) -> None:
    """Quotes and brackets that a backslash brings into a key are letters of the key, in the database too."""
    records = Records()
    records.add_logs([Log(START, "info", "hello", attributes={"a": 1})])
    with suppress(QueryError):
        assert explorer.logs(records, parse_search(text), start=START - 1, end=START + 1) == []


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("{{#is_priority 'P1'}}page{{/is_priority}}", "page"),
        ('{{#is_priority "2"}}page{{/is_priority}}', ""),
        ("{{^is_priority 'P2'}}page{{/is_priority}}", "page"),
        ('{{#is_exact_match "value" "5"}}five{{/is_exact_match}}', "five"),
        ('{{#is_exact_match "value" "5.00"}}five{{/is_exact_match}}', "five"),
        ('{{#is_exact_match "host.name" "web"}}yes{{/is_exact_match}}', ""),
        ('{{#is_match "host.name" "web"}}yes{{/is_match}}', "yes"),
        ("{{#is_unknown}}?{{/is_unknown}}", ""),
    ],
)
def test_condition_of_a_message(message: str, text: str) -> None:
    """Priorities, and numbers that are the same though written otherwise; the lint knows them all."""
    occasion = Occasion("Alert", "OK", 5.0, {"host": "web-1"}, {"critical": 3}, ">", priority=1)
    assert render(message, occasion) == text
    monitor = {
        "name": "m", "type": "query alert", "query": "avg(last_5m):avg:a{*} by {host} > 3", "message": message,
        "options": {"thresholds": {"critical": 3}, "on_missing_data": "default"},
    }  # fmt: skip
    assert [each.rule for each in lint([Asset("monitor", "m", monitor)], strict=False)] == []
