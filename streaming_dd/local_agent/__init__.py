"""The embedded local agent (extra `agent`): receives what an app sends to Datadog's Agent, aggregates and shows it.

Imports nothing of this package but `errors` and `query_language`. State lives in a `LocalAgent`.
"""

from __future__ import annotations

from streaming_dd.local_agent.agent import LocalAgent
from streaming_dd.local_agent.dogstatsd import Event, Sample, ServiceCheck
from streaming_dd.local_agent.received import Received
from streaming_dd.local_agent.settings import Settings
from streaming_dd.local_agent.traces import Span, SpanLink

__all__ = ["Event", "LocalAgent", "Received", "Sample", "ServiceCheck", "Settings", "Span", "SpanLink"]
