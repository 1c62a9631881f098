"""The demo's visitors: real HTTP, SSE and WebSocket clients, each with a habit of its own.

State: a `Town` has the connections, and in `surprises` whatever did not go as the visitor expects it to.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
from httpx_sse import aconnect_sse
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

#: How each kind of task ends that nobody cancels, and the seconds it is given.
ENDS = {
    "SalesReport": ("complete", 2.0),
    "CsvExport": ("complete", 1.5),
    "FeedDigest": ("complete", 2.5),
    "PriceCheck": ("complete", 1.5),
    "StockAudit": ("complete", 2.0),
    "AnnualReport": ("complete", 4.0),
    "ProductImport": ("error", 1.2),
}
FINAL = ("complete", "error", "cancelled")
ROADS = ("stream", "django_stream")
MAX_SURPRISES = 20
#: Visits at once from which on nobody else sets out: a slow machine is visited less often, not by more and more.
CROWDED = 40


class Town:
    """Everybody who visits the example's workers at `urls`, until `stop()`."""

    def __init__(self, urls: tuple[str, ...], seed: int = 1) -> None:
        self.urls = urls
        self.dice = random.Random(seed)
        self.visits: Counter[str] = Counter()
        self.surprises: list[str] = []
        #: Set once every visitor has come once: what the demo must show has then been asked for.
        self.toured = asyncio.Event()
        #: The first visit of every habit, each a task that has the habit's name.
        self.tour: list[asyncio.Task[None]] = []
        # uvicorn closes an idle connection after five seconds: none is used again at the moment at which it is closed.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=2.0)
        timeout = httpx.Timeout(60.0)
        self.client = httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False)

    async def live(self) -> None:
        """Let everybody come once, at every worker, and then come again at random; until cancelled."""
        habits: list[Callable[[str], Awaitable[None]]] = [
            *(self._watcher(model, road) for model in ENDS for road in ROADS),
            self.crowd, self.ask, self.leave, self.vanish, self.come_back, self.cancel, self.look_around,
            self.lose_the_way, self.break_things, self.talk, self.hang_up,
        ]  # fmt: skip
        try:
            async with asyncio.TaskGroup() as visits:
                for number, habit in enumerate(habits):
                    visit = self._visit(habit, self.urls[number % len(self.urls)])
                    self.tour.append(visits.create_task(visit, name=habit.__name__))
                    await asyncio.sleep(0.1)
                visits.create_task(self._tell_when_done())
                under_way = set(self.tour)
                while True:
                    await asyncio.sleep(self.dice.expovariate(3.0))
                    under_way = {visit for visit in under_way if not visit.done()}
                    if len(under_way) < CROWDED:
                        visit = self._visit(self.dice.choice(habits), self.dice.choice(self.urls))
                        under_way.add(visits.create_task(visit))
        finally:
            await self.client.aclose()

    async def _tell_when_done(self) -> None:
        await asyncio.wait(self.tour)
        self.toured.set()

    async def _visit(self, habit: Callable[[str], Awaitable[None]], url: str) -> None:
        name = getattr(habit, "__name__", "watch")
        self.visits[name] += 1
        try:
            await habit(url)
        except (httpx.HTTPError, WebSocketException, OSError, TimeoutError) as error:
            self.surprise(f"{name}: {type(error).__name__}: {error}")

    def surprise(self, text: str) -> None:
        """Note what did not go as expected."""
        if len(self.surprises) < MAX_SURPRISES:
            self.surprises.append(text)

    def expect(self, what: str, got: object, expected: object) -> None:
        """Note a surprise if `got` is not what was expected."""
        if got != expected:
            self.surprise(f"{what}: got {got!r}, expected {expected!r}")

    # --- streams ----------------------------------------------------------------------------------------------

    async def create(self, url: str, model: str, seconds: float) -> dict[str, Any]:
        """Create a task and return what the example answers: its id and the paths of its streams."""
        response = await self.client.post(f"{url}/tasks/reports/{model}", json={"seconds": seconds})
        made: dict[str, Any] = response.raise_for_status().json()
        return made

    async def read(self, url: str, *, events: int | None = None, last_event_id: str | None = None) -> str:
        """Read a stream to its final event, or so many events of it, and return the type of the last one."""
        last, count = "", 0
        headers = {"last-event-id": last_event_id} if last_event_id else {}
        async with aconnect_sse(self.client, "GET", url, headers=headers) as source:
            async for event in source.aiter_sse():
                last, count = event.event, count + 1
                if last in FINAL or count == events:
                    break
        return last

    def _watcher(self, model: str, road: str) -> Callable[[str], Awaitable[None]]:
        async def watch(url: str) -> None:
            """Start a task and watch it to its end."""
            end, seconds = ENDS[model]
            task = await self.create(url, model, seconds * self.dice.uniform(0.7, 1.5))
            self.expect(f"{model} by {road}", await self.read(url + task[road]), end)

        return watch

    async def crowd(self, url: str) -> None:
        """Three clients watch one task."""
        task = await self.create(url, "SalesReport", 3.0)
        ends = await asyncio.gather(*(self.read(url + task[ROADS[n % 2]]) for n in range(3)))
        self.expect("a crowd", ends, ["complete"] * 3)

    async def ask(self, url: str) -> None:
        """Ask what a language model is asked, and read the answer token by token."""
        question = {"messages": [{"role": "user", "content": "Who sold most?"}], "stream": True}
        async with aconnect_sse(self.client, "POST", f"{url}/v1/chat/completions", json=question) as source:
            events = [event.data async for event in source.aiter_sse()]
        self.expect("an answer's last event", events[-1:], ["[DONE]"])

    async def leave(self, url: str) -> None:
        """Leave in the middle of a stream, by either road; the task goes on."""
        task = await self.create(url, "AnnualReport", 5.0)
        await asyncio.gather(*(self.read(url + task[road], events=3) for road in ROADS))

    async def vanish(self, url: str) -> None:
        """Leave a stream before its first event."""
        task = await self.create(url, "FeedDigest", 6.0)
        async with self.client.stream("GET", url + task["stream"]):
            await asyncio.sleep(0.3)

    async def come_back(self, url: str) -> None:
        """Lose a stream in its middle and open it again, as a browser's EventSource does."""
        task = await self.create(url, "AnnualReport", 4.0)
        stream = url + task["stream"]
        await self.read(stream, events=3)
        await asyncio.sleep(0.3)
        self.expect("a stream opened again", await self.read(stream, last_event_id="3"), "complete")

    async def cancel(self, url: str) -> None:
        """Start what goes on for ever, and cancel it."""
        task = await self.create(url, "WarehouseSync", 600)

        async def cancel_later() -> int:
            await asyncio.sleep(self.dice.uniform(1.5, 4.0))
            return (
                await self.client.post(f"{url}/tasks/reports/WarehouseSync/{task['id']}/cancel")
            ).status_code

        ends = await asyncio.gather(self.read(url + task["stream"]), cancel_later())
        self.expect("WarehouseSync", ends, ["cancelled", 202])

    # --- requests ---------------------------------------------------------------------------------------------

    async def look_around(self, url: str) -> None:
        """Look at the page, its files and the lists."""
        for path in ("/", "/static/page.css", "/static/page.js", "/django/kinds", "/django/tasks"):
            self.expect(path, (await self.client.get(url + path)).status_code, 200)
        for sku in ("item-001", "item-002", "item-003"):
            status = (await self.client.get(f"{url}/price/{sku}")).status_code
            self.expect("a price", status in (200, 502), True)  # the price service is busy now and then

    async def lose_the_way(self, url: str) -> None:
        """Ask for what is not there, and ask in the wrong way."""
        for path, status in (
            ("/nowhere", 404),
            ("/wp-login.php", 404),
            ("/django/nowhere", 404),
            ("/stream/reports/Nothing/1", 404),
            ("/stream/reports/SalesReport/999999", 404),
            ("/django/stream/reports/SalesReport/999999", 404),
            ("/tasks/reports/SalesReport", 405),
        ):
            self.expect(path, (await self.client.get(url + path)).status_code, status)
        response = await self.client.post(f"{url}/tasks/reports/SalesReport", json={"seconds": "soon"})
        self.expect("a bad request", response.status_code, 400)

    async def break_things(self, url: str) -> None:
        """Meet an endpoint that raises, and a stream that raises after its first events."""
        # The server closes a connection after an exception: it must not be used for the next request.
        response = await self.client.get(f"{url}/broken", headers={"connection": "close"})
        self.expect("/broken", response.status_code, 500)
        seen = 0
        try:
            async with aconnect_sse(self.client, "GET", f"{url}/broken/stream") as source:
                async for _ in source.aiter_sse():
                    seen += 1
            self.surprise("/broken/stream ended as if nothing had happened")
        except (httpx.RemoteProtocolError, httpx.ReadError):
            self.expect("events of /broken/stream", seen, 2)

    # --- websockets -------------------------------------------------------------------------------------------

    async def talk(self, url: str) -> None:
        """Talk over a WebSocket and say goodbye."""
        async with connect(url.replace("http", "ws", 1) + "/ws", proxy=None, open_timeout=60) as socket:
            for number in range(3):
                await socket.send(f"hello {number}")
                await asyncio.wait_for(socket.recv(), 60)
                await asyncio.sleep(0.5)

    async def hang_up(self, url: str) -> None:
        """Connect a WebSocket and cut the line."""
        address = url.replace("http", "ws", 1) + "/ws"
        async with connect(address, proxy=None, open_timeout=60, close_timeout=0.1) as socket:
            await asyncio.wait_for(socket.recv(), 60)
            await asyncio.sleep(1)
            with suppress(OSError):
                socket.transport.abort()
