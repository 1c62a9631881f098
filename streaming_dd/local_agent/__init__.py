"""The embedded local agent (extra `agent`): receives what an app sends to Datadog's Agent, aggregates and shows it.

Imports nothing of this package but `errors` and `query_language`. State lives in a `LocalAgent`.
"""

from __future__ import annotations

from .agent import LocalAgent
from .dogstatsd import Event, Sample, ServiceCheck
from .received import Received
from .settings import Settings
from .traces import Span, SpanLink

__all__ = ["Event", "LocalAgent", "Received", "Sample", "ServiceCheck", "Settings", "Span", "SpanLink"]
