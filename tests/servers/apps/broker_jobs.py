"""What the jobs of every broker here do, and how they are put into its queue: `python broker_NAME.py add fail ...`."""

from __future__ import annotations

import asyncio
import os
import time

REDIS = os.environ.get("REDIS_URL", "")


def add(left: int, right: int) -> int:
    return left + right


def fail() -> None:
    time.sleep(1)  # no retry has waited so long
    raise LookupError("no such row")


def began() -> None:
    """Say that a long job runs; the test then tells the worker to end."""
    os.write(1, b"long began\n")


def long() -> str:
    began()
    time.sleep(2)
    return "done"


async def long_in_asyncio(seconds: float = 2) -> str:
    began()
    await asyncio.sleep(seconds)
    return "done"


def enqueue(put) -> None:
    """Put each of the jobs named on the command line into the queue, within a span."""
    import sys

    from ddtrace.trace import tracer

    import streaming_dd as dd

    dd.configure()
    for name in sys.argv[1:]:
        with tracer.trace("web.request"):
            put(name)
