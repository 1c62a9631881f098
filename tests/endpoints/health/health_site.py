"""A site with a database, Redis and a coordinator, to be broken: `python health_site.py FD`, of a listening socket.

uvicorn's own --fd would take the socket for a unix one and leave Nagle's algorithm on: 40 ms an answer.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import Any

import django
import uvicorn
from django.conf import settings

settings.configure(
    SECRET_KEY="only for tests",
    USE_TZ=True,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["SITE_DATABASE"],
            "OPTIONS": {"timeout": 250},
        }
    },
)
django.setup()

from starlette.applications import Starlette  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import PlainTextResponse, Response  # noqa: E402
from starlette.routing import Route  # noqa: E402

import streaming_dd as dd  # noqa: E402


class Coordinator:
    """The shape that is instrumented."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._task_instances: dict[str, Any] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def start_task(self, task_instance: Any, app_name: str, model_name: str) -> None:
        """Not called by these tests."""

    async def _run_task(self, task_instance: Any, task_key: str) -> None:
        """Not called by these tests."""


async def block(request: Request) -> Response:
    """Hold the event loop, as a blocking call in a coroutine does."""
    time.sleep(float(request.query_params["seconds"]))  # noqa: ASYNC251
    return PlainTextResponse("held")


async def hello(request: Request) -> Response:
    """Answer at once."""
    return PlainTextResponse("hello")


app = dd.instrument(
    Starlette(routes=[Route("/", hello), Route("/block", block)]),
    coordinator=Coordinator(),
    stats_token="operator",
    log_stdout=False,
)

if __name__ == "__main__":
    listener = socket.socket(fileno=int(sys.argv[1]))
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
