"""Run by a test in a process of its own: Django in Starlette with ddtrace's integrations on, then what was counted."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import ddtrace

ddtrace.patch(django=True, starlette=True)

import django_site  # noqa: E402
import httpx  # noqa: E402
from ddtrace.trace import Span, TraceFilter, tracer  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.routing import Mount  # noqa: E402

SPANS: collections.Counter[str] = collections.Counter()


class Capture(TraceFilter):
    """Counts finished spans, and lets none go to an agent."""

    def process_trace(self, trace: Sequence[Span]) -> None:
        SPANS.update(span.name for span in trace if span.name.endswith(".request"))


async def main() -> None:
    django_site.set_up()
    from django.core.asgi import get_asgi_application

    import streaming_dd as dd
    from streaming_dd import catalog

    recorder = dd.configure(sender=django_site.Null(), logs_enabled=False, service="site")
    app: Any = dd.DatadogMiddleware(Starlette(routes=[Mount("/django", get_asgi_application())]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for path in ("/django/items/17", "/django/stream/3", "/django/nowhere"):
            await client.get(path)
    recorder.traffic.settle()
    routes = {
        f"{dict(handle.tags)['route']} {dict(handle.tags)['status']}": int(handle.total)
        for handle in recorder.metrics.handles()
        if handle.metric is catalog.HTTP_REQUESTS
    }
    sys.stdout.write(json.dumps({"routes": routes, "spans": SPANS}) + "\n")
    sys.stdout.flush()


tracer.configure(trace_processors=[Capture()])
asyncio.run(main())
os._exit(0)
