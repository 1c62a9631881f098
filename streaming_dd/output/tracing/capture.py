"""Spans given to a test in place of the Agent, and ddtrace's tracer lent to one. State: in the outlet's `taken_by`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from ...config import Config
from .tracer import import_tracer, outlet, put_filters, renew_exporter


@contextmanager
def captured(take: Callable[[Sequence[Any]], None]) -> Iterator[None]:
    """Give finished spans to `take`, a trace (or a part of it) at a time, instead of sending them; for tests.

    Inside the block spans are made also where DD_TRACE_ENABLED is false.
    """
    with borrowed() as tracer:
        if not put_filters(tracer):
            tracer.configure(trace_processors=[outlet])
        outlet.taken_by.append(take)
        try:
            yield
        finally:
            outlet.taken_by.remove(take)


@contextmanager
def borrowed() -> Iterator[Any]:
    """Switch ddtrace's tracer on inside the block, and put its address and names back afterwards; for tests."""
    import ddtrace

    tracer = import_tracer(Config())
    settings = cast("Any", ddtrace.config)
    names = {name: getattr(settings, name, None) for name in ("service", "env", "version")}
    address, enabled, tracer.enabled = tracer.agent_trace_url, tracer.enabled, True
    try:
        yield tracer
    finally:
        tracer.enabled = enabled
        changed = [name for name in names if getattr(settings, name, None) != names[name]]
        for name in changed:
            setattr(settings, name, names[name])
        if address and tracer.agent_trace_url != address:
            tracer._agent_url = address
            changed.append("address")
        if changed:
            renew_exporter(tracer)
