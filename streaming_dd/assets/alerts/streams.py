"""Monitors on streams: clients that leave, wait, or come back. No state."""

from __future__ import annotations

from collections.abc import Mapping

from ... import catalog as c
from ..options import Options
from ..queries import Queries
from .row import APP, ROUTE, Alert, slow


def _left(q: Queries, options: Options) -> str:
    left = q.count(c.STREAMS_CLOSED, APP, outcome="client_disconnect")
    closed = f"{q.count(c.STREAMS_CLOSED, APP)} + {options.threshold('client-disconnects.minimum')}"
    return f"change(sum(last_15m),1h_ago):{left} / ({closed}) * 100"


def _silent(q: Queries, options: Options) -> str:
    stalls = q.count(c.STREAM_STALLS, ROUTE)
    all_of_them = (
        f"{stalls} + {q.count(c.STREAMS_OPENED, ROUTE)} + {options.threshold('streams-stall.minimum')}"
    )
    return f"change(sum(last_15m),1h_ago):{stalls} / ({all_of_them}) * 100"


def _back(q: Queries, options: Options) -> str:
    opened = f"{q.count(c.STREAMS_OPENED, APP)} + {options.threshold('reconnect-storm.minimum')}"
    return f"change(sum(last_5m),1h_ago):{q.count(c.STREAMS_RECONNECTS, APP)} / ({opened}) * 100"


ALERTS: Mapping[str, Alert] = {
    "client-disconnects": Alert(
        title="Clients suddenly leave their streams",
        area="streams",
        dashboard="Streaming: streams",
        priority=3,
        # People leave pages all day: what matters is the change against an hour ago.
        query=_left,
        unit="percentage points",
        missing="resolve",
        about="Tells that the share of streams which clients close before the end rose within an hour: a proxy, a "
        "slow server, a faulty page.",
        means="The share of streams of {{service.name}} that the client closed before the end rose by {value} within an "
        "hour, with {client-disconnects.minimum} completed streams added to each side.",
        first=(
            "Open *Streaming: streams*: did the time to the first event or the longest gap grow as well?",
            "All lifetimes nearly equal: a proxy cuts them. Compare with its idle timeout, send heartbeats.",
            "Was the page deployed? Its EventSource may close too early.",
        ),
        traces="operation_name:sse.request",
    ),
    "time-to-first-event": Alert(
        title="Readers wait too long for the first event",
        area="streams",
        dashboard="Streaming: token streams",
        priority=3,
        query=lambda q, options: slow(q.timer(c.STREAM_FIRST_EVENT, "p95", ROUTE), "10m"),
        unit="ms",
        # No stream is no slowness: resolve.
        missing="resolve",
        about="Tracks the 95th percentile of the time to the first event of each route: where a language model "
        "answers, the time to its first token.",
        means="The 95th percentile of the time from a request to the first event of `{{route.name}}` is {value} over 10 "
        "minutes.",
        first=(
            "Open slow traces of the route: does it wait for the model, for a queue, or for this process?",
            "Open *Streaming: capacity*, chart *Lag*: a held event loop slows every stream at once.",
            "Compare *Events* and *Streams now* with an hour ago: load, or a slower model?",
        ),
        traces='operation_name:sse.request resource_name:"*{{route.name}}"',
    ),
    "streams-stall": Alert(
        title="Streams fall silent",
        area="streams",
        dashboard="Streaming: token streams",
        priority=3,
        # Streams that are quiet by nature are as quiet an hour ago: what matters is the change.
        query=_silent,
        unit="percentage points",
        missing="resolve",
        about="Tells that streams of a route stop in the middle more often than an hour ago: no event for longer than "
        "STREAMING_STREAM_STALL, while the client waits.",
        means="The share of streams of `{{route.name}}` that fell silent rose by {value} within an hour, with "
        "{streams-stall.minimum} streams that did not added to each side.",
        first=(
            "Open the trace of one: what did it wait for when its last event was sent?",
            "Every stream of the route: look at the model or the queue that feeds it.",
            "Streams that may be quiet for long: set STREAMING_STREAM_STALL above what is usual.",
        ),
        traces="operation_name:sse.request",
    ),
    "reconnect-storm": Alert(
        title="Clients come back in a storm",
        area="streams",
        dashboard="Streaming: token streams",
        priority=3,
        # Behind a proxy that cuts every stream all are reconnects, all day: what matters is the change.
        query=_back,
        unit="percentage points",
        missing="resolve",
        about="Tells that the share of opened streams which are reconnects rose within an hour: after a deployment, "
        "or since something cuts streams.",
        means="The share of streams of {{service.name}} that their clients opened again rose by {value} within an hour, "
        "with {reconnect-storm.minimum} new streams added to each side.",
        first=(
            "Was it deployed? Then it ends by itself; set STREAMING_RETRY_AFTER_DRAIN so that clients come back spread out.",
            "Open *Streaming: streams*, *Closed by outcome*: `error` or `client_disconnect` says who cuts the streams.",
            "All lifetimes nearly equal: a proxy's idle timeout; send heartbeats.",
        ),
        traces="operation_name:sse.request",
    ),
}
