"""The door to datadog: samples are aggregated in the process and flushed as packed DogStatsD lines.

A *handle* (`Counter`, `Timing`, `Gauge`) is one metric with one combination of tags. Recording on a handle is a
few dozen nanoseconds and touches no socket; `Metrics.flush()`, called by the recorder's thread, formats what has
come in since. State: the handles of a `Metrics` object, which belongs to the recorder.

From the call to the datagram: `series` finds the handle, `handles` take the sample, `flushing` takes it out,
`packing` makes payloads, `senders` sends them by datadog's client.
"""

from .cleaning import MOST, clean_tag, clean_tag_value
from .flushing import HEARTBEAT, GaugeSource, Metrics
from .handles import TIMINGS_LIMIT, Counter, Gauge, Handle, Observer, Timing
from .packing import Packer
from .senders import UDP_PAYLOAD, UDS_PAYLOAD, AgentSender, NoSender, Sender

__all__ = [
    "HEARTBEAT",
    "MOST",
    "TIMINGS_LIMIT",
    "UDP_PAYLOAD",
    "UDS_PAYLOAD",
    "AgentSender",
    "Counter",
    "Gauge",
    "GaugeSource",
    "Handle",
    "Metrics",
    "NoSender",
    "Observer",
    "Packer",
    "Sender",
    "Timing",
    "clean_tag",
    "clean_tag_value",
]
