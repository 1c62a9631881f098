"""Token streams: answers of language models as their readers feel them, and what they cost. No state."""

from __future__ import annotations

from ... import catalog as c
from ..options import Options
from ..queries import for_dashboards
from . import widgets as w
from .common import MILLISECONDS, PER_SECOND, PERCENT, above_zero, statistics, variables


def build(options: Options) -> w.Json:
    """Return the dashboard."""
    return w.dashboard(
        "Streaming: token streams",
        "Answers of language models: time to the first token, time between tokens, silence, readers who gave up.",
        variables(options, "app", "model"),
        _now(options),
        _speed(options),
        _ends(options),
        _comes_back(options),
    )


def _now(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    closed = {
        "left": q.count(c.STREAMS_CLOSED, outcome="client_disconnect"),
        "closed": q.count(c.STREAMS_CLOSED),
    }
    first = q.called(c.STREAM_FIRST_EVENT, "p95")
    return w.group(
        "What a reader feels",
        w.value(
            f"{first} time to the first token",
            {"first": q.timer(c.STREAM_FIRST_EVENT, "p95")},
            "first",
            aggregator="max",
            number_format=MILLISECONDS,
            warn=limit("time-to-first-event.warning"),
            alert=limit("time-to-first-event.critical"),
        ),
        w.value(
            f"{q.called(c.STREAM_EVENT_INTERVAL, 'p95')} time between events",
            {"between": q.timer(c.STREAM_EVENT_INTERVAL, "p95")},
            "between",
            aggregator="max",
            number_format=MILLISECONDS,
        ),
        w.value(
            "Readers who gave up", closed, "left / closed * 100", aggregator="sum", number_format=PERCENT
        ),
        w.value("Streams now", {"n": q.gauge(c.CLIENTS_ACTIVE)}, "n", aggregator="last", precision=0),
        w.value("Events", {"n": q.rate(c.STREAM_EVENTS)}, "n", number_format=PER_SECOND["event"]),
        w.value("Tokens a second, where counted", {"n": q.rate(c.STREAM_COUNTED, counted="tokens")}, "n"),
    )


def _speed(options: Options) -> w.Placed:
    q, limit = for_dashboards(options), options.threshold
    first, first_lines = statistics(q, c.STREAM_FIRST_EVENT)
    between, between_lines = statistics(q, c.STREAM_EVENT_INTERVAL)
    return w.group(
        "Speed",
        w.timeseries(
            "Time to the first token",
            first,
            first_lines,
            number_format=MILLISECONDS,
            markers=[
                (str(limit("time-to-first-event.critical")), "error"),
                (str(limit("time-to-first-event.warning")), "warning"),
            ],
        ),
        w.timeseries("Time between events", between, between_lines, number_format=MILLISECONDS),
        w.timeseries(
            "Longest silence of a stream, by route",
            {"max": q.timer(c.STREAM_GAP, "max", ("route",))},
            number_format=MILLISECONDS,
        ),
        w.timeseries("Fell silent", {"stalls": q.count(c.STREAM_STALLS, ("route",))}, display="bars"),
        w.timeseries("Counted by the application", {"n": q.rate(c.STREAM_COUNTED, ("counted",))}),
        w.timeseries(
            "Events by type",
            {"n": q.rate(c.STREAM_EVENTS, ("event_type",))},
            number_format=PER_SECOND["event"],
        ),
    )


def _ends(options: Options) -> w.Placed:
    q = for_dashboards(options)
    unread = {"unread": q.count(c.STREAM_EVENTS_UNREAD), "events": q.count(c.STREAM_EVENTS)}
    return w.group(
        "How answers end",
        w.timeseries("Closed by outcome", {"n": q.count(c.STREAMS_CLOSED, ("outcome",))}, display="bars"),
        w.toplist(
            "Reasons that were given",
            {"n": q.count(c.STREAMS_FINISHED, ("reason",))},
            above_zero("n"),
        ),
        w.timeseries(
            "Events that nobody read",
            unread,
            [w.Line("default_zero(unread) / events * 100", "sent after the reader had left", "warm")],
            number_format=PERCENT,
        ),
    )


def _comes_back(options: Options) -> w.Placed:
    q, target = for_dashboards(options), options.threshold("capacity.utilisation")
    gap, lines = statistics(q, c.STREAM_RECONNECT_GAP)
    load = {"streams": q.gauge(c.CLIENTS_ACTIVE), "cpu": q.rate(c.PROCESS_CPU_SECONDS)}
    held = f"streams / clamp_min(cpu, 0.01) * {target / 100:g}"
    return w.group(
        "Clients that come back, and how many fit",
        w.timeseries("Reconnects", {"n": q.count(c.STREAMS_RECONNECTS, ("resumed",))}, display="bars"),
        w.timeseries("Time until they are back", gap, lines, number_format=MILLISECONDS),
        w.timeseries(
            f"Streams that one core can carry at {target:g} % of its CPU",
            load,
            [w.Line(held, "streams a worker")],
        ),
    )
