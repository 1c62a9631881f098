"""Streams: clients, how streams open and close, what flows; WebSockets below. No state."""

from __future__ import annotations

from ... import catalog as c
from ..options import Options
from ..queries import for_dashboards
from . import widgets as w
from .common import BYTES, MILLISECONDS, PER_SECOND, PERCENT, statistics, variables


def build(options: Options) -> w.Json:
    """Return the dashboard."""
    return w.dashboard(
        "Streaming: streams",
        "Server-Sent Events and WebSockets: clients, lifetimes, first event, gaps, disconnects.",
        variables(options, "app", "model"),
        _clients(options),
        _lifecycle(options),
        _flow(options),
        _websockets(options),
    )


def _clients(options: Options) -> w.Placed:
    q = for_dashboards(options)
    closed = {
        "left": q.count(c.STREAMS_CLOSED, outcome="client_disconnect"),
        "closed": q.count(c.STREAMS_CLOSED),
    }
    by_worker = {"clients": q.gauge(c.CLIENTS_ACTIVE, by=("host", "worker"))}
    return w.group(
        "Clients",
        w.value(
            "Connected", {"clients": q.gauge(c.CLIENTS_ACTIVE)}, "clients", aggregator="last", precision=0
        ),
        w.value(
            "Highest peak of a worker",
            {"peak": q.gauge(c.CLIENTS_WORKER_PEAK, "max")},
            "peak",
            aggregator="max",
            precision=0,
        ),
        w.value(
            "Opened", {"opened": q.rate(c.STREAMS_OPENED)}, "opened", number_format=PER_SECOND["connection"]
        ),
        w.value(
            "Left before the end", closed, "left / closed * 100", aggregator="sum", number_format=PERCENT
        ),
        w.value("Events", {"events": q.rate(c.STREAM_EVENTS)}, "events", number_format=PER_SECOND["event"]),
        w.value("Bytes", {"bytes": q.rate(c.STREAM_BYTES)}, "bytes", number_format=PER_SECOND["byte"]),
        w.timeseries("Connected by app", {"clients": q.gauge(c.CLIENTS_ACTIVE, by=("app",))}, display="area"),
        w.timeseries(
            "Highest peak of a worker by model", {"peak": q.gauge(c.CLIENTS_PEAK, "max", ("model",))}
        ),
        w.timeseries("Connected by worker", by_worker, display="area"),
    )


def _lifecycle(options: Options) -> w.Placed:
    q = for_dashboards(options)
    closed = {
        "left": q.count(c.STREAMS_CLOSED, outcome="client_disconnect"),
        "closed": q.count(c.STREAMS_CLOSED),
    }
    lifetime, lines = statistics(q, c.STREAM_DURATION)
    return w.group(
        "Opening and closing",
        w.timeseries("Opened by route", {"opened": q.count(c.STREAMS_OPENED, ("route",))}, display="bars"),
        w.timeseries(
            "Closed by outcome", {"closed": q.count(c.STREAMS_CLOSED, ("outcome",))}, display="bars"
        ),
        w.timeseries(
            "Share of clients that left",
            closed,
            [w.Line("left / closed * 100", "left")],
            number_format=PERCENT,
        ),
        w.timeseries("Lifetime", lifetime, lines, number_format=MILLISECONDS, size=(6, 3)),
        w.timeseries(
            f"{q.called(c.STREAM_DURATION, 'p95')} lifetime by outcome",
            {"p95": q.timer(c.STREAM_DURATION, "p95", ("outcome",))},
            number_format=MILLISECONDS,
            size=(6, 3),
        ),
    )


def _flow(options: Options) -> w.Placed:
    q = for_dashboards(options)
    first, lines = statistics(q, c.STREAM_FIRST_EVENT)
    interval, between = statistics(q, c.STREAM_EVENT_INTERVAL)
    p95 = q.called(c.STREAM_FIRST_EVENT, "p95")
    return w.group(
        "What flows",
        w.timeseries("Time to the first event", first, lines, number_format=MILLISECONDS),
        w.timeseries(
            "Longest gap by route",
            {"max": q.timer(c.STREAM_GAP, "max", ("route",))},
            number_format=MILLISECONDS,
        ),
        w.timeseries("Time between events", interval, between, number_format=MILLISECONDS),
        w.timeseries("Stalled streams", {"stalls": q.count(c.STREAM_STALLS, ("route",))}, display="bars"),
        w.timeseries("Streams whose client has left", {"zombies": q.gauge(c.STREAMS_ZOMBIES, by=("model",))}),
        w.timeseries(
            "Events by model",
            {"events": q.rate(c.STREAM_EVENTS, ("model",))},
            number_format=PER_SECOND["event"],
        ),
        w.timeseries(
            "Bytes by route", {"bytes": q.rate(c.STREAM_BYTES, ("route",))}, number_format=PER_SECOND["byte"]
        ),
        w.table(
            "Routes",
            [
                (f"{p95} first event", q.timer(c.STREAM_FIRST_EVENT, "p95", ("route",)), "max", MILLISECONDS),
                ("opened", q.count(c.STREAMS_OPENED, ("route",)), "sum", None),
                ("closed", q.count(c.STREAMS_CLOSED, ("route",)), "sum", None),
                ("events", q.count(c.STREAM_EVENTS, ("route",)), "sum", None),
                ("bytes", q.count(c.STREAM_BYTES, ("route",)), "sum", BYTES),
            ],
            size=(12, 3),
        ),
    )


def _websockets(options: Options) -> w.Placed:
    q = for_dashboards(options)
    connected = {"now": q.gauge(c.WS_ACTIVE), "peak": q.gauge(c.WS_PEAK, "max")}
    lines = [w.Line("now", "all workers, now"), w.Line("peak", "highest peak of a worker")]
    messages = {"received": q.rate(c.WS_RECEIVED), "sent": q.rate(c.WS_SENT)}
    turnover = {"opened": q.count(c.WS_OPENED), "closed": q.count(c.WS_CLOSED)}
    layers = {"sent": q.count(c.CHANNELS_SENT, ("kind",)), "dropped": q.count(c.CHANNELS_DROPPED, ("kind",))}
    return w.group(
        "WebSockets",
        w.timeseries("Connected", connected, lines, size=(3, 3)),
        w.timeseries("Opened and closed", turnover, size=(3, 3)),
        w.timeseries("Messages", messages, size=(3, 3)),
        w.timeseries(
            f"{q.called(c.WS_DURATION, 'p95')} lifetime by outcome",
            {"p95": q.timer(c.WS_DURATION, "p95", ("outcome",))},
            number_format=MILLISECONDS,
            size=(3, 3),
        ),
        w.timeseries("Messages of Channels' layers", layers, display="bars", size=(12, 3)),
    )
