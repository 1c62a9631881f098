"""The embedded local agent (extra `agent`): receives what an app sends to Datadog's Agent, aggregates and shows it.

Imports nothing of this package but `errors` and `query_language`; nothing at all until a name is used. State lives in
a `LocalAgent`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agent import LocalAgent
    from .dogstatsd import Event, Sample, ServiceCheck
    from .received import Received
    from .settings import Settings
    from .traces import Span, SpanLink

__all__ = ["Event", "LocalAgent", "Received", "Sample", "ServiceCheck", "Settings", "Span", "SpanLink"]

_HOMES = {
    "Event": "dogstatsd",
    "LocalAgent": "agent",
    "Received": "received",
    "Sample": "dogstatsd",
    "ServiceCheck": "dogstatsd",
    "Settings": "settings",
    "Span": "traces",
    "SpanLink": "traces",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
