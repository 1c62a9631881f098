"""Where the local agent listens, how it aggregates and what it keeps: one frozen dataclass, no state."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from typing import Any

from . import ports
from .intake.tail import LogSource
from .store.contexts import HistogramRules


def _as_it_is(key: str, text: str) -> str:
    return text


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a local agent. A port of 0 is chosen by the system, None switches the listener off."""

    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    """Host names by which the page may be opened, beside those of this machine; "*" allows any."""
    dogstatsd_port: int | None = ports.DOGSTATSD
    trace_port: int | None = ports.TRACES
    logs_port: int | None = ports.LOGS
    page_port: int | None = ports.PAGE
    dogstatsd_socket: str | None = None
    """Path of a unix datagram socket."""
    dogstatsd_stream_socket: str | None = None
    trace_socket: str | None = None

    hostname: str = "local"
    """The `host` tag of every series."""
    tags: tuple[str, ...] = ()
    """Tags put on every series, event and service check."""
    dogstatsd_tags: tuple[str, ...] = ()
    """Tags put on what comes by DogStatsD, not on trace metrics."""
    namespace: str = ""
    """Prefix of every DogStatsD metric but those of integrations: the Agent's `statsd_metric_namespace`."""
    notes: tuple[str, ...] = ()
    """What in the Agent's files is not used here, or was passed over; shown by the health view."""
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
    mask: Callable[[str, str], str] = _as_it_is
    """Returns a text (under a key, or "") as it may leave the agent other than to its page: webhook, terminal, MCP."""
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
        names = ("dogstatsd_port", "trace_port", "logs_port", "page_port")
        return replace(
            self,
            **{name: port + offset for name in names if name not in keep and (port := getattr(self, name))},
        )
