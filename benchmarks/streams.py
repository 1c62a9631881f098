"""Goal 4: what an SSE event costs, and what a connected client keeps."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from typing import Any

from . import apps
from .rounds import median_of, run

ROUNDS = 15
EVENTS = 20_000
CLIENTS = 10_000
EVENT = b'event: progress\ndata: {"percent": 42}\n\n'


def _streaming(count: int) -> Any:
    from starlette.responses import StreamingResponse

    async def body() -> Any:
        for _ in range(count):
            yield EVENT

    return StreamingResponse(body(), media_type="text/event-stream")


async def _app(scope: Any, receive: Any, send: Any) -> None:
    await _streaming(int(scope["path"][1:]))(scope, receive, send)


def _run(app: Any) -> Any:
    runner = asyncio.Runner()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def stream(count: int) -> None:
        await app(apps.scope(f"/{count}"), receive, apps.send)

    return lambda count: runner.run(stream(count))


def bare() -> apps.Prepared:
    return _run(_app), apps.nothing


def ours() -> apps.Prepared:
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure(route_patterns=["/{count}"])
    return _run(DatadogMiddleware(_app)), flush


def ddtrace() -> apps.Prepared:
    apps.quiet_ddtrace()
    from ddtrace.contrib.asgi import TraceMiddleware

    return _run(TraceMiddleware(_app)), apps.nothing


VARIANTS = {"bare": bare, "ours": ours, "ddtrace": ddtrace}


def connected(variant: str) -> float:
    """Return the bytes of memory per connected client, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streams", variant]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def _hold(variant: str) -> float:
    """Open CLIENTS streams that send one event and wait; return the growth of resident memory per client."""
    app: Any = _app_that_waits
    if variant == "ours":
        from streaming_dd.middleware import DatadogMiddleware

        apps.configure(route_patterns=["/{count}"])
        app = DatadogMiddleware(app)

    async def main() -> float:
        async def receive() -> Any:
            await asyncio.Event().wait()

        for _ in range(100):
            task = asyncio.create_task(app(apps.scope("/1"), receive, apps.send))
            await asyncio.sleep(0)
            task.cancel()
        gc.collect()
        before = _resident()
        tasks = [asyncio.create_task(app(apps.scope("/1"), receive, apps.send)) for _ in range(CLIENTS)]
        await asyncio.sleep(4)  # the watch over the streams has looked at them by then
        grown = _resident() - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return grown / CLIENTS

    return asyncio.run(main())


async def _app_that_waits(scope: Any, receive: Any, send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    await send({"type": "http.response.body", "body": EVENT, "more_body": True})
    await receive()


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def measure() -> list[tuple[str, float, float, bool]]:
    """Return (goal, figure, limit, met)."""
    found = run("streams", VARIANTS, rounds=ROUNDS, count=EVENTS)
    ratio = median_of(lambda index: found["ours"].total[index] / found["bare"].total[index], ROUNDS)
    peer = median_of(lambda index: found["ddtrace"].total[index] / found["bare"].total[index], ROUNDS)
    kilobytes = (connected("ours") - connected("bare")) / 1024
    return [
        (f"4 SSE event, of the bare app's (ddtrace: {peer:.2f})", ratio, 1.15, ratio <= 1.15),
        (
            f"4 memory of one of {CLIENTS} connected clients beyond the bare app's, kB",
            kilobytes,
            2.0,
            kilobytes <= 2.0,
        ),
    ]


if __name__ == "__main__":
    print(_hold(sys.argv[1]))
