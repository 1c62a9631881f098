"""The embedded local agent (extra `agent`): receives what an app sends to Datadog's Agent, aggregates and shows it.

Imports nothing of this package but `errors` and `query_language`; nothing at all until a name is used. State lives in
a `LocalAgent`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agent import LocalAgent
    from .intake.dogstatsd import Event, Sample, ServiceCheck
    from .intake.spans import Span, SpanLink
    from .settings import Settings
    from .store.received import Received

__all__ = ["Event", "LocalAgent", "Received", "Sample", "ServiceCheck", "Settings", "Span", "SpanLink"]

_HOMES = {
    "Event": "intake.dogstatsd",
    "LocalAgent": "agent",
    "Received": "store.received",
    "Sample": "intake.dogstatsd",
    "ServiceCheck": "intake.dogstatsd",
    "Settings": "settings",
    "Span": "intake.spans",
    "SpanLink": "intake.spans",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
