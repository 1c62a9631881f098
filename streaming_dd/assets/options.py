"""What a rendering depends on: names, scope, thresholds. One frozen dataclass, no state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from math import isfinite
from types import MappingProxyType
from typing import Literal

from .. import catalog
from ..errors import AssetError

THRESHOLDS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "task-error-rate.critical": (5, "Percent of ended tasks that failed, over 10 minutes."),
        "task-error-rate.warning": (2, "The same, to warn."),
        "task-error-rate.minimum": (
            20,
            "Tasks assumed to have succeeded besides, so that one failure of few is calm.",
        ),
        "request-error-rate.critical": (5, "Percent of requests that ended in an error, over 10 minutes."),
        "request-error-rate.warning": (1, "The same, to warn."),
        "request-error-rate.minimum": (50, "Requests assumed to have succeeded besides."),
        "time-to-first-byte.critical": (2000, "Milliseconds to the first byte, 95th percentile of a route."),
        "time-to-first-byte.warning": (1000, "The same, to warn."),
        "task-duration.critical": (100, "Percent by which a task kind's p95 grew against the week before."),
        "task-duration.warning": (50, "The same, to warn."),
        "tasks-stalled.critical": (1, "Tasks of one kind that are stalled for 5 minutes on end."),
        "tasks-not-completing.critical": (
            1,
            "Tasks that are active for 30 minutes on end while none completes.",
        ),
        "tasks-wait.critical": (600, "Seconds for which the oldest task of a broker's queue has waited."),
        "tasks-wait.warning": (120, "The same, to warn."),
        "tasks-twice.critical": (
            1,
            "Tasks whose object another running task has as well, for 5 minutes on end.",
        ),
        "tasks-lost.critical": (1, "Tasks of one kind that were lost with a killed worker in 10 minutes."),
        "coordinator-locks.critical": (10_000, "Locks that a worker's coordinators keep."),
        "coordinator-locks.warning": (1_000, "The same, to warn."),
        "client-disconnects.critical": (
            40,
            "Percentage points by which the share of disconnects rose in an hour.",
        ),
        "client-disconnects.warning": (20, "The same, to warn."),
        "client-disconnects.minimum": (20, "Streams assumed to have completed besides."),
        "time-to-first-event.critical": (
            10_000,
            "Milliseconds to a stream's first event, 95th percentile of a route.",
        ),
        "time-to-first-event.warning": (5000, "The same, to warn."),
        "streams-stall.critical": (
            25,
            "Percentage points by which the share of streams that fall silent rose in an hour.",
        ),
        "streams-stall.warning": (10, "The same, to warn."),
        "streams-stall.minimum": (20, "Streams assumed to have been opened besides."),
        "reconnect-storm.critical": (
            50,
            "Percentage points by which the share of streams that are reconnects rose in an hour.",
        ),
        "reconnect-storm.warning": (25, "The same, to warn."),
        "reconnect-storm.minimum": (50, "New streams assumed to have been opened besides."),
        "loop-lag.critical": (
            250,
            "Milliseconds by which the event loop is late, 95th percentile over 5 minutes.",
        ),
        "loop-lag.warning": (100, "The same, to warn."),
        "telemetry-dropped.critical": (1000, "Samples dropped in 10 minutes."),
        "telemetry-dropped.warning": (1, "The same, to warn."),
        "log-lines-dropped.critical": (1000, "Log lines dropped in 10 minutes."),
        "log-lines-dropped.warning": (1, "The same, to warn."),
        "health.critical": (3, "Failed runs in a row that make a health check critical."),
        "health.warning": (1, "Runs with status warning in a row that make it warn."),
        "health.ok": (2, "Good runs in a row that resolve it."),
        "slo-task-success-burn-rate.critical": (
            14.4,
            "Speed at which the error budget burns; 14.4 spends 2 % in 1 h.",
        ),
        "slo-time-to-first-byte-budget.critical": (90, "Percent of the 30 days' error budget that is spent."),
        "slo-time-to-first-byte-budget.warning": (75, "The same, to warn."),
        "slo.task-success": (99, "Percent of tasks that must end well."),
        "slo.time-to-first-byte": (
            99,
            "Percent of responses whose first byte must be in time (STREAMING_FIRST_BYTE_LIMIT).",
        ),
        "slo.availability": (99.9, "Percent of time in which the health check must be good."),
        "capacity.cores": (2, "Cores of one server."),
        "capacity.memory": (4, "GiB of memory of one server."),
        "capacity.utilisation": (70, "Percent of a server that may be used."),
    }
)
"""Every number that an operator may want to change: its default and what it means."""


#: Environments that nobody is woken up for, unless assets are rendered for one environment.
NOT_PAGED = ("dev", "development", "local", "test", "demo")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What dashboards, monitors and SLOs are rendered for. Raises AssetError for a value that cannot be used."""

    prefix: str = "streaming"
    service: str = ""
    env: str = ""
    timers: Literal["timer", "distribution"] = "distribution"
    notify: str = ""
    team: str = ""
    site: str = "datadoghq.com"
    request_operation: str = catalog.HTTP_REQUEST.name
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("prefix", "service", "env", "team", "site", "request_operation"):
            value = getattr(self, name)
            if value and not re.fullmatch(r"[a-z][a-z0-9_.\-]*", value):
                raise AssetError(f"{name} {value!r}: write lower-case letters, digits, '_', '-' and '.'")
        if not self.prefix:
            raise AssetError("prefix: an empty one would make the metrics of every application yours")
        if self.timers not in ("timer", "distribution"):
            raise AssetError(f"timers {self.timers!r}: write 'timer' or 'distribution'")
        for handle in self.notify.split():
            if not handle.startswith("@"):
                raise AssetError(f"notify {handle!r}: a handle begins with '@', such as @slack-ops")
        for name, value in self.thresholds.items():
            if not isfinite(value):
                raise AssetError(f"threshold {name}: {value} is not a number")
            if name not in THRESHOLDS:
                close = get_close_matches(name, THRESHOLDS, n=1)
                raise AssetError(
                    f"threshold {name!r} does not exist" + (f"; did you mean {close[0]}?" if close else "")
                )

    def threshold(self, name: str) -> float:
        """Return a number by its name in `THRESHOLDS`."""
        value = self.thresholds.get(name, THRESHOLDS[name][0])
        return int(value) if value == int(value) else value

    @property
    def web(self) -> str:
        """Where people read dashboards, traces and logs: the site's address for browsers."""
        return f"https://{'app.' if self.site.count('.') == 1 else ''}{self.site}"

    def identity(self, name: str) -> str:
        """Return what tells this asset from the others that live in the same account."""
        parts = [part for part in (self.service, self.env) if part]
        prefix = [] if self.prefix == Options().prefix else [self.prefix]
        return ".".join([*prefix, *parts, name])

    def changes(self) -> dict[str, object]:
        """Return the options that differ from their defaults."""
        plain = Options()
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != getattr(plain, each.name)
        }
