"""What an SSE event costs, and what a connected client keeps."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from typing import Any

from . import apps
from .rounds import BEFORE, before_is_given, median_of, run

ROUNDS = 9
#: So many that the flush at the end of a round, which is the same for one event, is no part of what is shown.
EVENTS = 60_000
CLIENTS = 10_000
EVENT = b'event: progress\ndata: {"percent": 42, "message": "writing rows of page"}\n\n'


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
    flush = apps.ddtrace_alone()
    from ddtrace.contrib.asgi import TraceMiddleware

    return _run(TraceMiddleware(_json_app)), flush


VARIANTS = {
    "bare_bytes": bare_bytes,
    "bare_json": bare_json,
    "ours_bytes": ours_bytes,
    "ours_json": ours_json,
    "ddtrace_json": ddtrace_json,
}


def connected(variant: str, clients: int = CLIENTS) -> tuple[float, float]:
    """Return bytes of memory per connected client, and percent of a core for all while idle; a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streams", variant, str(clients)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found[0], found[1]


def _hold(variant: str, clients: int) -> tuple[float, float]:
    """Open so many streams that send one event and wait; return what a client keeps, and what waiting takes."""
    app: Any = _app_that_waits
    if variant != "bare":
        from streaming_dd.middleware import DatadogMiddleware

        apps.configure(route_patterns=["/{count}"], tracing_enabled=variant == "spans")
        app = DatadogMiddleware(app)

    async def main() -> tuple[float, float]:
        async def receive() -> Any:
            await asyncio.Event().wait()

        for _ in range(100):
            task = asyncio.create_task(app(apps.scope("/1"), receive, apps.send))
            await asyncio.sleep(0)
            task.cancel()
        gc.collect()
        before = _resident()
        tasks = [asyncio.create_task(app(apps.scope("/1"), receive, apps.send)) for _ in range(clients)]
        await asyncio.sleep(4)  # the watch over the streams has looked at them by then
        grown = _resident() - before
        used, since = time.process_time(), time.perf_counter()
        await asyncio.sleep(5)
        share = 100 * (time.process_time() - used) / (time.perf_counter() - since)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return grown / clients, share

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
    before = [f"ours_{kind}{BEFORE}" for kind in ("json", "bytes")] if before_is_given() else []
    found = run("streams", [*VARIANTS, *before], rounds=ROUNDS, count=EVENTS)

    def ratio(name: str, kind: str, loop: bool = False) -> float:
        ours, bare = (
            found[f"{name.removesuffix(BEFORE)}_{kind}{BEFORE * name.endswith(BEFORE)}"],
            found[f"bare_{kind}"],
        )
        if loop:
            return median_of(lambda i: ours.main[i] / bare.main[i], ROUNDS)
        return median_of(lambda i: ours.total[i] / bare.total[i], ROUNDS)

    added = median_of(lambda i: found["ours_bytes"].total[i] - found["bare_bytes"].total[i], ROUNDS) * 1000
    bare, bare_share = connected("bare")
    plain, _ = connected("plain")
    spans, share = connected("spans")
    _, share_of_one = connected("spans", 1)
    rows = [
        (
            f"SSE event from a queue, as JSON, of the bare app's (ddtrace: {ratio('ddtrace', 'json'):.2f})",
            ratio("ours", "json"),
            1.30,
        ),
        ("the same on the loop's thread", ratio("ours", "json", loop=True), 1.20),
        (
            f"SSE event of constant bytes, of the bare app's ({added:.0f} ns an event)",
            ratio("ours", "bytes"),
            1.30,
        ),
        ("the same on the loop's thread", ratio("ours", "bytes", loop=True), 1.20),
        (
            f"memory of one of {CLIENTS} clients beyond the bare app's, metrics and logs, kB",
            (plain - bare) / 1024,
            2.0,
        ),
        (
            f"memory of one of {CLIENTS} clients beyond the bare app's, with its open span, kB",
            (spans - bare) / 1024,
            2.0,
        ),
        (
            f"percent of a core that {CLIENTS} idle streams take beyond the bare app's",
            share - bare_share,
            0.5,
        ),
        ("the same beyond one idle stream: the rest is watching the loop", share - share_of_one, 0.5),
    ]
    if before:
        rows += [
            (
                f"SSE event, {kind}, of the bare app's (before){' on the loop' * loop}",
                ratio(f"ours{BEFORE}", kind, loop),
                limit,
            )
            for kind in ("json", "bytes")
            for loop, limit in ((False, 1.30), (True, 1.20))
        ]
    return [(text, figure, limit, figure <= limit) for text, figure, limit in rows]


if __name__ == "__main__":
    print(json.dumps(_hold(sys.argv[1], int(sys.argv[2]))))
