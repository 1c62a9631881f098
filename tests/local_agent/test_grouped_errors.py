"""Errors by fingerprint: spans and log lines of one exception are one, the same fault elsewhere is another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from local_agent_helpers import START, make_span

from streaming_dd.assets.query_language import parse_search
from streaming_dd.local_agent.intake.logs import Log
from streaming_dd.local_agent.intake.spans import Span
from streaming_dd.local_agent.queries import errors
from streaming_dd.local_agent.store.records import Records

EVER = {"start": START - 60.0, "end": START + 3600.0}
STACK = """Traceback (most recent call last):
  File "/venv/lib/python3.12/site-packages/starlette/routing.py", line 78, in app
    await handle(request)
  File "/srv/shop/reports.py", line {line}, in render
    total / count
  File "/venv/lib/python3.12/site-packages/numbers.py", line 3, in divide
    return a / b
ZeroDivisionError: division by zero
"""


@pytest.fixture
def kept() -> Iterator[Records]:
    made = Records()
    yield made
    made.close()


def failed(
    trace: int, *, at: float = 0.0, took: float = 1.0, name: str = "asgi.request", **meta: str
) -> Span:
    """Return a failed span of a trace; `meta` are its error's attributes, with `_` for the dot."""
    told = {key.replace("_", "."): value for key, value in meta.items()}
    span = make_span(name=name)
    return replace(
        span, trace_id=f"{trace:032x}", span_id=str(int(at * 1000) + trace), parent_id="0", service="shop",
        start_ns=int((START + at) * 1e9), duration_ns=int(took * 1e9), error=1, meta=told,
    )  # fmt: skip


def line(trace: int | None, *, at: float = 0.0, kind: str = "ZeroDivisionError", stack: str = "") -> Log:
    attributes: dict[str, Any] = {"error.kind": kind, "error.message": "division by zero"}
    attributes |= {"error.stack": stack} if stack else {}
    trace_id = f"{trace:032x}" if trace is not None else ""
    return Log(START + at, "error", "it failed", "shop", trace_id=trace_id, attributes=attributes)


def zero(trace: int, *, number: int = 10, **options: Any) -> Span:
    stack = STACK.format(line=number)
    return failed(trace, error_type="builtins.ZeroDivisionError", error_message="division by zero",
                  error_stack=stack, **options)  # fmt: skip


def test_an_exception_on_two_spans_and_in_two_lines_is_one(kept: Records) -> None:
    """It is counted once: by trace and type, whatever module a span names; a line without a trace joins the nearest."""
    kept.add_spans([zero(1, at=0.1, took=0.2, name="db.query"), zero(1, took=1.0)])
    kept.add_logs([line(1, at=0.3), line(None, at=1.1, stack=STACK.format(line=10))])
    (row,) = errors.groups(kept, **EVER)
    assert (row["kind"], row["operation"], row["count"], row["logs"]) == (
        "ZeroDivisionError", "asgi.request", 1, 2,
    )  # fmt: skip
    assert (row["file"], row["line"], row["function"]) == ("/srv/shop/reports.py", 10, "render")
    assert [trace["trace_id"] for trace in row["traces"]] == [f"{1:032x}"]
    assert sum(row["counts"]) == 1


def test_a_line_that_moved_is_the_same_fault(kept: Records) -> None:
    """A new version moves the line, not the fault: one row, both versions, the newest line."""
    kept.add_spans([zero(1, version="1.0"), zero(2, at=60, number=14, version="1.1")])
    (row,) = errors.groups(kept, **EVER)
    assert (row["count"], row["line"], row["versions"]) == (2, 14, ["1.0", "1.1"])
    assert row["last"] - row["first"] == pytest.approx(60)


def test_another_operation_type_or_place_is_another_fault(kept: Records) -> None:
    """Each part of the fingerprint tells faults apart."""
    elsewhere = STACK.format(line=10).replace("in render", "in count")
    kept.add_spans(
        [
            zero(1),
            zero(2, name="task.run"),
            failed(3, error_type="ValueError", error_stack=STACK.format(line=10)),
            failed(4, error_type="ZeroDivisionError", error_stack=elsewhere),
        ]
    )
    assert len(errors.groups(kept, **EVER)) == 4


def test_a_failed_status_is_explained_by_the_exception_within(kept: Records) -> None:
    """A span of status 500 without a type is no second error; alone it is one, called by its status."""
    kept.add_spans(
        [
            zero(1, at=0.1, took=0.1, name="task.run"),
            failed(1),
            replace(failed(2), meta={"http.status_code": "500"}),
        ]
    )
    rows = errors.groups(kept, **EVER)
    assert sorted((row["kind"], row["count"]) for row in rows) == [("HTTP 500", 1), ("ZeroDivisionError", 1)]


def test_lines_alone_are_errors_too(kept: Records) -> None:
    """Lines without a trace cannot be told to be one exception: each is an error, together they are one row."""
    kept.add_logs([line(None), line(None, at=0.1), line(None, at=30), line(None, kind="OSError")])
    rows = {row["kind"]: row for row in errors.groups(kept, **EVER)}
    assert {kind: row["count"] for kind, row in rows.items()} == {"ZeroDivisionError": 3, "OSError": 1}
    assert rows["ZeroDivisionError"]["logs"] == 3


def test_a_search_narrows_the_errors(kept: Records) -> None:
    """The search is that of spans and logs."""
    kept.add_spans([zero(1), failed(2, error_type="ValueError")])
    found = errors.groups(kept, parse_search("@error.type:ValueError"), **EVER)
    assert [row["kind"] for row in found] == ["ValueError"]


def test_tasks_and_chained_exceptions(kept: Records) -> None:
    """The task is named, and of chained exceptions the last one's frame counts."""
    chained = STACK.format(line=3) + "\nDuring handling of the above exception, another exception occurred:\n\n" + (
        'Traceback (most recent call last):\n  File "/srv/shop/tasks.py", line 9, in run\n    raise Failed\nFailed\n'
    )  # fmt: skip
    told = {"task_app": "shop", "task_model": "export", "task_id": "7"}
    kept.add_spans([failed(1, name="task.run", error_type="shop.Failed", error_stack=chained, **told)])
    (row,) = errors.groups(kept, **EVER)
    assert (row["function"], row["line"]) == ("run", 9)
    assert row["tasks"] == [{"app": "shop", "model": "export", "id": "7", "trace_id": f"{1:032x}"}]


def test_thousands_of_occurrences_stay_bounded(kept: Records) -> None:
    """The answer names at most twenty traces of a fault, however often it happened, and says how many there were."""
    kept.add_spans(zero(trace, at=trace / 1000) for trace in range(1, 3001))
    (row,) = errors.groups(kept, **EVER)
    assert (row["count"], row["trace_count"], len(row["traces"])) == (3000, 3000, 20)
