"""A program under steady load: counts, timings, tasks with spans, and log lines, in three parts that its parent divides.

Before and after the second part it prints a word, and what it has made, and waits for a line: the parent breaks the Agent,
and mends it. At the very end it prints what it made, what the package says was lost, and the worst lag of its event loop
since the fault began.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import sys
import time

RESULT = {"made": 0, "lag": 0.0}


def tell() -> None:
    current = dd.recorder.current
    lines = dict(current.logs.dropped) if current.logs is not None else {}
    print(json.dumps({**RESULT, "dropped": dict(current.metrics.dropped), "lines": lines}), flush=True)


atexit.register(tell)  # registered before the package's own: called after it

from loguru import logger  # noqa: E402

import streaming_dd as dd  # noqa: E402

if os.environ.get("ROOM"):  # what an outage of minutes fills, filled within a second
    from streaming_dd.output.metrics import keeping
    from streaming_dd.output.tracing import export

    keeping.Kept.__init__.__defaults__ = (int(os.environ["ROOM"]),)
    export.KEPT_LIMIT = int(os.environ["ROOM"]) * 100

ROWS = dd.Metric("load.rows", "count", "row", ("kind",), "Rows.")
RENDER = dd.Metric("load.render", "timer", "millisecond", ("kind",), "Rendering.")
PADDING = "x" * 300


@dd.task("load.step")
async def step(number: int) -> None:
    dd.increment(ROWS, kind=f"k{number % 50}")
    dd.record(RENDER, float(number % 100), kind=f"k{number % 5}")
    logger.bind(number=number).info(PADDING)


async def work(steps: int) -> None:
    for _ in range(steps):
        await step(RESULT["made"])
        RESULT["made"] += 1
        due = time.perf_counter() + 0.005
        await asyncio.sleep(0.005)
        RESULT["lag"] = max(RESULT["lag"], time.perf_counter() - due)


async def told(word: str) -> None:
    print(word, RESULT["made"], flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def main() -> None:
    dd.configure()
    await work(60)
    await told("break")  # once all of it has arrived
    RESULT["lag"] = 0.0
    await work(240)
    await told("mend")
    await work(60)


asyncio.run(main())
print("end", flush=True)
