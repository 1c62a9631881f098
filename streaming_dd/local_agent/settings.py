"""Where the local agent listens, how it aggregates and what it keeps: one frozen dataclass, no state."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Any

from .contexts import HistogramRules
from .tail import LogSource


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a local agent. A port of 0 is chosen by the system, None switches the listener off."""

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    """Host names by which the page may be opened, beside those of this machine; "*" allows any."""
    dogstatsd_port: int | None = 8125
    trace_port: int | None = 8126
    logs_port: int | None = 10518
    page_port: int | None = 8181
    dogstatsd_socket: str | None = None
    """Path of a unix datagram socket."""
    dogstatsd_stream_socket: str | None = None
    trace_socket: str | None = None

    hostname: str = "local"
    """The `host` tag of every series."""
    tags: tuple[str, ...] = ()
    """Tags put on every series, event and service check."""
    histogram: HistogramRules = field(default_factory=HistogramRules)
    expiry: int = 300
    """Seconds for which a silent counter is still written as 0."""

    log_sources: tuple[LogSource, ...] = ()
    """Files to follow, and what to say of the lines that come in over TCP."""

    max_series: int = 10_000
    max_spans: int = 50_000
    max_logs: int = 100_000
    persist: str | None = None
    """File (SQLite) that keeps what was received over restarts; None keeps it in memory."""
    dashboards: str | None = None
    """Directory with `dashboards/`, `monitors/` and `slos/`; None: `dd-agent` where one stands, else what is shipped."""
    notify_webhook: str | None = None
    """URL on this machine that gets a POST for each notification of a monitor."""
    notify_anywhere: bool = False
    """Let `notify_webhook` be on another machine."""
    headless: bool = False
    """Serve the API on `page_port`, but no page."""
    record: bool = True
    """Keep what arrives as it was sent, in `LocalAgent.received`: for tests, costs time and memory under load."""
    keep_raw: bool = False
    """Keep the raw datagrams too."""
    record_limit: int | None = None
    """Samples, spans, logs, ... of each kind that are kept so; None keeps 100,000 samples and 20,000 of each other."""

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with changes."""
        return replace(self, **changes)

    def shifted(self, offset: int, *, keep: Container[str] = ()) -> Settings:
        """Return a copy with every port but those named in `keep` shifted; 0 and None stay what they are."""
        ports = ("dogstatsd_port", "trace_port", "logs_port", "page_port")
        return replace(
            self,
            **{name: port + offset for name in ports if name not in keep and (port := getattr(self, name))},
        )
