"""Samples are aggregated in the process and flushed as packed DogStatsD lines. State: in each `Metrics`.

Formats: DogStatsD 1.1 (https://docs.datadoghq.com/extend/dogstatsd/datagram_shell/).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Final

from ... import catalog
from ...catalog import Metric, ServiceCheck
from ...config import Config
from ..notices import say
from .cleaning import MOST, clean_tag_value, shown
from .handles import TIMINGS_LIMIT, Counter, Gauge, Handle, Timing
from .keeping import Kept
from .packing import Packer, Payload, Receipt
from .senders import AgentSender, NoSender, Sender
from .series import Series

#: Seconds between two zeros of an idle counter: one per bucket of the Agent.
HEARTBEAT: Final = 10.0

GaugeSource = Callable[[], Iterable[tuple[Gauge, float]]]


class Metrics(Series):
    """All handles of a process, and their flush. `wake` asks the flush thread to come early."""

    def __init__(
        self,
        config: Config,
        sender: Sender | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.enabled = config.enabled and config.metrics_enabled
        if sender is None:
            sender = AgentSender(config) if self.enabled else NoSender()
        super().__init__(config, sender, wake)
        self._clock = clock
        self._taking = threading.Lock()  # for moments
        self._sending = threading.Lock()  # for as long as sockets take
        self._kept = Kept()
        self._gauge_sources: list[GaugeSource] = []
        self._bytes = self.counter(catalog.TELEMETRY_BYTES)
        self._datagrams = self.counter(catalog.TELEMETRY_DATAGRAMS)
        self._flush_time = self.timing(catalog.TELEMETRY_FLUSH_TIME)
        self._dropped_counters: dict[str, Counter] = {}
        for dropped in (catalog.TELEMETRY_DROPPED, catalog.TELEMETRY_LOGS_DROPPED):
            self.counter(dropped, reason="none")  # the zero that a monitor needs before the first drop

    def add_gauges(self, source: GaugeSource) -> None:
        """Ask `source` for (gauge, value) pairs at every flush: gauges that are read from live state."""
        self._gauge_sources.append(source)

    def lost_lines(self, reason: str, total: int) -> None:
        """Take over how many log lines were lost so far for `reason`."""
        self.counter(catalog.TELEMETRY_LOGS_DROPPED, reason=reason).total = total

    # --- taking in ------------------------------------------------------------------------------------------

    def take_in(self) -> None:
        """Bring gauges, totals and what observes timings up to date, without sending: waits for no socket."""
        with self._taking:
            self._take_in()

    def _take_in(self) -> list[Handle]:
        for reason, count in list(self.dropped.items()):
            counter = self._dropped_counters.get(reason)
            if counter is None:
                counter = self._dropped_counters[reason] = self.counter(
                    catalog.TELEMETRY_DROPPED, reason=reason
                )
            counter.total = count
        self._sample_gauges()
        handles = self.handles()
        for handle in handles:
            if isinstance(handle, Timing) and handle.values:
                batch = self._take(handle)
                if batch and self.enabled and not self._kept.add(handle, batch):
                    self._make_room(handles)
        return handles

    def _sample_gauges(self) -> None:
        for source in self._gauge_sources:
            try:
                for gauge, value in source():
                    gauge.value = value
            except Exception as error:  # noqa: BLE001 - one broken source must not stop the others
                self.drop("gauge_source", f"a gauge could not be read: {shown(error)}")

    def _take(self, timing: Timing) -> list[float]:
        """Take the values recorded so far out of a timing, and return those that are finite numbers."""
        values = timing.values
        batch = values[:]
        del values[: len(batch)]
        batch_sum = sum(batch)
        if not isfinite(batch_sum):
            batch = [number for value in batch if (number := self.number(timing.metric, value)) is not None]
            batch_sum = sum(batch)
        timing.count += len(batch)
        timing.sum += batch_sum
        for observer in timing.observers:
            try:
                observer(batch)
            except Exception as error:  # noqa: BLE001 - the values still go out, and to the other observers
                self.drop("observer", f"{timing.metric.name}: an observer failed: {shown(error)}", len(batch))
        return batch

    def crowded(self, timing: Timing) -> None:
        """React to many unflushed timings: wake the flush, and cut what is beyond the limit."""
        self._wake()
        excess = len(timing.values) - TIMINGS_LIMIT
        if excess <= 0 or not self._taking.acquire(blocking=False):  # they are being taken out right now
            return
        try:
            del timing.values[:excess]
        finally:
            self._taking.release()
        self.drop(
            "overflow", f"{timing.metric.name}: the flush is behind; {excess} timings were dropped", excess
        )

    def _make_room(self, handles: list[Handle]) -> None:
        self._kept.make_room(handle for handle in handles if isinstance(handle, Timing))
        say(
            "timings",
            f"no Agent takes metrics at {self.config.dogstatsd_address()}, and there is no room for more timings: from "
            "now on a sample of them is kept, which goes out with its rate. Counts stay exact.",
        )

    # --- flush ----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send everything recorded so far."""
        self._flush(final=False)

    def final_flush(self, timeout: float = float("inf")) -> int:
        """Send everything recorded so far, and 0 for every gauge: nothing of this process is left but its peaks.

        Gives up after `timeout` seconds; returns how many payloads nobody took.
        """
        return self._flush(final=True, deadline=time.monotonic() + timeout)

    def unsent(self) -> int:
        """Return how many samples of counts and timings nobody has taken, those of our own telemetry left out."""
        if not self.enabled:
            return 0
        with self._taking:
            handles = [one for one in self.handles() if not one.metric.name.startswith("telemetry.")]
            counts = sum(int(one.total - one.sent) for one in handles if isinstance(one, Counter))
            return counts + sum(round(one.kept_of) for one in handles if isinstance(one, Timing))

    def _flush(self, *, final: bool, deadline: float = float("inf")) -> int:
        """Format and send; return how many payloads nobody took.

        What was not sent is not lost: counts are marked as sent when they are, timings go back where they were.
        """
        with self._sending:
            started = time.perf_counter()
            with self._taking:
                payloads = self._pack(self._take_in(), final)
            sent = self._send(payloads, deadline) if self.enabled else 0
            with self._taking:
                for number, payload in enumerate(payloads):
                    for receipt in payload.receipts:
                        receipt(number < sent)
            self._flush_time.record((time.perf_counter() - started) * 1000)
            return len(payloads) - sent

    def _pack(self, handles: list[Handle], final: bool) -> list[Payload]:
        payloads = Packer(self.sender.payload_limit, self.config.packing)
        if not self.enabled:
            return []
        now = self._clock()
        for handle in handles:
            try:
                head = handle.metric.full_name(self.config.metric_prefix).encode()
                if isinstance(handle, Counter):
                    self._pack_counter(payloads, head, handle, now)
                elif isinstance(handle, Timing):
                    self._pack_timing(payloads, head, handle)
                elif handle.value is not None:
                    gone = final and handle.metric not in catalog.PEAKS
                    payloads.add(head, b"%.10g" % (0.0 if gone else handle.value), handle.tail)
            except Exception as error:  # noqa: BLE001 - a series that fails, fails alone
                self.drop("flush", f"{handle.metric.name} could not be sent: {shown(error)}")
        return payloads.finish()

    def _pack_counter(self, payloads: Packer, head: bytes, counter: Counter, now: float) -> None:
        total = counter.total
        growth = total - counter.sent
        if not growth and now - counter.last_line < HEARTBEAT:
            return

        def receipt(sent: bool) -> None:
            if sent:
                counter.sent = total
                counter.last_line = now

        whole = type(growth) is int and growth <= MOST
        payloads.add(head, b"%d" % growth if whole else b"%.10g" % float(growth), counter.tail, receipt)

    def _pack_timing(self, payloads: Packer, head: bytes, timing: Timing) -> None:
        if not timing.kept:
            return
        values, weight = self._kept.take(timing)

        def receipt(values: list[float]) -> Receipt:
            return lambda sent: None if sent else self._put_back(timing, values, weight)

        tail = timing.tail
        if weight > 1:  # the rate stands behind the type
            end = tail.find(b"|", 1)
            kind, rest = (tail, b"") if end < 0 else (tail[:end], tail[end:])
            tail = b"%s|@%.9g%s" % (kind, 1 / weight, rest)
        payloads.add_many(head, values, tail, receipt)

    def _put_back(self, timing: Timing, values: list[float], weight: float) -> None:
        if not self._kept.add(timing, values, weight):
            self._make_room(self.handles())

    def _send(self, payloads: list[Payload], deadline: float) -> int:
        """Send payloads until one is not taken; return how many were."""
        for number, payload in enumerate(payloads):
            if time.monotonic() > deadline or not self.sender.send(payload.data):
                return number
            self._bytes.total += len(payload.data)
            self._datagrams.total += 1
        return len(payloads)

    def zero(self, gauges: Iterable[tuple[Metric, tuple[tuple[str, str], ...]]]) -> None:
        """Send 0 for gauges of another worker, by their tags: it was killed, and they would stay where they were."""
        payloads = Packer(self.sender.payload_limit, self.config.packing)
        for metric, tags in gauges:
            name = metric.full_name(self.config.metric_prefix).encode()
            payloads.add(name, b"0", self._tail(metric, tags))
        if self.enabled:
            with self._sending:
                self._send(payloads.finish(), float("inf"))

    def service_check(self, check: ServiceCheck, status: int, message: str = "", /, **tags: object) -> None:
        """Send a service check: status 0 ok, 1 warning, 2 critical, 3 unknown."""
        if not self.enabled:
            return
        pairs = [f"{key}:{clean_tag_value(value, key)}" for key, value in sorted(tags.items())]
        if "worker" in check.tags:
            pairs.append(f"worker:{self.worker}")
        name = check.full_name(self.config.metric_prefix)
        with self._sending:  # two threads must not write to a stream socket at once
            self.sender.service_check(name, status, pairs, message.replace("\r", " ")[:1000])

    def after_fork(self) -> None:
        """Forget in a forked child what the parent has recorded and will send itself."""
        self._lock = threading.Lock()
        self._taking = threading.Lock()
        self._sending = threading.Lock()
        self._kept.clear(handle for handle in self._handles.values() if isinstance(handle, Timing))
        for handle in self._handles.values():
            if isinstance(handle, Counter):
                handle.sent = handle.inherited = handle.total
            elif isinstance(handle, Timing):
                handle.values = type(handle.values)()
            else:
                handle.value = None
        self.sender.close()
