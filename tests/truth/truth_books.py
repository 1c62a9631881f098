"""Clients that keep their own books, and the servers that they visit: what really happened, seen from outside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
from free_ports import free_port
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect

from examples.reports.answers import PACE, THINKS

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "truth-token-of-a-test"
SLOW = 2.0
"""Seconds to the first byte of a price: above the limit of what is in time, and a tenth of all responses."""
LEFT = 20
"""Events that a stream may go on sending until it is seen that its client has left."""
QUESTION = {"messages": [{"role": "user", "content": "Who sold most?"}], "stream": True}
TOKENS = 10
PUNCTUAL = 0.8
"""The share of the time that it was told to take after which nothing in the example ends yet."""
BACK = 0.5
"""Seconds after which a client comes back to a stream that it left, as an EventSource does."""

Stay = tuple[str, float, float]
"""A worker's address, the first and the last moment at which a client knows that something was there."""


@dataclass
class Books:
    """What clients saw: counts by name, seconds, and the moments at which tasks began and ended."""

    counts: Counter[str] = field(default_factory=Counter)
    first_bytes: list[float] = field(default_factory=list)
    """Milliseconds, one for each response with a body."""
    first_events: list[float] = field(default_factory=list)
    """Milliseconds, one for each stream."""
    between: list[float] = field(default_factory=list)
    """Milliseconds between two events of a stream."""
    away: list[float] = field(default_factory=list)
    """Milliseconds from leaving a stream to the first event of the next one."""
    tasks: list[Stay] = field(default_factory=list)
    streams: list[Stay] = field(default_factory=list)
    sure_tasks: list[Stay] = field(default_factory=list)
    """For how long each of them was there for certain, however late a client sees what has happened."""
    sure_streams: list[Stay] = field(default_factory=list)
    asked_seconds: float = 0.0
    """What the tasks were told to take, or the moment at which they were told to stop."""
    cpu_seconds: float = 0.0

    def __add__(self, other: Books) -> Books:
        both = Books(self.counts + other.counts)
        for name in (
            *("first_bytes", "first_events", "between", "away"),
            *("tasks", "streams", "sure_tasks", "sure_streams"),
        ):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        both.asked_seconds = self.asked_seconds + other.asked_seconds
        both.cpu_seconds = self.cpu_seconds + other.cpu_seconds
        return both

    def task_seconds(self) -> float:
        return sum(ended - began for _, began, ended in self.tasks)


def p95(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[-(-95 * len(ordered) // 100) - 1]


def peaks(stays: list[Stay]) -> list[int]:
    """Most at once, of each worker that had any."""
    found = []
    for url in {url for url, _, _ in stays}:
        level = most = 0
        for _, step in sorted(
            (moment, step)
            for at, began, ended in stays
            if at == url
            for moment, step in ((began, 1), (ended, -1))
        ):
            level += step
            most = max(most, level)
        found.append(most)
    return found


class Visitor:
    """Visits one worker, and writes down what it sees."""

    def __init__(self, url: str, books: Books) -> None:
        self.url = url
        self.books = books
        self.client = httpx.AsyncClient(timeout=120, trust_env=False)

    async def ask(self, method: str, path: str, status: int, **more: object) -> httpx.Response:
        """Send a request, and note its status and its first byte."""
        began = time.perf_counter()
        request = self.client.build_request(method, self.url + path, **more)  # type: ignore[arg-type]
        response = await self.client.send(request, stream=True)
        chunks: list[bytes] = []
        async for chunk in response.aiter_raw():
            if not chunks:
                self.books.first_bytes.append((time.perf_counter() - began) * 1000)
            chunks.append(chunk)
        await response.aclose()
        response._content = b"".join(chunks)
        assert response.status_code == status, (
            f"{method} {path}: {response.status_code} {response.content[:200]!r}"
        )
        self.books.counts["requests"] += 1
        self.books.counts["bytes of bodies"] += response.num_bytes_downloaded
        self.books.counts["request errors"] += status >= 500
        self.books.counts["hits"] += 1
        return response

    async def task(
        self, model: str, seconds: float, end: str, *, cancel_after: float = 0.0, leave: int = 0
    ) -> None:
        """Create a task, watch its stream to the end (or leave it), and write down how it ended."""
        asked = time.perf_counter()
        made = json.loads(
            (await self.ask("POST", f"/tasks/reports/{model}", 201, json={"seconds": seconds})).content
        )
        began = time.perf_counter()
        runs = asyncio.Event()
        cancelling = asyncio.create_task(self._cancel(made, cancel_after, runs)) if cancel_after else None
        last, seen = await self._watch(made["stream"], leave, runs)
        until = await cancelling if cancelling else asked + seconds * PUNCTUAL
        self._note(self.books.sure_tasks, seen[0], until)
        self._note(self.books.sure_streams, seen[0], min(until, seen[-1]) if leave else until)
        if leave:
            self.books.counts["clients that left"] += 1
            await asyncio.sleep(BACK)
            last, after = await self._watch(made["stream"], last_id=str(len(seen)))  # and sees the end
            self._note(self.books.sure_streams, after[0], until)
            self.books.counts["clients that came back"] += 1
            self.books.away.append((after[0] - seen[-1]) * 1000)  # it cannot have left before it saw that one
        self.books.tasks.append((self.url, began, time.perf_counter()))
        assert last == end, f"{model} ended as {last}, not {end}"
        assert seen
        self.books.asked_seconds += cancel_after or seconds
        outcome = {"complete": "completed", "error": "failed", "cancelled": "cancelled"}[last]
        self.books.counts["tasks started"] += 1
        self.books.counts[f"tasks {outcome}"] += 1

    async def ask_model(self) -> None:
        """Ask what a language model is asked, and read the answer token by token."""
        until = time.perf_counter() + (THINKS + PACE * (TOKENS - 1)) * PUNCTUAL
        last, moments = await self._watch("/v1/chat/completions", method="POST", json=QUESTION)
        self._note(self.books.sure_streams, moments[0], until)
        assert last == "[DONE]"
        self.books.counts["tokens"] += TOKENS
        self.books.counts["streams that said why they end"] += 1

    async def _watch(
        self,
        path: str,
        leave: int = 0,
        runs: asyncio.Event | None = None,
        *,
        last_id: str = "",
        method: str = "GET",
        **more: object,
    ) -> tuple[str, list[float]]:
        """Read a stream to its end, so that it is the server who closes, or leave after so many events.

        Sets `runs` at the first event. Returns the last event, and the moment of each.
        """
        began = time.perf_counter()
        last, moments = "", []
        headers = {"last-event-id": last_id} if last_id else {}
        async with aconnect_sse(self.client, method, self.url + path, headers=headers, **more) as source:
            async for event in source.aiter_sse():
                last = event.data if method == "POST" else event.event
                moments.append(time.perf_counter())
                if runs is not None:
                    runs.set()
                if len(moments) == leave:
                    break
            self.books.counts["bytes of bodies"] += source.response.num_bytes_downloaded
        self.books.streams.append((self.url, began, time.perf_counter()))
        first = (moments[0] - began) * 1000
        self.books.first_bytes.append(first)
        self.books.first_events.append(first)
        self.books.between += [(after - before) * 1000 for before, after in pairwise(moments)]
        self.books.counts["requests"] += 1
        self.books.counts["streams opened"] += 1
        self.books.counts["events on streams"] += len(moments)
        return last, moments

    def _note(self, stays: list[Stay], began: float, ended: float) -> None:
        """Note that something was there all the time, if it is sure that it was at all."""
        if ended > began:
            stays.append((self.url, began, ended))

    async def _cancel(self, made: dict[str, object], after: float, runs: asyncio.Event) -> float:
        """Cancel a task some time after it has told that it runs; return the moment, until which it ran."""
        await runs.wait()
        await asyncio.sleep(after)
        asked = time.perf_counter()
        await self.ask("POST", f"/tasks/reports/{made['model']}/{made['id']}/cancel", 202)
        return asked

    async def talk(self) -> None:
        """Talk over a WebSocket."""
        async with connect(self.url.replace("http", "ws", 1) + "/ws", proxy=None) as socket:
            for number in range(2):
                await socket.send(f"hello {number}")
                await asyncio.wait_for(socket.recv(), 60)
                self.books.counts["WebSocket messages received"] += 1
        self.books.counts["WebSockets opened"] += 1

    async def visit(self) -> None:
        """Do everything that a worker can show: well and badly, slowly and fast."""
        try:
            for _ in range(15):
                await self.ask("GET", "/django/kinds", 200)
            for _ in range(4):
                await self.ask("GET", "/nowhere", 404)
            for _ in range(2):
                await self.ask("GET", "/broken", 500, headers={"connection": "close"})
            await asyncio.gather(
                *(self.task("CsvExport", 1.0 + number / 10, "complete") for number in range(4)),
                *(self.task("ProductImport", 0.8, "error") for _ in range(2)),
                self.task("WarehouseSync", 60, "cancelled", cancel_after=1.5),
                self.task("AnnualReport", 2.5, "complete", leave=2),
                self.talk(),
                *(self.ask_model() for _ in range(2)),
                *(self.ask("GET", f"/price/item-{number}", 200) for number in range(4)),
            )
            self.books.counts["slow"] += 4
        finally:
            await self.client.aclose()


async def slow_prices(port: int) -> asyncio.Server:
    """Serve prices that take `SLOW` seconds to come: what is asked for them has a first byte that everybody knows."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(SLOW)
        body = b'{"price": 1}'
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", port)


class Workers:
    """So many workers of the example, each on a port of its own; `books` get the CPU that they used."""

    def __init__(self, count: int, folder: Path, agent: dict[str, str]) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.urls: list[str] = []
        self._used: dict[int, float] = {}
        self.folder = folder
        self.prices = free_port()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DD_", "STREAMING_"))}
        self.environment = {
            **kept,
            "DJANGO_SETTINGS_MODULE": "examples.reports.settings",
            "REPORTS_DATABASE": str(folder / "reports.sqlite3"),
            "REPORTS_PRICES_URL": f"http://127.0.0.1:{self.prices}",
            "DD_SERVICE": "reports",
            "DD_ENV": "truth",
            "DD_VERSION": "1",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_TRACE_RATE_LIMIT": "-1",
            "STREAMING_FLUSH_INTERVAL": "0.5",
            "STREAMING_LOG_STDOUT": "false",
            "STREAMING_STATS_TOKEN": TOKEN,
            "STREAMING_SIBLINGS": f"truth-{os.getpid()}-{count}",  # whichever is asked answers for all
            **agent,
        }
        self.count = count

    @contextmanager
    def running(self) -> Iterator[Workers]:
        manage = [sys.executable, "-m", "examples.reports.manage", "migrate", "--verbosity", "0"]
        subprocess.run(manage, cwd=ROOT, env=self.environment, check=True, timeout=200)
        for number in range(self.count):
            listening = socket.socket()
            listening.bind(("127.0.0.1", 0))
            listening.listen(128)
            with (self.folder / f"worker-{number}.log").open("wb") as output:
                command = ["uvicorn", "examples.reports.asgi:app", "--fd", str(listening.fileno())]
                self.processes.append(
                    subprocess.Popen(
                        [
                            sys.executable,
                            "-m",
                            *command,
                            "--timeout-graceful-shutdown",
                            "3",
                            "--no-access-log",
                        ],
                        cwd=ROOT,
                        env=self.environment,
                        pass_fds=[listening.fileno()],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                    )
                )
            self.urls.append(f"http://127.0.0.1:{listening.getsockname()[1]}")
            listening.close()
        try:
            for url in self.urls:  # `/health` of ours is not recorded: it opens no book
                httpx.get(f"{url}/health", timeout=200, trust_env=False)
            yield self
        finally:
            for process in self.processes:
                process.send_signal(signal.SIGTERM)
            for process in self.processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def cpu_seconds(self) -> float:
        """CPU seconds that the processes have used, read from the system."""
        for process in self.processes:
            if process.poll() is not None:
                continue  # it was killed: what it had used is kept
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            self._used[process.pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return sum(self._used.values())
