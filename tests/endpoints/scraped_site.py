"""A site for Prometheus to scrape: `uvicorn scraped_site:app`. Each request of /work runs a task of a tenth of a second."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import streaming_dd as dd


@dd.timers.task("reports.Export")
async def export(fail: bool) -> str:
    """Take a moment, then end well or not."""
    await asyncio.sleep(0.1)
    if fail:
        raise ValueError("no such report")
    return "done"


async def work(request: Request) -> Response:
    """Run a task; `?fail=1` for one that fails."""
    results: list[Any] = await asyncio.gather(export("fail" in request.query_params), return_exceptions=True)
    return PlainTextResponse(str(results[0]))


async def hello(request: Request) -> Response:
    """Answer at once."""
    return PlainTextResponse("hello")


app = dd.instrument(
    Starlette(routes=[Route("/work", work), Route("/hello", hello)]),
    metrics_enabled=False,
    tracing_enabled=False,
    log_stdout=False,
    prometheus_token="scraper",
)
