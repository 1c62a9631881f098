"""Spans that others made are completed on their way out: each once, and nothing is kept of one that is never sent."""

from __future__ import annotations

import weakref
from typing import Any

from streaming_dd.output.tracing.outlet import Completion, weakly


class Span:
    """A span as far as it matters here."""


def test_a_span_is_completed_once_by_who_came_last() -> None:
    """A second `complete` replaces the first, and a trace that comes again is not completed again."""
    completion, span, told = Completion(), Span(), []
    completion.add(span, lambda span: told.append("first"))
    completion.add(span, lambda span: told.append("second"))
    completion.process_trace([Span(), span])
    completion.process_trace([span])
    assert told == ["second"]


def test_nothing_is_kept_of_a_span_that_is_never_sent() -> None:
    """Many spans that are forgotten, each at the address of one before it, leave nothing and complete none."""
    completion, told = Completion(), []
    for _ in range(100):
        completion.add(Span(), told.append)
    assert not completion._waiting
    completion.process_trace([Span()])
    assert told == []


def test_what_completes_a_span_does_not_keep_its_object() -> None:
    """`weakly` calls a bound method as long as its object lives."""

    class Exchange:
        def complete(self, span: Any) -> None:
            told.append(span)

    told: list[Any] = []
    exchange = Exchange()
    gone, call = weakref.ref(exchange), weakly(exchange.complete)
    call("a")
    del exchange
    call("b")
    assert told == ["a"]
    assert gone() is None
