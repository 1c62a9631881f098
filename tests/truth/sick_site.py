"""A site of several workers, each of which can be made sick: `/sicken` and `/heal` reach one of them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import streaming_dd as dd
from streaming_dd.endpoints import health


@dataclass
class Vital(health.Check):
    """What this worker needs, and no other."""

    sick: bool = False

    def run(self) -> None:
        """Raise while the worker is sick."""
        if self.sick:
            raise health.Unhealthy("sick on purpose")


vital = Vital()
health.register(vital)


async def change(request: Request) -> Response:
    """Make this worker sick, or sound, if it is the one that is meant; say who it is."""
    if request.query_params.get("pid") == str(os.getpid()):
        vital.sick = request.url.path == "/sicken"
    return PlainTextResponse(str(os.getpid()), headers={"connection": "close"})


app = dd.instrument(
    Starlette(routes=[Route("/sicken", change), Route("/heal", change)]),
    stats_token="operator-of-a-test",
    log_stdout=False,
    flush_interval=0.3,
    health_interval=0.3,
    health_cache=0.1,
)
