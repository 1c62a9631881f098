"""The local agent: listeners put before its `Holdings`, on one event loop.

State: sockets and the life of the loop in a `LocalAgent`, everything that was received in its `holdings`. The agent
runs on its own loop, in the caller's process: either on a thread of its own (`with agent.running():`) or awaited by a
command (`await agent.serve()`). Other threads read through `received` and `snapshot`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from starlette.routing import BaseRoute

from ..errors import LocalAgentError
from .holdings import Holdings
from .intake import logs
from .intake import sockets as intake
from .intake.tail import LogSource
from .page_server.api import make_app
from .page_server.http_server import serving
from .settings import Settings
from .store.contexts import Summary
from .store.received import Received

logger = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between looks at the clock: how late a bucket closes and rows reach the database."""
STOP_TIMEOUT = 30.0
ANSWER_TIMEOUT = 120.0
"""Seconds that the loop may take to come round to a question, on a machine that has more to do than it can."""
UNIX_SOCKETS = {
    "dogstatsd_socket": socket.SOCK_DGRAM,
    "dogstatsd_stream_socket": socket.SOCK_STREAM,
    "trace_socket": socket.SOCK_STREAM,
}

T = TypeVar("T")


class LocalAgent:
    """Receives DogStatsD, traces and logs on this machine.

    `LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=None)`: keywords are those of `Settings`.
    """

    def __init__(
        self, settings: Settings | None = None, *, clock: Callable[[], float] = time.time, **changes: Any
    ) -> None:
        self.settings = (settings or Settings()).replace(**changes)
        self.holdings = Holdings(self.settings, clock=clock)
        self.received: Received = self.holdings.received
        self.routes: list[BaseRoute] = []
        """Further endpoints of the page port; add them before the agent runs."""
        self._tcp_source = next((s for s in self.settings.log_sources if s.type == "tcp"), LogSource("tcp"))
        self._sockets: dict[str, socket.socket] = {}
        self._connections = intake.Connections()
        self._bound = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def dogstatsd_port(self) -> int | None:
        return self.holdings.ports["dogstatsd"]

    @property
    def trace_port(self) -> int | None:
        return self.holdings.ports["trace"]

    @property
    def logs_port(self) -> int | None:
        return self.holdings.ports["logs"]

    @property
    def page_port(self) -> int | None:
        return self.holdings.ports["page"]

    @property
    def page_url(self) -> str:
        """Where a browser on this machine finds the page."""
        return self.holdings.page_url

    @contextlib.contextmanager
    def running(self) -> Iterator[LocalAgent]:
        """Run the agent on a thread of its own; it listens when the block is entered, and is gone after it."""
        self.bind()
        ready = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            try:
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(self.serve(on_ready=ready.set))
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                failure.append(error)
            finally:
                ready.set()

        thread = threading.Thread(target=run, name="streaming-dd-local-agent", daemon=True)
        thread.start()
        ready.wait()
        try:
            if not failure:
                yield self
        finally:
            self.stop()
            thread.join(STOP_TIMEOUT)
            if thread.is_alive():
                logger.warning("the local agent did not stop within %g s", STOP_TIMEOUT)
        if failure:
            raise failure[0]

    def bind(self) -> None:
        """Open the records and bind every socket, so that ports are known; `LocalAgentError` for what is taken."""
        if self._bound:
            return
        self.holdings.open()
        self._bound = True
        try:
            self._bind_ports()
            for name, kind in UNIX_SOCKETS.items():
                if path := getattr(self.settings, name):
                    self._sockets[name] = intake.bind_unix(path, kind, name)
        except LocalAgentError:
            self.close()
            raise

    def close(self) -> None:
        """Close what `bind` opened, for an agent that is not going to serve."""
        self._bound = False
        self.holdings.close()
        for name, sock in self._sockets.items():
            sock.close()
            if path := getattr(self.settings, name, None):
                Path(path).unlink(missing_ok=True)
        self._sockets.clear()

    def _bind_ports(self) -> None:
        host, ports = self.settings.host, self.holdings.ports
        if ports["dogstatsd"] is not None:
            sock = self._sockets["dogstatsd"] = intake.bind_udp(host, ports["dogstatsd"])
            ports["dogstatsd"] = sock.getsockname()[1]
        for name, purpose in (("trace", "traces"), ("logs", "logs"), ("page", "the page")):
            if (port := ports[name]) is not None:
                sock = self._sockets[name] = intake.bind_tcp(host, port, purpose)
                ports[name] = sock.getsockname()[1]

    async def serve(self, *, on_ready: Callable[[], None] | None = None) -> None:
        """Serve until `stop` is called or the task is cancelled."""
        self.bind()
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._finish)
            await self._listen(stack)
            if on_ready:
                on_ready()
            while not self._stop.is_set():
                self.holdings.tick()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), TICK)

    def stop(self) -> None:
        """Make `serve` return; safe from any thread, and more than once."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop closed in between: it has stopped
                loop.call_soon_threadsafe(stop.set)

    def _finish(self) -> None:
        """Write what is open, and close everything."""
        self.holdings.finish()
        self.close()
        if self.holdings.webhook is not None:
            self.holdings.webhook.close()
        self._loop = None

    def wait_for(self, condition: Callable[[Received], object], timeout: float = 30.0) -> None:
        """Block until `condition(agent.received)` is true; raise `TimeoutError` after `timeout` seconds."""
        self.received.wait_for(condition, timeout)

    def snapshot(self) -> list[Summary]:
        """Return one summary per series since the start, the open bucket included; safe from any thread."""
        return self._on_loop(self.holdings.aggregator.snapshot)

    def _on_loop(self, function: Callable[[], T]) -> T:
        """Run `function` on the agent's loop and return what it returns; directly if the agent does not run."""
        loop = self._loop
        if loop is None:
            return function()

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), loop).result(ANSWER_TIMEOUT)

    async def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        loop, held = asyncio.get_running_loop(), self.holdings
        stack.push_async_callback(self._connections.close)
        for name in ("dogstatsd", "dogstatsd_socket"):
            if sock := self._sockets.get(name):
                drain = intake.serve_datagrams(sock, held.feed, held.received.notify)
                stack.callback(drain)  # what was sent before the end is not lost
                stack.callback(loop.remove_reader, sock)
        if sock := self._sockets.get("dogstatsd_stream_socket"):
            frames = await loop.create_unix_server(
                lambda: intake.FrameProtocol(
                    self._connections, held.feed, held.received.notify, self._refuse_frame
                ),
                sock=sock,
            )
            stack.push_async_callback(intake.end_listening, frames)
        if sock := self._sockets.get("logs"):
            lines = await loop.create_server(self._line_protocol, sock=sock)
            stack.push_async_callback(intake.end_listening, lines)
        trace_sockets = [s for name in ("trace", "trace_socket") if (s := self._sockets.get(name))]
        if trace_sockets:
            held.trace_api.statsd_port = self.dogstatsd_port
            held.trace_api.page_port = self.page_port
            await stack.enter_async_context(serving(held.trace_api, trace_sockets))
        if sock := self._sockets.get("page"):
            await stack.enter_async_context(serving(make_app(held, self.routes), [sock]))
            stack.callback(held.live.close)

    def _line_protocol(self) -> asyncio.Protocol:
        splitter, held = intake.LineSplitter(logs.MAX_LINE), self.holdings

        def take(lines: list[bytes]) -> None:
            held.cut_lines += splitter.cut
            splitter.cut = 0
            held.take_lines(lines, self._tcp_source)

        return intake.LineProtocol(self._connections, splitter, take, self._refuse_log_connection)

    def _refuse_log_connection(self) -> None:
        self.holdings.refused_log_connections += 1

    def _refuse_frame(self, length: int) -> None:
        self.holdings.aggregator.intake.oversized += 1
