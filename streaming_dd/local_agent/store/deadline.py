"""An end to what takes too long: queries share the loop with the intake. State: how much of its time one query has used."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_SECONDS = 2.0


class Deadline:
    """Seconds of processor that a query may take; `check` raises `TimeoutError` beyond them."""

    def __init__(self, seconds: float = MAX_SECONDS, clock: Callable[[], float] = time.thread_time) -> None:
        self._seconds, self._clock = seconds, clock
        self._end = clock() + seconds

    def check(self) -> None:
        """Go on, or raise; call it for each series."""
        if self._clock() > self._end:
            raise TimeoutError(
                f"this looks at more series than {self._seconds:g} s suffice for: narrow its filter or its range"
            )
