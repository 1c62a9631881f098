"""The price service: another HTTP service, for the tasks that call one.

Start it with `uvicorn examples.reports.prices:app --port 8889`. Every tenth answer is 503, as of a busy service.
"""

from __future__ import annotations

import asyncio
import itertools
import zlib

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import streaming_dd as dd

_answers = itertools.count(1)


async def price(request: Request) -> Response:
    """Answer the price of a product, the same one each time."""
    await asyncio.sleep(0.01)
    if next(_answers) % 10 == 0:
        return JSONResponse({"error": "busy, ask again"}, status_code=503, headers={"retry-after": "1"})
    sku = request.path_params["sku"]
    return JSONResponse({"sku": sku, "cents": 500 + zlib.crc32(sku.encode()) % 20_000})


app = dd.instrument(Starlette(routes=[Route("/price/{sku}", price)]))
