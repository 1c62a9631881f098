"""What really happened, by the clients' books: the truth for each row of the table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from truth_books import LEFT, PUNCTUAL, SLOW, Books, Visitor, Workers, p95, peaks, slow_prices
from truth_readers import Readers, Truth, holds, shown, told

from examples.reports.answers import PACE, THINKS
from streaming_dd.assets.truth import NUMBERS, SITE, Shown
from streaming_dd.local_agent import LocalAgent

TASKS = ("tasks started", "tasks completed", "tasks failed", "tasks cancelled")
SETTLED = 90.0
"""Seconds for what was sent to be in closed buckets: at most ten, on a busy machine more."""


def happened(books: Books, workers: int, seconds: float) -> dict[str, Truth]:
    """Return the truth: each number of the table as the clients counted it, or the bounds that they are sure of.

    What a client measures is what the server did and the way there and back; what the server cannot have been faster
    than is known: prices take `SLOW` seconds, tasks about what they were told to take. A client does not see the very moment
    at which a task ends, or a server that it has left: at once was what was there for certain, and at most what clients
    saw and one of each worker.
    """
    counts = books.counts
    left = counts["clients that left"]
    tasks, clients = peaks(books.tasks), peaks(books.streams)
    sure_tasks, sure_clients = [0, *peaks(books.sure_tasks)], [0, *peaks(books.sure_streams)]
    judged = counts["tasks completed"] + counts["tasks failed"]
    ended = judged + counts["tasks cancelled"]
    in_time = sum(value <= 1000 for value in books.first_bytes)
    return {
        **{number.name: float(counts[number.name]) for number in NUMBERS if number.name in counts},
        "share of request errors": counts["request errors"] / counts["requests"] * 100,
        "responses in time": (
            in_time / len(books.first_bytes) * 100,
            100 - books.counts["slow"] / len(books.first_bytes) * 100 + 1e-9,
        ),
        "p95 to the first byte": (SLOW * 1000 * 0.99, p95(books.first_bytes) * 1.01),
        "requests a second": (counts["requests"] / seconds, counts["requests"] / 10),
        "bytes of bodies": (counts["bytes of bodies"], counts["bytes of bodies"] + left * LEFT * 500),
        "share of failed tasks": counts["tasks failed"] / judged * 100,
        "tasks that end well": counts["tasks completed"] / judged * 100,
        "a task takes": (books.asked_seconds * PUNCTUAL / ended, books.task_seconds() / ended + 0.01),
        "CPU of a task": books.cpu_seconds / ended,
        "tasks active": 0.0,
        "SSE clients": 0.0,
        "peak of a worker": (max(sure_tasks), max(tasks) + 1.0),
        "peak of a worker's clients": (max(sure_clients), max(clients) + 1.0),
        "tasks at once, at most": (sum(sure_tasks), sum(tasks) + workers),
        "clients at once, at most": (sum(sure_clients), sum(clients) + workers),
        "share of clients that left": left / counts["streams opened"] * 100,
        "events on streams": (counts["events on streams"], counts["events on streams"] + left * LEFT),
        "p95 to the first event": (THINKS * 1000 * 0.99, p95(books.first_events) * 1.01),
        "p95 between events": (PACE * 1000 * 0.9, max(books.between) * 1.1),
        "longest time until a client was back": (1.0, max(books.away)),
        "workers": float(workers),
        "service hits": float(counts["hits"]),
    }


def compared(
    readers: Readers, truth: dict[str, Truth], places: Callable[[Shown], bool] = lambda place: True
) -> tuple[list[str], list[str]]:
    """Read every place of the table, or some; return a row for each, and those that do not hold."""
    rows, wrong = [], []
    for number in SITE:
        for place in filter(places, number.shown):
            value, expected = readers.read(place), truth[number.name]
            row = f"{number.name:<26} {told(expected):>16}  {place.where:<10} {place.what:<44} {shown(value)}"
            rows.append(row)
            wrong += [] if holds(number, value, expected) else [row]
    return rows, wrong


async def visit_all(site: Workers, books: Books, urls: Sequence[str] = ()) -> None:
    """Visit every worker, or those at `urls`."""
    prices = await slow_prices(site.prices)
    async with prices, asyncio.timeout(200), asyncio.TaskGroup() as visits:
        for url in urls or site.urls:
            visits.create_task(Visitor(url, books).visit())


def addresses(agent: LocalAgent) -> dict[str, str]:
    """The settings that lead an application to the agent."""
    return {
        "DD_AGENT_HOST": "127.0.0.1",
        "DD_DOGSTATSD_PORT": str(agent.dogstatsd_port),
        "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agent.trace_port}",
        "STREAMING_LOG_AGENT": f"127.0.0.1:{agent.logs_port}",
    }


def settle(agent: LocalAgent, books: Books) -> None:
    """Wait until what clients counted has come, and the bucket that it came in is closed."""
    wanted = {
        "streaming.http.requests": books.counts["requests"],
        "streaming.streams.opened": books.counts["streams opened"],
        "streaming.ws.opened": books.counts["WebSockets opened"],
        **{f"streaming.{name.replace(' ', '.')}": books.counts[name] for name in TASKS},
    }
    deadline = time.monotonic() + SETTLED
    found: dict[str, float] = {}
    while time.monotonic() < deadline:
        found = dict.fromkeys(wanted, 0.0)
        for one in agent.snapshot():
            if one.name in found:
                found[one.name] += one.total
        if all(round(found[name]) >= count for name, count in wanted.items()):
            break
        time.sleep(0.2)
    else:
        raise AssertionError(f"of {wanted} there are {found}")
    until(agent, agent.holdings.aggregator.bucket + 20)


def until(agent: LocalAgent, bucket: int) -> None:
    """Wait until this bucket is open: those before it are closed."""
    deadline = time.monotonic() + SETTLED
    while agent.holdings.aggregator.bucket < bucket:
        assert time.monotonic() < deadline, "the buckets do not close"
        time.sleep(0.2)
