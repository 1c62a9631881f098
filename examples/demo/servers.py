"""The demo's processes: the database's migration, and the example's servers with DD_* variables that lead to the agent.

State: a `Servers` holds the processes that it started, and stops every one of them when its block ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx

from .ports import HOST, Ports

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for a server to answer, on a slow machine; and for one to stop after SIGTERM, before it is killed.
START, STOP = 120.0, 30.0


class ServerFailed(Exception):
    """A process of the demo ended when it should not; the message has the end of its output."""


class Servers:
    """Two workers of the example (one sends by UDP; one by unix sockets, under ddtrace-run) and the price service."""

    def __init__(self, ports: Ports, folder: Path) -> None:
        self.ports = ports
        self.folder = folder
        self.dogstatsd_socket = str(folder / "dogstatsd.sock")
        self.trace_socket = str(folder / "traces.sock")
        self.urls = tuple(f"http://{HOST}:{port}" for port in (ports.web, ports.web_2))
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        await self._migrate()
        udp = {
            "DD_AGENT_HOST": HOST,
            "DD_DOGSTATSD_PORT": str(self.ports.dogstatsd),
            "DD_TRACE_AGENT_URL": f"http://{HOST}:{self.ports.traces}",
        }
        unix = {
            "DD_DOGSTATSD_URL": f"unix://{self.dogstatsd_socket}",
            "DD_TRACE_AGENT_URL": f"unix://{self.trace_socket}",
        }
        try:
            reports, prices = "examples.reports.asgi:app", "examples.reports.prices:app"
            digests = {"REPORTS_DIGEST_EVERY": "5"}
            await self._start("web", reports, self.ports.web, {"DD_SERVICE": "reports", **udp, **digests})
            await self._start(
                "web-2", reports, self.ports.web_2, {"DD_SERVICE": "reports", **unix}, integrations=True
            )
            await self._start("prices", prices, self.ports.prices, {"DD_SERVICE": "prices", **udp})
            await asyncio.gather(
                self._ready("web", f"{self.urls[0]}/django/kinds"),
                self._ready("web-2", f"{self.urls[1]}/django/kinds"),
                self._ready("prices", f"http://{HOST}:{self.ports.prices}/price/any"),
            )
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def stop(self) -> dict[str, int]:
        """Stop every process, in the way a deployment does (SIGTERM), and return the exit codes.

        The price service ends last: the workers' tasks ask it until they end.
        """
        codes = await self._stop([name for name in self._running if name != "prices"])
        codes |= await self._stop(list(self._running))
        return codes

    async def _stop(self, names: list[str]) -> dict[str, int]:
        for name in names:
            with suppress(ProcessLookupError):
                self._running[name].send_signal(signal.SIGTERM)
        codes = {}
        for name in names:
            process = self._running[name]
            try:
                codes[name] = await asyncio.wait_for(process.wait(), STOP)
            except TimeoutError:
                process.kill()
                codes[name] = await process.wait()
            del self._running[name]
        return codes

    def check(self) -> None:
        """Raise ServerFailed if a process has ended."""
        for name, process in self._running.items():
            if process.returncode is not None:
                raise ServerFailed(f"{name} ended with exit code {process.returncode}:\n{self._output(name)}")

    def _environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        """The caller's environment without settings of its own for what the demo shows."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("DD_", "STREAMING_", "OTEL_"))
        }
        return {
            **kept,
            "DJANGO_SETTINGS_MODULE": "examples.reports.settings",
            "REPORTS_DATABASE": str(self.folder / "reports.sqlite3"),
            "REPORTS_PRICES_URL": f"http://{HOST}:{self.ports.prices}",
            "DD_ENV": "demo",
            "DD_VERSION": "1.0",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "STREAMING_FLUSH_INTERVAL": "1",
            "STREAMING_LOG_AGENT": f"{HOST}:{self.ports.logs}",
            "STREAMING_LOG_STDOUT": "false",
            **changes,
        }

    async def _migrate(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "examples.reports.manage", "migrate", "--verbosity", "0"),
            cwd=ROOT,
            env=self._environment({}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:  # stopped while it starts: nothing of it stays behind
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise ServerFailed(f"the database could not be made:\n{output.decode(errors='replace')}")

    async def _start(
        self, name: str, app: str, port: int, environment: Mapping[str, str], *, integrations: bool = False
    ) -> None:
        """Start a server; with `integrations` as under ddtrace-run, which traces HTTP calls and more by itself."""
        traced = (sys.executable, "-m", "ddtrace.commands.ddtrace_run") if integrations else ()
        with self._log(name).open("wb") as output:
            self._running[name] = await asyncio.create_subprocess_exec(
                *(*traced, sys.executable, "-m", "uvicorn", app, "--host", HOST, "--port", str(port)),
                *("--loop", "uvloop", "--timeout-graceful-shutdown", "3", "--no-access-log"),
                cwd=ROOT,
                env=self._environment(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops its servers in order
            )

    async def _ready(self, name: str, url: str) -> None:
        deadline = time.monotonic() + START
        async with httpx.AsyncClient(trust_env=False) as client:
            while True:
                self.check()
                with suppress(httpx.TransportError):
                    await client.get(url)
                    return
                if time.monotonic() > deadline:
                    raise ServerFailed(f"{name} does not answer after {START:.0f} s:\n{self._output(name)}")
                await asyncio.sleep(0.05)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _output(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-20:])
