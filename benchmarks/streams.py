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


async def _bytes_app(scope: Any, receive: Any, send: Any) -> None:
    """Yield the same bytes again and again: the floor, which no application reaches."""
    from starlette.responses import StreamingResponse

    async def body() -> Any:
        for _ in range(int(scope["path"][1:])):
            yield EVENT

    await StreamingResponse(body(), media_type="text/event-stream")(scope, receive, send)


async def _json_app(scope: Any, receive: Any, send: Any) -> None:
    """Take each event from a queue and render it as JSON, as a coordinator's stream does."""
    from starlette.responses import StreamingResponse

    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def body() -> Any:
        for number in range(int(scope["path"][1:])):
            queue.put_nowait({"type": "progress", "data": {"percent": number, "message": "writing rows"}})
            event = await queue.get()
            yield f"event: {event['type']}\ndata: {json.dumps(event['data'])}\n\n"

    await StreamingResponse(body(), media_type="text/event-stream")(scope, receive, send)


def _run(app: Any) -> Any:
    runner = asyncio.Runner()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def stream(count: int) -> None:
        await app(apps.scope(f"/{count}"), receive, apps.send)

    return lambda count: runner.run(stream(count))


def bare_bytes() -> apps.Prepared:
    return _run(_bytes_app), apps.nothing


def bare_json() -> apps.Prepared:
    return _run(_json_app), apps.nothing


def _ours(app: Any) -> apps.Prepared:
    from streaming_dd.middleware import DatadogMiddleware

    flush = apps.configure(route_patterns=["/{count}"])
    return _run(DatadogMiddleware(app)), flush


def ours_bytes() -> apps.Prepared:
    return _ours(_bytes_app)


def ours_json() -> apps.Prepared:
    return _ours(_json_app)


def ddtrace_json() -> apps.Prepared:
    apps.quiet_ddtrace()
    from ddtrace.contrib.asgi import TraceMiddleware

    return _run(TraceMiddleware(_json_app)), apps.nothing


VARIANTS = {
    "bare_bytes": bare_bytes,
    "bare_json": bare_json,
    "ours_bytes": ours_bytes,
    "ours_json": ours_json,
    "ddtrace_json": ddtrace_json,
}


def connected(variant: str) -> float:
    """Return the bytes of memory per connected client, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streams", variant]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def _hold(variant: str) -> float:
    """Open CLIENTS streams that send one event and wait; return the growth of resident memory per client."""
    app: Any = _app_that_waits
    if variant != "bare":
        from streaming_dd.middleware import DatadogMiddleware

        apps.configure(route_patterns=["/{count}"], tracing_enabled=variant == "spans")
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

    def ratio(name: str, kind: str) -> float:
        return median_of(lambda i: found[f"{name}_{kind}"].total[i] / found[f"bare_{kind}"].total[i], ROUNDS)

    added = median_of(lambda i: found["ours_json"].total[i] - found["bare_json"].total[i], ROUNDS) * 1000
    bare = connected("bare")
    rows = [
        (
            f"4 SSE event from a queue, as JSON, of the bare app's (ddtrace: {ratio('ddtrace', 'json'):.2f})",
            ratio("ours", "json"),
            1.15,
        ),
        (
            f"4 SSE event of constant bytes, of the bare app's ({added:.0f} ns an event)",
            ratio("ours", "bytes"),
            1.15,
        ),
        (
            f"4 memory of one of {CLIENTS} clients beyond the bare app's, metrics and logs, kB",
            (connected("plain") - bare) / 1024,
            2.0,
        ),
        (
            f"4 memory of one of {CLIENTS} clients beyond the bare app's, with its open span, kB",
            (connected("spans") - bare) / 1024,
            2.0,
        ),
    ]
    return [(text, figure, limit, figure <= limit) for text, figure, limit in rows]


if __name__ == "__main__":
    print(_hold(sys.argv[1]))
