"""What arrived, as it was sent: for tests and for the demo's terminal. State: one `Received` per agent.

Written on the agent's thread, read from any: every attribute returns a copy, `wait_for` blocks without polling.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ..intake.dogstatsd import Event, Sample, ServiceCheck
from ..intake.spans import Span
from .aggregate import Malformed

MAX_SAMPLES = 100_000
MAX_KEPT = 20_000
"""Spans, logs, events and checks: some 2 KB each."""


class Received:
    """Bounded lists of what came in, oldest first; the oldest go when there are too many of a kind."""

    def __init__(self, *, keep_raw: bool = False, limit: int | None = None) -> None:
        """Keep at most `limit` of each kind; without it, the bounds of this module."""
        self.keep_raw = keep_raw
        self._changed = threading.Condition()
        self._batches = 0
        samples, others = (MAX_SAMPLES, MAX_KEPT) if limit is None else (limit, limit)
        self._metrics: deque[Sample] = deque(maxlen=samples)
        self._datagrams: deque[bytes] = deque(maxlen=samples)
        self._spans: deque[Span] = deque(maxlen=others)
        self._logs: deque[dict[str, Any]] = deque(maxlen=others)
        self._events: deque[Event] = deque(maxlen=others)
        self._service_checks: deque[ServiceCheck] = deque(maxlen=others)
        self._malformed: deque[Malformed] = deque(maxlen=1_000)

    @property
    def metrics(self) -> list[Sample]:
        """One sample per DogStatsD metric line."""
        with self._changed:
            return list(self._metrics)

    @property
    def datagrams(self) -> list[bytes]:
        """The raw datagrams, only with `keep_raw`."""
        with self._changed:
            return list(self._datagrams)

    @property
    def spans(self) -> list[Span]:
        with self._changed:
            return list(self._spans)

    @property
    def logs(self) -> list[dict[str, Any]]:
        """The JSON object of each log line; a line that is none is `{"message": line}`."""
        with self._changed:
            return list(self._logs)

    @property
    def events(self) -> list[Event]:
        with self._changed:
            return list(self._events)

    @property
    def service_checks(self) -> list[ServiceCheck]:
        with self._changed:
            return list(self._service_checks)

    @property
    def malformed(self) -> list[Malformed]:
        with self._changed:
            return list(self._malformed)

    def clear(self) -> None:
        """Forget everything that has arrived so far."""
        with self._changed:
            for kept in (
                self._metrics, self._datagrams, self._spans, self._logs,
                self._events, self._service_checks, self._malformed,
            ):  # fmt: skip
                kept.clear()

    def wait_for(self, condition: Callable[[Received], object], timeout: float = 30.0) -> None:
        """Block until `condition(self)` is true; raise `TimeoutError` with what has arrived after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            batches = self._batches
            if condition(self):
                return
            with self._changed:
                if self._batches == batches:
                    self._changed.wait(max(0.0, deadline - time.monotonic()))
                waited_in_vain = self._batches == batches and time.monotonic() >= deadline
            if waited_in_vain:
                raise TimeoutError(f"not received within {timeout:g} s; received {self}")

    def __str__(self) -> str:
        with self._changed:
            names = sorted({sample.name for sample in self._metrics})
            return (
                f"{len(self._metrics)} samples of {names}, {len(self._spans)} spans of "
                f"{sorted({span.name for span in self._spans})}, {len(self._logs)} logs, {len(self._events)} events, "
                f"{len(self._service_checks)} service checks, {len(self._malformed)} malformed lines"
            )

    # The agent's side.

    def datagram(self, datagram: bytes) -> None:
        if self.keep_raw:
            with self._changed:
                self._datagrams.append(datagram)

    def sample(self, sample: Sample) -> None:
        with self._changed:
            self._metrics.append(sample)

    def event(self, event: Event) -> None:
        with self._changed:
            self._events.append(event)

    def service_check(self, check: ServiceCheck) -> None:
        with self._changed:
            self._service_checks.append(check)

    def malformed_line(self, line: Malformed) -> None:
        with self._changed:
            self._malformed.append(line)

    def trace(self, spans: Iterable[Span]) -> None:
        with self._changed:
            self._spans.extend(spans)

    def log(self, log: dict[str, Any]) -> None:
        with self._changed:
            self._logs.append(log)

    def notify(self) -> None:
        """Wake whoever waits; called once per batch."""
        with self._changed:
            self._batches += 1
            self._changed.notify_all()
