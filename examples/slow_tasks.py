# ruff: noqa: E501 - the page that is written has tables
"""A task made slow in five ways, and what the log, the span and /stats say about each.

    python -m examples.slow_tasks                      prints the report
    python -m examples.slow_tasks docs/slow-tasks.md   writes it

Everything happens for real: a blocking call, a lock, a database, an HTTP service, a client that does not read.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from streaming_dd import recorder, testing, timers
from streaming_dd.endpoints import Endpoints

#: Seconds for which each way keeps the task; it takes a tenth of one otherwise.
SLOW = 4.0
TOKEN = "only-for-this-run"


# --- the task, and the five ways ----------------------------------------------------------------------------


@timers.task("shop.Invoice")
async def invoice(obstacle: Callable[[], Awaitable[None]]) -> str:
    """Make an invoice: look something up, meet the obstacle, go on."""
    await asyncio.sleep(0.05)
    await obstacle()
    await asyncio.sleep(0.05)
    return "sent"


async def nothing() -> None:
    """Meet no obstacle."""


async def render_with_a_blocking_call() -> None:
    """Wait for a printer in a way that lets nobody else run."""
    time.sleep(SLOW)  # noqa: ASYNC251 - the mistake to be found


number_lock = asyncio.Lock()


async def take_a_number() -> None:
    """Wait for a lock that somebody keeps."""
    async with number_lock:
        await asyncio.sleep(0)


def query_the_orders() -> int:
    """Run a query without an index: SQLite counts for some seconds."""
    found = 0
    end = time.monotonic() + SLOW
    with sqlite3.connect(":memory:") as database:
        while time.monotonic() < end:
            (found,) = database.execute(
                "with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) select sum(i) from n"
            ).fetchone()
    return found


async def look_orders_up() -> None:
    """Query a database in a thread."""
    await asyncio.to_thread(query_the_orders)


async def ask_the_tax_service(port: int) -> None:
    """Ask a service that takes its time."""
    async with httpx.AsyncClient(timeout=30) as client:
        await client.get(f"http://127.0.0.1:{port}/rates")


async def send_to_the_browser(port: int) -> None:
    """Write more than a client reads."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    for _ in range(40):
        writer.write(b"data: row\n\n" * 20_000)
        await writer.drain()
    writer.close()


# --- what makes them slow -----------------------------------------------------------------------------------


@asynccontextmanager
async def locked() -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Somebody who keeps the lock."""
    await number_lock.acquire()
    asyncio.get_running_loop().call_later(SLOW, number_lock.release)
    yield take_a_number


@asynccontextmanager
async def tax_service() -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """An HTTP service that answers after some seconds."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(SLOW)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield lambda: ask_the_tax_service(port)


@asynccontextmanager
async def browser() -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A client that reads nothing for some seconds."""

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(SLOW)
        while await reader.read(1_000_000):
            pass
        writer.close()

    async with await asyncio.start_server(receive, "127.0.0.1", 0, limit=4096) as server:
        port = server.sockets[0].getsockname()[1]
        yield lambda: send_to_the_browser(port)


@asynccontextmanager
async def at_once(obstacle: Callable[[], Awaitable[None]]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """An obstacle that needs nobody else."""
    yield obstacle


# --- looking on ---------------------------------------------------------------------------------------------


@dataclass
class Way:
    """One way, and how to read what is seen of it."""

    title: str
    setting: Callable[[], Any]
    reading: str


WAYS = [
    Way(
        "Nothing is wrong",
        lambda: at_once(nothing),
        "For comparison: a tenth of a second, hardly any CPU time, no step worth a mention.",
    ),
    Way(
        "A blocking call",
        lambda: at_once(render_with_a_blocking_call),
        "`task.loop_ms` is nearly the whole duration and `task.cpu_ms` is not: the task **held the event loop without\n"
        "computing**, and `task.longest_step_at` is the line. The loop's own line was written while that went on, with the\n"
        "stack; every other task and request of this worker stood still meanwhile, `/stats` too.\n"
        "Cure: `await asyncio.to_thread(...)`, or a library that awaits.",
    ),
    Way(
        "A lock",
        locked,
        "Neither CPU nor loop: the task **waited**. `task.waits_at` ends in `Lock.acquire`; the line of one's own before it\n"
        "is the `async with` to look at. Who keeps the lock is another task, and in `/stats` as well.",
    ),
    Way(
        "A slow database",
        lambda: at_once(look_orders_up),
        "`task.thread_calls` and `task.thread_cpu_ms` say that the work was **in a thread**, and `task.waits_at` where that\n"
        "thread stood. SQLite computes in this process, so it is CPU time here; a database on another host would show the\n"
        "same place with next to none.",
    ),
    Way(
        "A slow HTTP service",
        tax_service,
        "It waited again. The chain of awaits goes through the HTTP client down to the socket; the innermost line of one's\n"
        "own is the call to look at. With ddtrace's integration for the client the trace has a span of the call, too.",
    ),
    Way(
        "A slow client",
        browser,
        "It waits in `drain`: what was written is not read. The task is as fast as its slowest reader lets it be.\n"
        "Cure: a bounded queue for each client, and a limit after which one that does not read is dropped.",
    ),
]


async def watch(way: Way, captured: testing.Captured) -> tuple[dict[str, Any], list[dict[str, Any]], Any]:
    """Run the task in one way; return what /stats said meanwhile, the log lines, and the span."""
    captured.logs.clear()
    captured.spans.clear()
    recorder.get().insight.monitor.recent.clear()
    stats: dict[str, Any] = {}
    async with way.setting() as obstacle:
        transport = httpx.ASGITransport(app=Endpoints())
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            task = asyncio.create_task(invoice(obstacle))
            await asyncio.wait([task], timeout=SLOW - 1)
            headers = {"authorization": f"Bearer {TOKEN}"}
            found = (await client.get("/stats", headers=headers)).json()
            stats = {"running": found["running"]["tasks"], "last_blocks": found["loop"]["last_blocks"]}
            await task
    await asyncio.sleep(0.3)
    lines = [line for line in captured.logs.lines if str(line.get("logger.name")).startswith("streaming_dd")]
    return stats, lines, captured.spans.one("task.run")


# --- the report ---------------------------------------------------------------------------------------------

_LOG = (
    "status", "message", "duration", "loop.held_ms", "loop.stack", "task.stalled", "task.waits_at", "task.awaits",
    "task.stalled_ms", "task.cpu_ms", "task.loop_ms", "task.longest_step_ms", "task.longest_step_at",
    "task.thread_cpu_ms", "task.thread_calls", "task.steps", "task.waited_at",
)  # fmt: skip
_STATS = (
    "state", "age_seconds", "cpu_ms", "steps", "loop_ms", "longest_step_ms", "longest_step_at", "waits_at", "awaits",
    "waited_at", "stall", "place", "seconds", "over",
)  # fmt: skip
_INTRO = """\
# A task is slow: what the log, the span and /stats say

A task takes ten minutes instead of one. Nothing has to be deployed to learn why: the end line of each task, its span
and `/stats` carry what was measured. This page is the output of a real run (`python -m examples.slow_tasks
docs/slow-tasks.md`): one task that takes a tenth of a second, made slow in five ways, with `STREAMING_TASK_MAX_AGE=2`.

Read in this order:

1. **`task.loop_ms` is large.** The task held the event loop: `task.longest_step_at` is the line. With as much
   `task.cpu_ms` it computed, with little it made a blocking call.
2. **`task.thread_cpu_ms` is large, or `task.waits_at` names a thread.** The time went into `asyncio.to_thread`,
   `sync_to_async` or `run_in_executor`.
3. **Both are small.** The task waited. `task.waits_at` and `task.awaits` say on what, now; `task.waited_at` says where it
   was seen most often over its whole life, by a look every second.
4. **`task.queue_time_ms` is large.** It was not slow, it began late: the loop was busy, or something held it (1).

Lines are shortened to what matters here; every one also has the task's id and the ids of its trace. What is and is not
covered is at the end of this page.
"""
_OUTRO = """
## What is measured, and what is not

| where the time goes | seen as |
|---|---|
| steps of the task's own coroutine, and of async generators inside it | `task.cpu_ms`, `task.loop_ms` |
| asyncio tasks that it starts: `create_task`, `gather`, `TaskGroup`, `wait_for`; theirs too | the same, added |
| `asyncio.to_thread`, `loop.run_in_executor` with threads, asgiref's `sync_to_async` (Django's ORM) | `task.thread_cpu_ms`, added to `task.cpu_ms` when the call has ended |
| another `@timers.task` that it awaits | that task's, and not this one's: all tasks add up to what was used |
| anyio's own threads (`anyio.to_thread`, Starlette's `run_in_threadpool`), other processes | not seen |
| callbacks (`call_soon`, `add_done_callback`), and child tasks that outlive the run | not counted to the task |
| child tasks on a loop with a task factory of its own (`asyncio.eager_task_factory`) | not counted to the task |

A step shorter than 20 microseconds is taken to be CPU time as a whole (docs/decisions/0070). The line of a long step is
the one where the watching thread saw it most; a step too short for that (under 35 ms or so) is given by the `await` that
ended it. C code that keeps the interpreter's lock lets nobody look: it is reported when it is over.

**Settings.** `STREAMING_TASK_MAX_AGE` (seconds; 0 goes by the kind's own p95 times `STREAMING_TASK_MAX_AGE_P95`),
`STREAMING_TASK_SILENCE`, `STREAMING_LOOP_BLOCK`, `STREAMING_TASK_EVENT_HISTORY`, `STREAMING_TASK_CPU`. For more:
`STREAMING_TASK_MEMORY` (what a task allocates, by tracemalloc: a step that allocates 20 small objects takes about ten times
as long, so for a search only), `DD_PROFILING_ENABLED` (Datadog's continuous profiler), and `/stats/profile`,
a profile of the live process for https://www.speedscope.app or as a page of its own.
"""


def shortened(found: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Keep what the page is about."""
    kept = {name: found[name] for name in names if name in found}
    if "loop.stack" in kept:
        kept["loop.stack"] = _last_frames(kept["loop.stack"])
    for name in ("task.awaits", "awaits"):
        if len(kept.get(name, ())) > 6:
            kept[name] = [*kept[name][:3], "...", *kept[name][-2:]]
    return kept


def _last_frames(stack: str) -> str:
    frames = stack.rstrip().split("  File ")[-2:]
    return "  File ".join(
        ["...\n", *(re.sub(r'"[^"]*/(examples|asyncio)/', r'"\1/', frame) for frame in frames)]
    )


def as_json(found: dict[str, Any]) -> str:
    """A line of JSON for each member."""
    members = [
        f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in found.items()
    ]
    return "```json\n{\n" + ",\n".join(members) + "\n}\n```\n"


def section(way: Way, stats: dict[str, Any], lines: list[dict[str, Any]], span: Any) -> str:
    """One way, as a newcomer would read it."""
    text = f"\n## {way.title}\n\n{way.reading}\n\nThe log:\n\n"
    text += "\n".join(as_json(shortened(line, _LOG)) for line in lines if "started" not in line["message"])
    tags = {**span.metrics, **span.tags}
    names = sorted(name for name in tags if name in _LOG and name != "task.awaits")
    text += "\nThe span `task.run`, resource `shop.Invoice`:\n\n" + as_json(
        {name: tags[name] for name in names}
    )
    text += "".join(
        f"\n`/stats`, {where}:\n\n" + as_json(shortened(entry, _STATS))
        for where, entries in (
            ("`running.tasks`, towards the end", stats["running"]),
            ("`loop.last_blocks`", stats["last_blocks"]),
        )
        for entry in entries
    )
    return text


async def report(captured: testing.Captured) -> str:
    """Run every way and return the page."""
    text = _INTRO
    for way in WAYS:
        print(f"{way.title} ...", file=sys.stderr, flush=True)
        text += section(way, *await watch(way, captured))
    return text + _OUTRO


def main() -> None:
    """Print the page, or write it."""
    with testing.capture(task_max_age=2, stats_token=TOKEN, endpoints_recorded=False) as captured:
        page = asyncio.run(report(captured))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(page, encoding="utf-8")
    else:
        print(page)


if __name__ == "__main__":
    main()
