"""Finished spans in memory, as ddtrace would have sent them. State: a `SpanCapture` per capture."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

_SHOWN: Final = 60
#: Tags that ddtrace adds by itself and that say nothing in a failure message.
_NOISE: Final = frozenset({"runtime-id", "language", "component", "process_id", "span.kind"})


@dataclass(frozen=True, slots=True)
class CapturedSpan:
    """One finished span. Ids are integers as in ddtrace, `duration` is in seconds, `error` is 0 or 1."""

    name: str
    resource: str
    service: str
    type: str
    trace_id: int
    span_id: int
    parent_id: int
    start: float
    duration: float
    error: int
    tags: Mapping[str, str] = field(repr=False)
    metrics: Mapping[str, float] = field(repr=False)
    #: (trace id, span id, attributes) of what it links to.
    links: tuple[tuple[int, int, Mapping[str, str]], ...] = field(repr=False)

    def links_to(self, other: CapturedSpan) -> bool:
        """Return whether it has a link to `other`."""
        return any((trace, span) == (other.trace_id, other.span_id) for trace, span, _ in self.links)

    def line(self) -> str:
        """Return it on one line, with the tags that tell something."""
        shown = {**self.tags, **self.metrics}
        tags = [
            f"{key}={str(value)[:60]}"
            for key, value in sorted(shown.items())
            if not key.startswith("_") and key not in (*_NOISE, "error.stack")
        ]
        mark = " ERROR" if self.error else ""
        return f"{self.name} [{self.resource}] {self.duration * 1000:.1f} ms{mark} {' '.join(tags)}".rstrip()


class SpanCapture:
    """The spans that finished since the test began, those of ddtrace's own integrations included.

    ddtrace hands spans over when their trace is complete: a child shows up when its root has finished.
    """

    def __init__(self) -> None:
        self._began_ns = time.time_ns()
        self._spans: list[CapturedSpan] = []

    def take(self, trace: Sequence[Any]) -> None:
        """Take a finished trace; spans of an earlier test, whose task went on, are left out."""
        self._spans.extend(_copy(span) for span in trace if span.start_ns >= self._began_ns)

    # --- what there is ----------------------------------------------------------------------------------------

    @property
    def spans(self) -> list[CapturedSpan]:
        """Return all spans, in the order in which their traces finished."""
        return list(self._spans)

    def find(
        self,
        name: str | None = None,
        *,
        resource: str | None = None,
        service: str | None = None,
        error: bool | None = None,
        tags: Mapping[str, object] | None = None,
    ) -> list[CapturedSpan]:
        """Return the spans that match; `tags` may name tags and numeric ones (`stream.events`)."""
        return [
            span
            for span in self._spans
            if name in (None, span.name)
            and resource in (None, span.resource)
            and service in (None, span.service)
            and error in (None, bool(span.error))
            and all(_equal(span, key, value) for key, value in (tags or {}).items())
        ]

    def children(self, span: CapturedSpan) -> list[CapturedSpan]:
        """Return the spans whose parent is `span`."""
        return [
            item for item in self._spans if (item.trace_id, item.parent_id) == (span.trace_id, span.span_id)
        ]

    def clear(self) -> None:
        """Forget what has finished so far."""
        self._spans.clear()

    # --- assertions -------------------------------------------------------------------------------------------

    def one(self, name: str | None = None, **criteria: Any) -> CapturedSpan:
        """Return the one span that matches, as `find` does; fail if there is none, or more than one."""
        found = self.find(name, **criteria)
        if len(found) != 1:
            self._fail(f"{len(found)} spans match {_described(name, criteria)}, not 1.")
        return found[0]

    def assert_none(self, name: str | None = None, **criteria: Any) -> None:
        """Fail if a span matches, as `find` does."""
        found = self.find(name, **criteria)
        if found:
            self._fail(f"{len(found)} spans match {_described(name, criteria)}, where none should.")

    def _fail(self, problem: str) -> NoReturn:
        raise AssertionError(f"{problem}\nCaptured spans:\n{self.tree()}")

    def tree(self) -> str:
        """Return the traces as trees, one span a line."""
        lines: list[str] = []
        ids = {(span.trace_id, span.span_id) for span in self._spans}
        for root in sorted(self._spans, key=lambda span: span.start):
            if (root.trace_id, root.parent_id) not in ids:
                self._add_lines(root, 1, lines)
        if len(lines) > _SHOWN:
            lines[_SHOWN:] = [f"  ... and {len(lines) - _SHOWN} spans more"]
        return "\n".join(lines) or "  none"

    def _add_lines(self, span: CapturedSpan, depth: int, lines: list[str]) -> None:
        trace = f" (trace {_short(span.trace_id)})" if depth == 1 else ""
        linked = "".join(f" -> trace {_short(to)}" for to in sorted({link[0] for link in span.links}))
        lines.append(f"{'  ' * depth}{span.line()}{trace}{linked}")
        for child in sorted(self.children(span), key=lambda item: item.start):
            self._add_lines(child, depth + 1, lines)


def _short(trace_id: int) -> str:
    return f"..{trace_id:032x}"[-6:]


def _copy(span: Any) -> CapturedSpan:
    links: list[Any] = getattr(span, "_get_links", list)()
    return CapturedSpan(
        span.name,
        span.resource or "",
        span.service or "",
        span.span_type or "",
        span.trace_id,
        span.span_id,
        span.parent_id or 0,
        span.start_ns / 1e9,
        (span.duration_ns or 0) / 1e9,
        span.error,
        dict(span.get_tags()),
        dict(span.get_metrics()),
        tuple((link.trace_id, link.span_id, dict(link.attributes or {})) for link in links or ()),
    )


def _equal(span: CapturedSpan, key: str, value: object) -> bool:
    if key in span.metrics:
        return span.metrics[key] == value
    return key in span.tags and span.tags[key] == str(value)


def _described(name: str | None, criteria: Mapping[str, object]) -> str:
    return ", ".join(
        [*([repr(name)] if name else []), *(f"{key}={value!r}" for key, value in criteria.items())]
    )
