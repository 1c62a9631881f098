"""Spans that ddtrace's own integrations made are masked on their way out as ours are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from streaming_dd.output.tracing import tracer as own

LITERAL = "SELECT 1 AS a WHERE 'x' = 'y' OR 'password=hunter2x' = 'z'"
PLACEHOLDER = "SELECT ? AS token WHERE 1=1"


@pytest.fixture
def left(configure: Any) -> Iterator[list[Any]]:
    """The spans that would have gone to the Agent."""
    configure(tracing_enabled=True, log_redact=["iban"])
    taken: list[Any] = []
    own.outlet.taken_by.append(taken.extend)
    yield taken
    own.outlet.taken_by.remove(taken.extend)


def made(name: str, tags: dict[str, str], *, resource: str = "", kind: str = "http") -> None:
    with own.current.start_span(name, resource=resource or name, span_type=kind) as span:
        span.set_tags(tags)


def test_what_integrations_tell_of_a_call_is_masked(left: list[Any]) -> None:
    """URLs, statements, commands and errors lose secrets, by the user's own keys too; anything else stays."""
    made("requests.request", {"http.url": "https://u:hunter2x@h/a?token=hunter2x", "component": "requests"})
    made("redis.command", {"redis.raw_command": "SET a iban=DE02", "out.host": "token=kept"}, kind="redis")
    made("x", {"error.message": "no way to amqp://u:hunter2x@h"})
    assert left[0].get_tag("http.url") == "https://u:***@h/a?token=***"
    assert left[1].get_tag("redis.raw_command") == "SET a iban=***"
    assert left[1].get_tag("out.host") == "token=kept"
    assert left[2].get_tag("error.message") == "no way to amqp://u:***@h"


def test_a_statement_is_masked_where_it_quotes_a_text(left: list[Any]) -> None:
    """The sqlite integration's resource is the statement; one with placeholders stays as it is."""
    from ddtrace import patch
    from ddtrace.contrib.internal.sqlite3.patch import unpatch

    patch(sqlite3=True)
    try:
        connection = sqlite3.connect(":memory:")
        connection.execute(LITERAL).fetchall()
        connection.execute(PLACEHOLDER, (1,)).fetchall()
        connection.close()
    finally:
        unpatch()
    told = [span.resource for span in left if span.name == "sqlite.query"]
    assert told == [LITERAL.replace("hunter2x", "***"), PLACEHOLDER]


def test_a_statement_of_bytes_is_masked_as_well(left: list[Any]) -> None:
    """Drivers take statements as bytes, too, and ddtrace makes them a resource as they are."""
    for statement in (LITERAL.encode(), PLACEHOLDER.encode()):
        with own.current.start_span("query", span_type="sql") as span:
            span.resource = statement
    assert [span.resource for span in left] == [LITERAL.replace("hunter2x", "***"), PLACEHOLDER.encode()]


def test_tags_for_every_span_are_masked(configure: Any, left: list[Any]) -> None:
    """A tag of DD_TAGS whose key tells of a secret is masked on every span, other tags are not."""
    before = dict(own.current._tags)
    try:
        own.current.set_tags({"password": "hunter2x", "team": "data", "dsn": "amqp://u:hunter2x@h"})
        configure(tracing_enabled=True)
        with own.current.start_span("any") as span:
            pass
        assert left == [span]
        assert span.get_tag("password") == "***"
        assert span.get_tag("team") == "data"
        assert span.get_tag("dsn") == "amqp://u:***@h"
    finally:
        own.current._tags = before
