"""The truth table when something goes wrong in between: it still holds, or a place says that it has nothing to go by."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from free_ports import free_port
from truth_books import TOKEN, Books, Visitor, Workers, slow_prices
from truth_happened import addresses, compared, happened, settle, until, visit_all
from truth_readers import Readers

from examples.demo.view import Watch
from streaming_dd.assets.truth import Shown
from streaming_dd.cli.capacity import sources
from streaming_dd.errors import CapacityError
from streaming_dd.local_agent import LocalAgent

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(390),  # what waits for buckets to close, several times, on a busy machine
    pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the books on CPU need /proc"),
]
HOUR = 3600


def of_all_that_were(place: Shown) -> bool:
    """What all workers have done, those that have ended too: the command asks those that live, the monitor looks back."""
    return place.where not in ("capacity", "monitor") or place.what.endswith("of the local agent")


def of_the_agent(place: Shown) -> bool:
    """What the local agent shows: the endpoints and the command ask the workers."""
    return place.where not in ("/stats", "/metrics") and of_all_that_were(place)


def of_the_workers(place: Shown) -> bool:
    """What the endpoints show."""
    return place.where in ("/stats", "/metrics")


def test_a_worker_is_killed_while_it_is_counted(tmp_path: Path, agent: LocalAgent) -> None:
    """Nothing that was shown is taken back, what ran in the dead worker is no longer active, and whoever asks it hears
    that it does not answer."""
    since, books, watch = time.time() - 10, Books(), Watch(agent)
    with Workers(3, tmp_path, addresses(agent)).running() as site:
        before = site.cpu_seconds()
        asyncio.run(visit_all(site, books))
        asyncio.run(watch_until_it_dies(site, books, agent))
        dead, *site.urls = site.urls
        asyncio.run(visit_all(site, books))
        settle(agent, books)
        books.cpu_seconds = site.cpu_seconds() - before
        with Readers(agent, since, site, watch) as readers:
            truth = happened(books, 3, time.time() - since)
            truth["workers"] = 2.0
            closed = books.counts["streams opened"] - 1
            truth["share of clients that left"] = books.counts["clients that left"] / closed * 100
            rows, wrong = compared(readers, truth, of_all_that_were)
        with pytest.raises(CapacityError, match="does not answer"):
            sources.from_stats([f"{url}/stats" for url in (dead, *site.urls)], TOKEN, expect=3)
    assert wrong == [], "\n" + "\n".join(rows)


async def watch_until_it_dies(site: Workers, books: Books, agent: LocalAgent) -> None:
    """Start a task at the first worker and watch it; kill the worker once the task is counted, and shown."""
    url = site.urls[0]
    visitor = Visitor(url, books)
    made = (await visitor.ask("POST", "/tasks/reports/WarehouseSync", 201, json={"seconds": 600})).json()
    began = time.perf_counter()
    async with visitor.client.stream("GET", url + made["stream"]) as response:
        chunks = response.aiter_raw()
        await anext(chunks)
        seen = time.perf_counter()
        books.first_bytes.append((seen - began) * 1000)
        books.first_events.append(books.first_bytes[-1])
        books.counts.update({"requests": 1, "streams opened": 1, "tasks started": 1})
        await asyncio.to_thread(settle, agent, books)
        sure = (url, seen, time.perf_counter())
        books.sure_tasks.append(sure)
        books.sure_streams.append(sure)
        site.cpu_seconds()
        site.processes[0].send_signal(signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            await drain(chunks)
    await visitor.client.aclose()
    stay = (url, began, time.perf_counter())
    books.tasks.append(stay)
    books.streams.append(stay)


async def drain(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


@pytest.mark.skipif(shutil.which("faketime") is None, reason="Debian's package faketime is not installed")
def test_the_clock_of_an_application_jumps(tmp_path: Path, agent: LocalAgent) -> None:
    """An hour ahead and two back while requests and streams are on their way: durations, rates and what is counted stay."""
    since, books, watch = time.time() - 10, Books(), Watch(agent)
    clock = tmp_path / "clock"
    clock.write_text("+0")
    preload = subprocess.run(
        ["faketime", "-f", "+0", "printenv", "LD_PRELOAD"], check=True, capture_output=True, text=True
    )
    fake = {
        "LD_PRELOAD": preload.stdout.strip(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Workers(1, tmp_path, {**addresses(agent), **fake}).running() as site:
        before = site.cpu_seconds()
        asyncio.run(visit_all(site, books))
        for shift in (HOUR, -HOUR):
            jumped = clock.with_suffix(".new")
            jumped.write_text(f"{shift:+d}")
            asyncio.run(visit_while(site, books, lambda: jumped.replace(clock)))  # noqa: B023 - called at once
        asyncio.run(visit_all(site, books))
        settle(agent, books)
        books.cpu_seconds = site.cpu_seconds() - before
        with Readers(agent, since, site, watch) as readers:
            rows, wrong = compared(readers, happened(books, 1, time.time() - since))
    assert wrong == [], "\n" + "\n".join(rows)


async def visit_while(site: Workers, books: Books, jump: Callable[[], object]) -> None:
    """Have slow answers and streams on their way when the clock jumps."""
    visitor = Visitor(site.urls[0], books)

    async def later() -> None:
        await asyncio.sleep(0.5)
        jump()

    async with await slow_prices(site.prices):
        await asyncio.gather(
            later(),
            *(visitor.ask("GET", f"/price/item-{number}", 200) for number in range(4)),
            *(visitor.ask_model() for _ in range(3)),
        )
    books.counts["slow"] += 4
    await visitor.client.aclose()


def test_the_clock_of_the_agent_jumps(tmp_path: Path) -> None:
    """Ahead and back: once it is as late as it was already, no bucket has counted twice, and none is lost."""
    shift = [0.0]
    agent = LocalAgent(
        dogstatsd_port=0, trace_port=0, logs_port=0, page_port=0, clock=lambda: time.time() + shift[-1]
    )
    books = Books()
    with agent.running(), Workers(1, tmp_path, addresses(agent)).running() as site:
        since, watch = time.time() - 10, Watch(agent)
        before = site.cpu_seconds()
        for seconds in (0.0, 40.0, 20.0):
            latest = agent.holdings.aggregator.bucket
            shift.append(seconds)
            asyncio.run(visit_all(site, books))
        settle(agent, books)
        until(agent, latest + 20)
        books.cpu_seconds = site.cpu_seconds() - before
        with Readers(agent, since, site, watch) as readers:
            rows, wrong = compared(readers, happened(books, 1, time.time() + 40 - since))
    assert wrong == [], "\n" + "\n".join(rows)


def test_the_agent_is_restarted_in_between(tmp_path: Path) -> None:
    """The new one has nothing to go by and says so; then it shows what came since, while the endpoints go on counting."""
    ports = {"dogstatsd_port": free_port(), "trace_port": free_port(), "logs_port": free_port()}
    first = LocalAgent(**ports, page_port=0)
    earlier, books = Books(), Books()
    site = Workers(1, tmp_path, {})
    with ExitStack() as stack:
        with first.running():
            site.environment |= addresses(first)
            stack.enter_context(site.running())
            asyncio.run(visit_all(site, earlier))
            settle(first, earlier)
        second = LocalAgent(**ports, page_port=0)
        stack.enter_context(second.running())
        since, watch, before = time.time() - 10, Watch(second), site.cpu_seconds()
        until(second, second.holdings.aggregator.bucket + 20)
        with Readers(second, since, site, watch) as readers:
            assert [readers.read(place) for place in NOTHING_YET] == [None] * len(NOTHING_YET)
            with pytest.raises(CapacityError, match="no task has ended"):
                readers.read(Shown("capacity", "duration of the local agent"))
        asyncio.run(visit_all(site, books))
        settle(second, books)
        books.cpu_seconds = site.cpu_seconds() - before
        both = earlier + books
        with Readers(second, since, site, watch) as readers:
            rows, wrong = compared(readers, happened(books, 1, time.time() - since), of_the_agent)
            more, wrong_too = compared(readers, happened(both, 1, time.time() - since), of_the_workers)
    assert wrong + wrong_too == [], "\n" + "\n".join(rows + more)


#: Quotients and percentiles of nothing.
NOTHING_YET = (
    Shown("dashboard", "overview: p95 time to first byte"),
    Shown("dashboard", "overview: Task errors"),
    Shown("dashboard", "capacity: A task takes, queue included"),
    Shown("page", "capacity: duration"),
    Shown("page", "overview: Request errors"),
    Shown("SLO", "time-to-first-byte"),
    Shown("SLO", "task-success"),
)


def test_a_route_with_a_single_request(tmp_path: Path, agent: LocalAgent) -> None:
    """Its percentile is that one request's time, and the monitor says that it is not enough to judge."""
    since, books, watch = time.time() - 10, Books(), Watch(agent)
    with Workers(1, tmp_path, addresses(agent)).running() as site:
        asyncio.run(ask_once(site, books))
        settle(agent, books)
        with Readers(agent, since, site, watch) as readers:
            (milliseconds,) = books.first_bytes
            for place in P95:
                found = readers.read(place)
                assert found is not None
                assert 0 < found <= milliseconds * 1.01, place
            (group,) = (
                each
                for each in readers.groups("time-to-first-byte")
                if each["group"]["route"] == "/django/kinds"
            )
            assert group["state"] == "Skipped"
            assert readers.read(Shown("dashboard", "overview: Requests by status")) == 1


P95 = (
    Shown("terminal", "ttfb_p95_ms"),
    Shown("dashboard", "overview: p95 time to first byte"),
    Shown("dashboard", "capacity: p95 request duration by route, streams excluded: /django/kinds"),
)


async def ask_once(site: Workers, books: Books) -> None:
    visitor = Visitor(site.urls[0], books)
    await visitor.ask("GET", "/django/kinds", 200)
    await visitor.client.aclose()
