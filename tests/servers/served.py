"""Applications in processes of their own, and what the agent has received from them."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import websockets.sync.client
from free_ports import free_port

from streaming_dd import catalog
from streaming_dd.local_agent import LocalAgent, Span

APPS = Path(__file__).parent / "apps"
#: Seconds for anything to happen on a loaded machine.
DEADLINE = 60.0
UVICORN = ["uvicorn", "--fd", "{fd}", "--timeout-graceful-shutdown", "1", "--app-dir", str(APPS)]
GUNICORN = ["gunicorn", "-b", "fd://{fd}", "--chdir", str(APPS), "--graceful-timeout", "10"]
_numbers = itertools.count(1)


class Emitted:
    """What one service has sent to the agent. Every service on this machine has a name of its own."""

    def __init__(self, agent: LocalAgent) -> None:
        self.agent = agent
        self.service = f"process-test-{os.getpid()}-{next(_numbers)}"

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment of a process that sends to the agent.

        Without a folder at run time: its worker slots would be those of everybody, and not of one test.
        """
        left_out = ("DD_", "STREAMING_", "OTEL_", "XDG_RUNTIME_DIR")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        agent = self.agent
        return {
            **kept,
            "DD_SERVICE": self.service,
            "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{agent.dogstatsd_port}",
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agent.trace_port}",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "STREAMING_LOG_AGENT": f"127.0.0.1:{agent.logs_port}",
            # Our agent shares a loaded machine with everything else: what it takes late is no loss.
            "STREAMING_SHUTDOWN_TIMEOUT": "30",
            **settings,
        }

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Block until the condition holds; it is asked whenever something has arrived."""
        self.agent.wait_for(lambda _: condition(), DEADLINE)

    # --- spans ----------------------------------------------------------------------------------------------

    def spans(self, name: str = "") -> list[Span]:
        """Return the spans of an operation, or all."""
        found = [span for span in self.agent.received.spans if span.service == self.service]
        return [span for span in found if span.name == name] if name else found

    # --- metrics --------------------------------------------------------------------------------------------

    def samples(self, name: str = "") -> Iterator[tuple[Any, dict[str, str]]]:
        """Yield (sample, tags) of a metric, or of all."""
        own = f"service:{self.service}"
        for sample in self.agent.received.metrics:
            if own in sample.tags and name in ("", sample.name):
                yield sample, dict(tag.split(":", 1) for tag in sample.tags)

    def count(self, name: str, **tags: str) -> float:
        """Return the sum of a counter over everything that arrived."""
        return sum(sum(s.values) for s, found in self.samples(name) if tags.items() <= found.items())

    def timings(self, name: str, **tags: str) -> list[float]:
        """Return every value of a timer."""
        return [v for s, found in self.samples(name) if tags.items() <= found.items() for v in s.values]

    def gauges(self, name: str = "", **tags: str) -> dict[tuple[str, ...], float]:
        """Return the last value of each series of a gauge (of all gauges), by name and tags."""
        last = {}
        for sample, found in self.samples(name):
            if sample.kind == "g" and tags.items() <= found.items():
                last[sample.name, *sorted(sample.tags)] = sample.values[-1]
        return last

    def levels(self) -> set[float]:
        """Return the last values of all gauges but peaks, which outlive the process."""
        peaks = {metric.full_name("streaming") for metric in catalog.PEAKS}
        return {value for key, value in self.gauges().items() if key[0] not in peaks}

    def level(self, name: str, **tags: str) -> float:
        """Return what a dashboard would show for a gauge: the sum of its series' last values."""
        return sum(self.gauges(name, **tags).values())

    def workers(self, name: str) -> set[str]:
        """Return the values of the `worker` tag of a gauge."""
        return {tags["worker"] for _, tags in self.samples(name)}

    # --- logs -----------------------------------------------------------------------------------------------

    def logs(self, **members: object) -> list[dict[str, Any]]:
        """Return log lines with these members; `__` stands for a dot."""
        wanted = {key.replace("__", "."): value for key, value in members.items()}
        return [
            line
            for line in self.agent.received.logs
            if line.get("service") == self.service and wanted.items() <= line.items()
        ]

    def messages(self) -> list[str]:
        """Return the messages of all log lines."""
        return [line["message"] for line in self.logs()]


class Stream:
    """A client's open SSE stream, on a connection of its own."""

    def __init__(self, port: int, path: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
        self.connection.request("GET", path)
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        self.pid = self.response.getheader("x-pid")

    def event(self) -> str:
        """Read up to the end of the next event and return its type; empty at the end of the stream."""
        kind = ""
        for line in iter(self.response.readline, b""):
            if line.startswith(b"event:"):
                kind = line[6:].strip().decode()
            if line == b"\n" and kind:
                return kind
        return ""

    def leave(self) -> None:
        """Close the connection as a browser does that navigates away."""
        self.response.close()
        self.connection.close()


def arrived(agent: LocalAgent) -> None:
    """Block until the agent has read what processes that have ended had sent: on a busy machine it lies in its sockets yet.

    Twice, since what comes over several connections is read in any order within one round of the agent's loop.
    """
    for name in (f"process_test_mark_{next(_numbers)}" for _ in range(2)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mark:
            mark.sendto(f"{name}:1|c".encode(), ("127.0.0.1", agent.dogstatsd_port))
        with socket.create_connection(("127.0.0.1", agent.logs_port), DEADLINE) as connection:
            connection.sendall(json.dumps({"message": name, "service": name}).encode() + b"\n")
        agent.wait_for(
            lambda received, name=name: (
                any(sample.name == name for sample in received.metrics)
                and any(line.get("service") == name for line in received.logs)
            ),
            DEADLINE,
        )


class Process:
    """A process that was started, its two outputs in files; `agent` is who receives what it sends."""

    agent: LocalAgent | None = None

    def __init__(
        self, command: list[str], folder: Path, env: dict[str, str], fds: tuple[int, ...] = ()
    ) -> None:
        self._files = [folder / f"{name}-{next(_numbers)}" for name in ("out", "err")]
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self.process = subprocess.Popen(
                command, env={"TMPDIR": str(folder), "PYTHONPATH": str(APPS), **env}, pass_fds=fds,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            )  # fmt: skip

    @property
    def out(self) -> str:
        return self._files[0].read_text("utf-8", "replace")

    @property
    def err(self) -> str:
        return self._files[1].read_text("utf-8", "replace")

    def printed(self) -> list[dict[str, Any]]:
        """Return the JSON lines on standard output that are whole: it may be writing one."""
        *lines, _ = self.out.split("\n")
        return [json.loads(line) for line in lines if line.startswith("{")]

    def end(self, number: int | None = None) -> tuple[int, float]:
        """Send a signal, if any, wait, and return the exit code and the seconds that it took.

        What it had sent has arrived then.
        """
        started = time.monotonic()
        if number is not None:
            self.process.send_signal(number)
        code, seconds = self.process.wait(DEADLINE), time.monotonic() - started
        if self.agent is not None:
            arrived(self.agent)
        return code, seconds

    def kill(self) -> None:
        """Leave nothing of it behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE)


class Server(Process):
    """A server on a socket that is listening before it starts: requests wait for it, nobody else can take the port."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str], *, module: bool = True) -> None:
        self._streams: list[Stream] = []
        alone = any("{port}" in part for part in command)  # it cannot be given a socket
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", free_port() if alone else 0))
            self.port: int = listening.getsockname()[1]
            fd = listening.fileno()
            words = [part.format(fd=fd, port=self.port) for part in command]
            if alone:
                listening.close()
            else:
                listening.listen(128)
            start = [sys.executable, "-m"] if module else []
            super().__init__([*start, *words], folder, env, (fd,) if listening.fileno() >= 0 else ())

    def get(self, path: str) -> tuple[int, str]:
        """Request a path on a new connection and return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError as error:
            raise AssertionError(f"{path}: {error!r}; {self.out} {self.err}") from error
        finally:
            connection.close()

    def stream(self, path: str) -> Stream:
        """Open a stream and read its first event."""
        self._streams.append(Stream(self.port, path))
        assert self._streams[-1].event()
        return self._streams[-1]

    def kill(self) -> None:
        super().kill()
        for stream in self._streams:
            stream.leave()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll until the condition holds, for what no agent can tell."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE:.0f} s for {what}"
        time.sleep(0.02)


def least(measure: Callable[[], float], enough: float) -> float:
    """Return the shortest of at most five measurements; the first that is below `enough` is the last.

    Whatever else a machine has to do adds to what something takes: what takes too long by itself does so every time.
    """
    shortest = math.inf
    for _ in range(5):
        shortest = min(shortest, measure())
        if shortest < enough:
            break
    return shortest


def websocket(port: int, path: str, **options: Any) -> websockets.sync.client.ClientConnection:
    """Open a WebSocket that waits for a server which is still starting, and for one that is slow to answer a ping."""
    url = f"ws://127.0.0.1:{port}{path}"
    return websockets.sync.client.connect(url, open_timeout=DEADLINE, ping_interval=None, **options)


def totals(spans: list[Span]) -> dict[str, int]:
    """Return how many spans of each operation there are, but for work after a response: on a busy machine some is slow."""
    return dict(Counter(span.name for span in spans if span.name != "asgi.background"))
