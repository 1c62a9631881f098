"""A laboratory: stores with a clock that is set by hand, values put in at exact times, monitors evaluated step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streaming_dd.assets.query_language import parse_query
from streaming_dd.local_agent.intake.dogstatsd import ServiceCheck
from streaming_dd.local_agent.intake.logs import Log
from streaming_dd.local_agent.intake.spans import Span
from streaming_dd.local_agent.monitors.evaluation import Monitors
from streaming_dd.local_agent.queries.evaluate import Evaluation
from streaming_dd.local_agent.queries.filters import Choice
from streaming_dd.local_agent.queries.lines import Grid
from streaming_dd.local_agent.store.records import Records
from streaming_dd.local_agent.store.series import Store
from streaming_dd.local_agent.store.sketch import Sketch

NOW = 1_800_000_000  # a multiple of 3600
Value = float | None


class Laboratory:
    """Stores at a fixed time. Offsets are seconds from `NOW`, positive ones lie after it."""

    def __init__(self) -> None:
        self.time = float(NOW)
        self.store = Store(clock=lambda: self.time)
        self.records = Records()
        self.monitors = Monitors(self.store, self.records)

    # what comes in

    def put(self, kind: str, metric: str, values: Mapping[int, float], *tags: str) -> None:
        """Put values of a count or gauge at offsets."""
        for offset, value in values.items():
            assert self.store.put(metric, frozenset(tags), kind, NOW + offset, value)  # type: ignore[arg-type]

    def count(self, metric: str, values: Mapping[int, float], *tags: str) -> None:
        self.put("count", metric, values, *tags)

    def gauge(self, metric: str, values: Mapping[int, float], *tags: str) -> None:
        self.put("gauge", metric, values, *tags)

    def sketch(self, metric: str, values: Mapping[int, Iterable[float]], *tags: str) -> None:
        """Put distributions at offsets."""
        for offset, numbers in values.items():
            sketch = Sketch()
            sketch.add(numbers)
            assert self.store.put_sketch(metric, frozenset(tags), NOW + offset, sketch)

    def check(
        self, name: str, statuses: Sequence[str], *tags: str, at: int = 0, every: int = 10, message: str = ""
    ) -> None:
        """Put service checks, the first at an offset."""
        for index, status in enumerate(statuses):
            time = NOW + at + index * every
            self.store.put_check(time, ServiceCheck(name, status, time, message=message), frozenset(tags))

    def log(self, offset: int, message: str = "", status: str = "info", **attributes: Any) -> None:
        service = attributes.pop("service", "")
        self.records.add_logs([Log(NOW + offset, status, message, service=service, attributes=attributes)])

    def span(
        self, ended: int, duration: float = 0.1, *, error: int = 0, resource: str = "r", **meta: str
    ) -> None:
        start = int((NOW + ended - duration) * 1e9)
        self.records.add_spans(
            [
                Span(
                    "0" * 31 + "1",
                    "1",
                    "0",
                    "task.run",
                    resource,
                    "web",
                    "worker",
                    start,
                    int(duration * 1e9),
                    error,
                    dict(meta),
                )
            ]
        )

    # what is asked

    def over_time(
        self, query: str, start: int, end: int, step: int = 10, variables: Mapping[str, Choice] | None = None
    ) -> dict[str, list[Value]]:
        """Evaluate a query between offsets; values by the label of the group."""
        grid = Grid(NOW + start, step, (end - start) // step)
        found = Evaluation(self.store, variables or {}).lines(parse_query(query), grid)
        return {line.label: line.values for line in found.lines}

    # what monitors say

    def monitor(self, query: str, type: str = "query alert", name: str = "m", **options: Any) -> None:
        """Add a monitor; options go into `options`, but for `message`."""
        document: dict[str, Any] = {
            "name": name,
            "type": type,
            "query": query,
            "message": options.pop("message", "{{value}}"),
        }
        monitor = self.monitors.add(name, document | {"options": {"new_group_delay": 0, **options}})
        assert not monitor.problem, monitor.problem

    def at(self, offset: int, name: str = "m") -> dict[str, str]:
        """Evaluate at an offset; return the states of a monitor's groups by label."""
        self.time = float(NOW + offset)
        self.monitors.evaluate(self.time)
        monitor = self.monitors.monitors.get(name)
        return {group.label: group.state for group in monitor.groups.values()} if monitor else {}

    def said(self) -> list[str]:
        """Return the titles of all notifications so far."""
        return [notification.title for notification in self.monitors.notifications]
