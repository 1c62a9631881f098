"""What the overview, services and health views show of an agent. Pure functions over its stores, no state."""

from __future__ import annotations

import math
import mmap
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..holdings import Holdings
from ..store.points import FINE_HOURS, INTERVAL, KEEP_HOURS, Tags
from ..store.series import Store
from ..store.sketch import Sketch


def overview(agent: Holdings) -> dict[str, Any]:
    """Return what a first look needs: what has arrived, how fast, what is kept, and the next step."""
    names = agent.store.names()
    intake = agent.aggregator.intake
    counts = agent.records.counts()
    now = agent.clock()
    return {
        "now": now,
        "started": agent.started,
        "bucket": agent.aggregator.bucket,
        "listening": listening(agent),
        "rates": agent.rates(),
        "received": {
            "samples": intake.samples,
            "spans": counts["spans"]["rows"] + counts["spans"]["dropped"],
            "logs": counts["logs"]["rows"] + counts["logs"]["dropped"],
            "events": intake.events,
            "service_checks": intake.service_checks,
            "malformed": intake.malformed,
        },
        "kept": {"hours": FINE_HOURS, "minutes_hours": KEEP_HOURS, **counts},
        "metrics": len(names),
        "series": agent.store.series_count,
        "services": sorted(agent.store.tag_values().get("service", ())),
        "environments": sorted(agent.store.tag_values().get("env", ())),
    }


def health(agent: Holdings) -> dict[str, Any]:
    """Return how the agent itself is doing."""
    aggregator, traces = agent.aggregator, agent.trace_api
    intake = aggregator.intake
    return {
        "now": agent.clock(),
        "started": agent.started,
        "listening": listening(agent),
        "rates": agent.rates(),
        "dogstatsd": {
            "datagrams": intake.datagrams,
            "bytes": intake.bytes,
            "samples": intake.samples,
            "events": intake.events,
            "service_checks": intake.service_checks,
            "malformed": intake.malformed,
            "malformed_lines": [
                {"line": line.line.decode("utf-8", "replace"), "reason": line.reason}
                for line in intake.malformed_lines
            ],
            "oversized": intake.oversized,
            "dropped_by_kernel": dropped_by_kernel(agent.ports["dogstatsd"]),
            "clock_steps_back": intake.clock_steps_back,
        },
        "series": {
            "count": agent.store.series_count,
            "max": agent.store.max_series,
            "rejected": dict(agent.store.rejected.most_common(20)),
            "sketch_bins": agent.store.bins,
            "max_sketch_bins": agent.store.max_bins,
            "mixed_kinds": [info.name for info in agent.store.metrics() if len(info.kinds) > 1],
        },
        "traces": {
            "requests": dict(traces.payloads),
            "rejected": dict(traces.rejected),
            "put_right": dict(traces.put_right),
            "clients": dict(traces.clients),
        },
        "logs": {
            "cut_lines": agent.cut_lines,
            "refused_connections": agent.refused_log_connections,
            "sources": agent.log_problems(),
        },
        "records": agent.records.counts(),
        "problems": list(agent.problems),
        "persist": agent.settings.persist,
        "webhook": {"where": agent.webhook.where, **asdict(agent.webhook.counts)} if agent.webhook else None,
        "live": {"readers": agent.live.readers, "missed": agent.live.missed},
        "memory": {"rss": rss()},
        "python": sys.version.split()[0],
    }


def summary(agent: Holdings) -> dict[str, Any]:
    """Return every series' summary since the start, for CI."""
    return {
        "metrics": [
            {
                "name": one.name,
                "tags": list(one.tags),
                "type": one.kind,
                "samples": one.samples,
                "total": one.total,
                "last": one.last,
                **({f"p{q}": one.quantile(q / 100) for q in (50, 95, 99)} if one.sketch else {}),
            }
            for one in agent.aggregator.snapshot()
        ]
    }


def services(store: Store, start: float, end: float, service: str | None = None) -> list[dict[str, Any]]:
    """Return hits, errors and latency of each service (of each resource of one service), from trace metrics.

    Rates are per second of the time that is covered: from the first hit of any service in the range to its end, or to the
    last bucket that is closed: what came after it is not in the hits either.
    """
    groups: dict[tuple[str, str, str], dict[str, Any]] = {}
    first = end
    for name in store.names():
        if not name.startswith("trace."):
            continue
        for series in store.select(name, None, start, end):
            tags = _tags(series.tags)
            if series.times:
                first = min(first, series.times[0])
            if service is not None and tags.get("service") != service:
                continue
            operation, suffix = _operation(name)
            key = (tags.get("service", ""), operation, tags.get("resource_name", "") if service else "")
            group = groups.setdefault(
                key, {"hits": 0.0, "errors": 0.0, "sketch": Sketch(), "versions": set()}
            )
            if series.kind == "distribution":
                for sketch in series.sketches:
                    group["sketch"].merge(sketch)
            elif suffix in ("hits", "errors"):
                group[suffix] += sum(series.values)
            if version := tags.get("version"):
                group["versions"].add(version)
    closed = min(math.ceil(end / INTERVAL), math.floor(store.clock() / INTERVAL)) * INTERVAL
    covered = max(INTERVAL, closed - max(start, first))
    return [
        _service_row(*key, group=group, seconds=covered)
        for key, group in sorted(groups.items(), key=lambda item: -item[1]["hits"])
        if group["hits"]
    ]


def listening(agent: Holdings) -> dict[str, Any]:
    """Return the addresses that the agent listens on."""
    settings = agent.settings
    return {
        "host": settings.host,
        "dogstatsd_port": agent.ports["dogstatsd"],
        "dogstatsd_socket": settings.dogstatsd_socket,
        "dogstatsd_stream_socket": settings.dogstatsd_stream_socket,
        "trace_port": agent.ports["trace"],
        "trace_socket": settings.trace_socket,
        "logs_port": agent.ports["logs"],
        "page_port": agent.ports["page"],
    }


def dropped_by_kernel(port: int | None) -> int | None:
    """Return how many datagrams the kernel dropped because nobody read them in time; None where it does not tell."""
    try:
        rows = Path("/proc/net/udp").read_text().splitlines()[1:]
    except OSError:
        return None
    drops = [int(row.split()[-1]) for row in rows if port and row.split()[1].endswith(f":{port:04X}")]
    return drops[0] if drops else None


def rss() -> int | None:
    """Return the resident memory of this process in bytes; None where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * mmap.PAGESIZE


def _service_row(
    service: str, operation: str, resource_name: str, *, group: dict[str, Any], seconds: float
) -> dict[str, Any]:
    sketch: Sketch = group["sketch"]
    latency = {f"p{q}": sketch.quantile(q / 100) for q in (50, 95, 99)}
    return {
        "service": service,
        "operation": operation,
        **({"resource": resource_name} if resource_name else {}),
        "hits": group["hits"],
        "per_second": group["hits"] / seconds,
        "errors": group["errors"],
        "error_rate": group["errors"] / group["hits"],
        **{name: None if math.isnan(value) else value for name, value in latency.items()},
        "versions": sorted(group["versions"]),
    }


def _operation(name: str) -> tuple[str, str]:
    """Split `trace.<operation>[.<suffix>]`."""
    inner = name.removeprefix("trace.")
    for suffix in ("hits.by_http_status", "errors.by_http_status", "hits", "errors", "duration"):
        if inner.endswith(f".{suffix}"):
            return inner.removesuffix(f".{suffix}"), suffix
    return inner, ""


def _tags(tags: Tags) -> dict[str, str]:
    return dict(tag.partition(":")[::2] for tag in tags)
