"""Which series there are: a handle for each metric and combination of tags, found fast and bounded in number.

State: the table of a `Series`, which is a part of the recorder's `Metrics`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from types import NoneType
from typing import Final

from ... import catalog
from ...catalog import Metric
from ...config import Config
from ...errors import MetricError
from ..notices import say
from .cleaning import as_number, as_text, clean_tag_value, shown
from .handles import Counter, Gauge, Handle, Nothing, Observer, Timing, counter_kind
from .senders import Sender

_REMEMBERED: Final = 20_000
#: Types of tag values that can be keys as they are: they never change, and none of them runs a user's code.
_PLAIN: Final = frozenset({str, int, bool, NoneType})


class Series:
    """The handles of a process. `wake` asks the flush thread to come early."""

    def __init__(self, config: Config, sender: Sender, wake: Callable[[], None]) -> None:
        self.config = config
        self.sender = sender
        self._wake = wake
        self._lock = threading.Lock()
        self._handles: dict[tuple[Metric, tuple[tuple[str, str], ...]], Handle] = {}
        #: `_find` remembered: by the values and their types (1 and True are equal), in C. Raises where a value is not plain.
        self.find = lru_cache(_REMEMBERED, typed=True)(self._find)
        self._series: dict[Metric, int] = {}
        self._observed_by: list[Callable[[Timing], Observer | None]] = []
        self._constant = ",".join(sender.tags)
        self.dropped: dict[str, int] = {}

    def counter(self, metric: Metric, /, **tags: object) -> Counter:
        """Return the counter of `metric` with these tags; raise MetricError if it is of another kind."""
        handle = self._handle(metric, tags)
        if not isinstance(handle, Counter):
            raise MetricError(f"metric {metric.name} is a {metric.kind}, not a count")
        return handle

    def timing(self, metric: Metric, /, **tags: object) -> Timing:
        """Return the timer, histogram or distribution of `metric` with these tags."""
        handle = self._handle(metric, tags)
        if not isinstance(handle, Timing):
            raise MetricError(
                f"metric {metric.name} is a {metric.kind}, not a timer, histogram or distribution"
            )
        return handle

    def gauge(self, metric: Metric, /, **tags: object) -> Gauge:
        """Return the gauge of `metric` with these tags."""
        handle = self._handle(metric, tags)
        if not isinstance(handle, Gauge):
            raise MetricError(f"metric {metric.name} is a {metric.kind}, not a gauge")
        return handle

    def lookup(self, metric: Metric, tags: dict[str, object]) -> Handle | None:
        """Return the handle for a call by metric and tags, or None (dropped and counted) if it cannot be had.

        Never raises, whatever the metric and the values of the tags are: their own code runs here. `find` is the same,
        without a look at the values, for whoever is in a hurry and comes here when it raises.
        """
        try:
            return self.find(metric, **tags)
        except Exception:  # noqa: BLE001 - a value that is not plain, cannot be hashed or printed
            return self._lookup_plain(metric, tags)

    def _lookup_plain(self, metric: Metric, tags: dict[str, object]) -> Handle | None:
        try:
            return self.find(metric, **{name: _plain(value) for name, value in tags.items()})
        except Exception as error:  # noqa: BLE001 - a value that cannot be printed
            self.drop("bad_tag", f"a tag's value raised {type(error).__name__}; the sample was dropped")
            return None

    def _find(self, metric: object, /, **tags: object) -> Handle | None:
        """Find the handle, or why there is none; what raises is not remembered."""
        kinds = set(map(type, tags.values()))
        if not kinds <= _PLAIN:
            for kind in kinds - _PLAIN:
                if not issubclass(kind, Enum):  # may be written otherwise next time, and is not ours to keep
                    raise TypeError
            tags = {name: _plain(value) for name, value in tags.items()}
        if not isinstance(metric, Metric):
            how = 'make one: dd.Metric("shop.orders", "count")'
            self.drop("undeclared", f"{shown(metric)} is no Metric; its samples are dropped; {how}")
            return None
        try:
            return self._handle(metric, tags)
        except MetricError as error:
            self.drop("undeclared", f"{error}; its samples are dropped")
            return None

    def _handle(self, metric: Metric, tags: dict[str, object]) -> Handle:
        unknown = [key for key in tags if key not in metric.tags]
        if unknown:
            declared = ", ".join(metric.tags) or "none"
            raise MetricError(
                f"metric {metric.name}: tag {unknown[0]!r} is not declared (declared: {declared})"
            )
        values = {
            key: clean_tag_value(tags[key], key) if tags.get(key) is not None else "none"
            for key in metric.tags
        }
        if "worker" in values and "worker" not in tags:
            del values["worker"]  # added by the flush: a forked worker has another slot
        pairs = tuple(sorted(values.items()))
        handle = self._handles.get((metric, pairs))
        if handle is None:
            with self._lock:
                handle = self._handles.get((metric, pairs)) or self._create(metric, pairs)
        return handle

    def _create(self, metric: Metric, pairs: tuple[tuple[str, str], ...]) -> Handle:
        count = self._series.get(metric, 0)
        if count >= self.config.max_series:
            say(
                f"series:{metric.name}",
                f"{metric.name} has {count} combinations of tags (STREAMING_MAX_SERIES); further ones are counted "
                "under the tag value 'other'. Which tag carries an id?",
            )
            pairs = tuple((key, "other") for key, _ in pairs)
            existing = self._handles.get((metric, pairs))
            if existing is not None:
                return existing
        self._series[metric] = count + 1
        if not metric.prefixed and metric.name.startswith(f"{self.config.metric_prefix}."):
            say(
                f"prefix:{metric.name}",
                f"the metric {metric.name} of the application is named like this package's own, which begin with "
                f"{self.config.metric_prefix}.: give it a first word of its own, or set STREAMING_METRIC_PREFIX",
            )
        kind: type[Counter] | type[Gauge] | type[Timing] = Timing
        if metric.kind in ("count", "gauge"):
            kind = counter_kind() if metric.kind == "count" else Gauge
        handle: Handle = kind(self, metric, pairs, self._tail(metric, pairs))
        if isinstance(handle, Timing):
            if not self.config.enabled:
                handle.values = Nothing()  # nobody would ever take the values out again
            for observed_by in self._observed_by:
                handle.observe(observed_by(handle))
        self._handles[(metric, pairs)] = handle
        return handle

    def observe_timings(self, observed_by: Callable[[Timing], Observer | None]) -> None:
        """Have the values of each timing, at every flush, also given to what `observed_by` returns for it, if anything.

        That costs nothing where values are recorded. The observers are called in the flushing thread.
        """
        with self._lock:
            self._observed_by.append(observed_by)
            for handle in self._handles.values():
                if isinstance(handle, Timing):
                    handle.observe(observed_by(handle))

    def _tail(self, metric: Metric, pairs: tuple[tuple[str, str], ...]) -> bytes:
        """Everything behind the values: type, tags, origin."""
        letter = catalog.TYPE_LETTERS[metric.kind]
        if metric.kind == "timer" and self.config.timers == "distribution":
            letter = "d"
        own = [f"{key}:{value}" for key, value in pairs]
        if "worker" in metric.tags and not any(key == "worker" for key, _ in pairs):
            own.append(f"worker:{self.worker}")
        tags = ",".join([*own, *([self._constant] if self._constant else [])])
        return f"|{letter}{'|#' + tags if tags else ''}{self.sender.suffix}".encode()

    worker = "0"

    def set_worker(self, slot: str) -> None:
        """Name this process' slot: the value of the `worker` tag of its gauges."""
        self.worker = clean_tag_value(slot)
        with self._lock:
            for (metric, pairs), handle in self._handles.items():
                handle.tail = self._tail(metric, pairs)

    def handles(self) -> list[Handle]:
        """Return every handle: a snapshot for pull endpoints and tests."""
        with self._lock:
            return list(self._handles.values())

    # --- samples that cannot be used ------------------------------------------------------------------------

    def number(self, metric: Metric, value: object) -> float | None:
        """Return `value` as a finite number, or None after counting the drop."""
        number = as_number(value)
        if number is None:
            self.drop(
                "bad_value",
                f"{metric.name}: {shown(value)} is no finite number; the sample was dropped",
            )
        return number

    def drop(self, reason: str, message: str, count: int = 1) -> None:
        """Count `count` dropped samples, and say why once a minute."""
        self.count_dropped(reason, count)
        say(f"drop:{reason}", message)

    def count_dropped(self, reason: str, count: int) -> None:
        """Count dropped samples; the caller says why."""
        with self._lock:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def crowded(self, timing: Timing) -> None:
        """React to many unflushed timings."""
        self._wake()


def _plain(value: object) -> object:
    return value if type(value) in _PLAIN else as_text(value)
