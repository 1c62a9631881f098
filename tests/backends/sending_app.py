"""Run by a test in a process of its own: one request that starts a task, one span of OpenTelemetry's API, then exit."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import streaming_dd as dd


@dd.task("reports.export")
async def export() -> int:
    with trace.get_tracer("app").start_as_current_span("otel.inside"):
        pass
    return 3


async def start(request: Request) -> JSONResponse:
    """Answer with what the request brought and what a call from here would send on."""
    from ddtrace.propagation.http import HTTPPropagator
    from ddtrace.trace import tracer

    await asyncio.create_task(export())
    onwards: dict[str, str] = {}
    HTTPPropagator.inject(tracer.current_span(), onwards)  # type: ignore[no-untyped-call]
    return JSONResponse(onwards)


app = dd.instrument(Starlette(routes=[Route("/start/{name}", start)]), service="shop")


async def main() -> None:
    headers = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    transport: Any = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        sys.stdout.write((await client.get("/start/ann")).text + "\n")


asyncio.run(main())
