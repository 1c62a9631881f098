"""What tests of the emitting side share: a sender that keeps payloads, a span collector, small ASGI servers, CPU work."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streaming_dd import recorder, testing
from streaming_dd.output import notices

LINE = re.compile(r"(?P<name>[^:]+):(?P<values>[^|]+)\|(?P<kind>[a-z]+)(\|#(?P<tags>.*))?")


class MemorySender:
    """Keep what would go to the Agent."""

    payload_limit = 1432
    tags: tuple[str, ...] = ()
    suffix = ""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.checks: list[tuple[str, int, list[str], str]] = []
        self.working = True

    def send(self, payload: bytes) -> bool:
        if self.working:
            self.payloads.append(payload)
        return self.working

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        self.checks.append((name, status, tags, message))

    def close(self) -> None:
        pass

    @property
    def lines(self) -> list[str]:
        return [line.decode() for payload in self.payloads for line in payload.split(b"\n")]

    def samples(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """(values, tags) of every line of a metric."""
        found = []
        for line in self.lines:
            match = LINE.fullmatch(line)
            assert match, f"not a DogStatsD line: {line!r}"
            if match["name"] == name:
                tags = dict(tag.split(":", 1) for tag in (match["tags"] or "").split(",") if tag)
                found.append((match["values"], tags))
        return found

    def total(self, name: str, **tags: str) -> float:
        """The sum of a counter over all lines with these tags."""
        return sum(float(v) for v, t in self.samples(name) if tags.items() <= t.items())

    def last(self, name: str, **tags: str) -> float:
        """The last value of a gauge with these tags."""
        return [float(v.split(":")[-1]) for v, t in self.samples(name) if tags.items() <= t.items()][-1]

    def values(self, name: str, **tags: str) -> list[float]:
        """All values of a timer with these tags."""
        return [float(x) for v, t in self.samples(name) if tags.items() <= t.items() for x in v.split(":")]


@pytest.fixture(autouse=True)
def _nothing_was_said_before() -> None:
    """Forget what a test of another module had us say within this minute: which one that is differs from run to run."""
    notices.reset()


@pytest.fixture(scope="session")
def sender_class() -> type[MemorySender]:
    return MemorySender


@pytest.fixture
def sender() -> MemorySender:
    return MemorySender()


@pytest.fixture
def configure(sender: MemorySender) -> Iterator[Callable[..., recorder.Recorder]]:
    """Configure the process for a test: everything in memory, no thread in the way unless asked."""

    def make(**settings: Any) -> recorder.Recorder:
        settings = {
            "logs_enabled": False,
            "tracing_enabled": False,
            "worker": "0",
            "flush_interval": 10,
            **settings,
        }
        recorder.reset()
        return recorder.configure(sender=sender, **settings)

    yield make
    recorder.reset()
    notices.reset()


@pytest.fixture
def flush(sender: MemorySender) -> Callable[[], MemorySender]:
    """Send everything recorded so far and return what was sent."""

    def now() -> MemorySender:
        found = recorder.current
        assert found is not None
        found.traffic.settle()
        found.round(flush=True)
        return sender

    return now


class Spans(list[Any]):
    """Spans that finished, as ddtrace hands them to its trace processors."""

    def named(self, name: str) -> list[Any]:
        return [span for span in self if span.name == name]

    def one(self, name: str) -> Any:
        found = self.named(name)
        assert len(found) == 1, f"{len(found)} spans named {name} among {[span.name for span in self]}"
        return found[0]


@pytest.fixture
def spans() -> Iterator[Spans]:
    """Collect finished spans in place of sending them."""
    from ddtrace.trace import TraceFilter, tracer

    collected = Spans()

    class Collect(TraceFilter):
        def process_trace(self, trace: list[Any]) -> None:
            collected.extend(trace)

    tracer.context_provider.activate(None)
    tracer.configure(trace_processors=[Collect()])
    yield collected
    tracer.configure(trace_processors=[])
    tracer.context_provider.activate(None)


class Exchange:
    """An ASGI server for one request, in the test's own loop: what was received can be looked at step by step."""

    def __init__(
        self, path: str = "/", *, method: str = "GET", headers: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"token=secret",
            "root_path": "",
            "scheme": "http",
            "headers": headers
            if headers is not None
            else [(b"host", b"example.org"), (b"user-agent", b"test")],
            "client": ("127.0.0.1", 1234),
            "server": ("127.0.0.1", 80),
        }
        self.sent: list[Any] = []
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.receiving = 0

    async def receive(self) -> dict[str, Any]:
        self.receiving += 1
        try:
            return await self.messages.get()
        finally:
            self.receiving -= 1

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def request(self) -> Exchange:
        self.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        return self

    def disconnect(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    async def run(self, app: Any) -> Exchange:
        self.request()
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return next(message["status"] for message in self.sent if message["type"] == "http.response.start")

    @property
    def body(self) -> bytes:
        return b"".join(
            message.get("body", b"") for message in self.sent if message["type"] == "http.response.body"
        )


@pytest.fixture
def exchange() -> type[Exchange]:
    return Exchange


def events(*bodies: bytes, content_type: bytes = b"text/event-stream", end: bool = True) -> Any:
    """A raw ASGI app that sends these bodies as a stream."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]}
        )
        for body in bodies:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if end:
            await send({"type": "http.response.body", "body": b""})

    return app


@pytest.fixture
def event_app() -> Any:
    return events


def burn(seconds: float) -> float:
    """Use this much CPU time of the calling thread, however long that takes.

    Returns how much it was: a virtual machine that stood still meanwhile may count that, too.
    """
    start = now = time.thread_time()
    while now < start + seconds:
        now = time.thread_time()
    return now - start


def eventually(condition: Callable[[], Any], timeout: float = 60) -> Any:
    """Wait until `condition` is true; blocks."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.005)
    return found


async def soon(condition: Callable[[], Any], timeout: float = 60) -> Any:
    """Wait until `condition` is true, the loop running on."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not become true"
        await asyncio.sleep(0.005)
    return found


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Have no garbage collection in the way: one of all that a suite keeps takes as long as what is measured."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(name="burn")
def burn_fixture(uncollected: None) -> Callable[[float], float]:
    return burn


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    return eventually


@pytest.fixture(name="soon")
def soon_fixture() -> Callable[..., Any]:
    return soon


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    """Run a coroutine on asyncio's loop, and on uvloop."""

    loop_factory = pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else None

    def run_on(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(coroutine)

    return run_on


@pytest.fixture
def captured() -> Iterator[testing.Captured]:
    """Capture metrics, spans and log lines."""
    with testing.capture(task_max_age_p95=0, task_silence=0) as found:
        yield found


@pytest.fixture
def capture() -> Any:
    """Capture with settings of the test's own."""
    return testing.capture
