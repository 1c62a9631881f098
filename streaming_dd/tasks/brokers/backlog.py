"""How many tasks wait in a broker's queues, and how long the oldest has: asked in a thread of its own, now and then.

A broker that does not answer holds up nothing else. State: in each `Backlog`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from ... import catalog
from ...output.failure import shown
from ...output.metrics import Gauge
from ...output.notices import say
from .queued import Queued

#: Seconds between two questions.
EVERY: Final = 15.0
_QUEUES_LIMIT: Final = 100

#: Queue -> how many tasks wait, and the age of the oldest in seconds; blocks.
Ask = Callable[[], dict[str, tuple[int, float]]]


class Backlog:
    """Asks a broker for its backlog and gives it as gauges."""

    def __init__(self, queued: Queued, ask: Ask) -> None:
        self._queued = queued
        self._ask = ask
        self._seen: dict[str, tuple[int, float]] = {}
        self._metrics: Any = None
        self._leave = threading.Event()

    def start(self) -> None:
        """Ask from now on, in a thread."""
        threading.Thread(target=self._run, name="streaming-dd-backlog", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._leave.set()

    def _run(self) -> None:
        while True:
            self.look()
            if self._leave.wait(EVERY):
                return

    def look(self) -> None:
        """Ask once. What had tasks before and has none now is empty; where there is no answer, nothing is said."""
        try:
            found = self._ask()
        except Exception as error:  # noqa: BLE001 - a broker that is away is the application's to notice
            self._seen = {}
            say("backlog", f"the backlog of {self._queued.broker}'s tasks cannot be read: {shown(error)}")
            return
        empty = dict.fromkeys(self._seen, (0, 0.0))
        self._seen = dict(list({**empty, **found}.items())[:_QUEUES_LIMIT])
        metrics = self._queued.board().metrics
        if metrics is not self._metrics:
            self._metrics = metrics
            metrics.add_gauges(self._gauges)

    def _gauges(self) -> Iterable[tuple[Gauge, float]]:
        metrics = self._metrics
        for queue, (count, oldest) in self._seen.copy().items():
            tags = {"broker": self._queued.broker, "queue": queue}
            yield metrics.gauge(catalog.QUEUE_DEPTH, **tags), count
            yield metrics.gauge(catalog.QUEUE_OLDEST, **tags), oldest
