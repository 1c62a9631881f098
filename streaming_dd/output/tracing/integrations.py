"""What ddtrace's own integrations do in this process: their request spans are used, their spans of a probe dropped.

No state.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

#: Sampling priority of a trace that the Agent is to drop.
_USER_REJECT: Final = -1


def span_of_integration(scope: Mapping[str, Any]) -> Any:
    """Return the span that ddtrace's own ASGI integration made for this request, if it made one."""
    spans = scope["datadog"].get("request_spans") if "datadog" in scope else None
    return spans[0] if spans else None


def integration_is_inside(app: Any) -> bool:
    """Return whether ddtrace's own ASGI middleware is among the layers of `app`: then it makes the request's span."""
    module = sys.modules.get("ddtrace.contrib.internal.asgi.middleware")
    if module is None:
        return False
    middleware = module.TraceMiddleware
    for _ in range(50):
        if isinstance(app, middleware):
            return True
        if any(
            getattr(item, "cls", None) is middleware
            for item in getattr(app, "__dict__", {}).get("user_middleware", ())
        ):
            return True
        inner = next(
            (getattr(app, name) for name in ("app", "application", "_app") if hasattr(app, name)), None
        )
        if inner is None or inner is app:
            return False
        app = inner
    return False


@contextmanager
def dropped_spans(name: str) -> Iterator[None]:
    """Have the spans that ddtrace's integrations make in the block dropped: they are a probe's own queries.

    They belong to a trace of a priority by which the Agent drops it. Its root is never finished and known to nobody
    else, so without queries nothing is sent. (A context without a span would do so for the first query only:
    ddtrace forgets it when that one ends.)
    """
    module = sys.modules.get("ddtrace.trace")
    if module is None or not module.tracer.enabled:
        yield
        return
    provider = module.tracer.context_provider
    before = provider.active()
    root = module.Span(name)
    root.context.sampling_priority = _USER_REJECT
    provider.activate(root)
    try:
        yield
    finally:
        provider.activate(before)
