"""`streaming-dd agent`: run the local agent, alone or around a command. No state.

`streaming-dd agent -- uvicorn app:app` runs the command with the DD_* variables that lead to this agent (`companion.py`),
and exits with its exit code. The modules that need the extra are imported when the agent starts: `--help` works without.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Coroutine
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import LocalAgentError
from . import companion

if TYPE_CHECKING:
    from .agent import LocalAgent
    from .settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def add_parser(subparsers: Any) -> None:
    """Add `streaming-dd agent`."""
    parser = subparsers.add_parser(
        "agent",
        help="run the local agent: metrics, traces, logs, dashboards and monitors without an account",
        usage="streaming-dd agent [options] [-- COMMAND ...]",
        epilog="example: streaming-dd agent -- uvicorn app:app",
    )
    add_intake(parser)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="name by which the page may be opened",
    )
    add("--persist", metavar="FILE", help="keep what is received in this SQLite file, over restarts")
    add(
        "--import",
        metavar="FILE",
        dest="imported",
        help="begin with what an export or a --persist file holds",
    )
    add(
        "--export",
        metavar="FILE",
        dest="exported",
        help="write what the agent that runs holds to a file, and end",
    )
    add("--notify-webhook", metavar="URL", help="POST what a monitor says to this address of this machine")
    add("--notify-anywhere", action="store_true", help="let --notify-webhook be on another machine")
    add("--headless", action="store_true", help="the API only, no page: for CI")
    add("--keep", action="store_true", help="keep the agent and its page when the command has ended")
    add(
        "--mcp",
        action="store_true",
        help="answer coding agents (MCP): on a piped standard input and output, and at /mcp of the page",
    )
    add("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(handler=run)


def add_intake(parser: argparse.ArgumentParser) -> None:
    """Add the options for what an agent listens on, reads and keeps."""
    add = parser.add_argument
    add("--port-offset", type=port_offset, default=0, metavar="N", help="shift every port by N")
    add("--dogstatsd-port", type=_port, metavar="PORT", help="UDP port for DogStatsD (8125; 0: a free one)")
    add("--trace-port", type=_port, metavar="PORT", help="port for traces (8126)")
    add("--logs-port", type=_port, metavar="PORT", help="port for logs over TCP (10518)")
    add("--page-port", type=_port, metavar="PORT", help="port of the page and its API (8181)")
    add("--dogstatsd-socket", metavar="PATH", help="unix datagram socket for DogStatsD")
    add("--trace-socket", metavar="PATH", help="unix socket for traces")
    add(
        "--config",
        metavar="DIRECTORY",
        help="datadog.yaml and conf.d to read, dashboards, monitors and slos to show (dd-agent, if it is there)",
    )
    add("--max-series", type=_count, metavar="N", help="series to keep in memory (10000)")


def _whole(text: str, least: int, most: int, what: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no {what}: write a whole number from {least} to {most}"
        )
    return value


def _port(text: str) -> int:
    return _whole(text, 0, 65_535, "port")


def port_offset(text: str) -> int:
    """Read a number to shift ports by."""
    return _whole(text, 0, 50_000, "offset")


def _count(text: str) -> int:
    return _whole(text, 1, 10_000_000, "number of series")


def run(options: argparse.Namespace) -> int:
    """Run the agent until a signal comes or the command ends; return the exit code."""
    began = time.perf_counter()
    if options.exported:
        return fetch_export(settings_of(options), Path(options.exported))
    try:
        from .agent import LocalAgent
    except ImportError as error:
        raise LocalAgentError(f"{error.name} is not installed: pip install 'streaming-dd[agent]'") from error
    mcp = _mcp() if options.mcp else None
    agent = LocalAgent(settings_of(options))
    try:
        agent.bind()
    except LocalAgentError:
        if mcp and mcp.is_piped() and not options.command and mcp.runs_at(agent.page_url):
            _say(f"A local agent runs already: answering from {agent.page_url}")
            return int(mcp.bridged(agent.page_url, agent.settings.mask))
        raise
    if options.host not in LOOPBACK:
        _say(
            f"WARNING: listening on {options.host}: whoever reaches this machine can read your logs and traces, "
            "and send more. There is no login."
        )
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        serving = _serve(agent, command, options, began)
        return runner.run(_answering(agent, mcp, serving) if mcp else serving)


def _mcp() -> ModuleType:
    try:
        from .mcp_server import server
    except ImportError as error:
        raise LocalAgentError(f"{error.name} is not installed: pip install 'streaming-dd[mcp]'") from error
    return server


async def _answering(agent: LocalAgent, mcp: ModuleType, serving: Coroutine[Any, Any, int]) -> int:
    """Answer coding agents while the agent serves; a client on standard input that leaves ends it like SIGTERM.

    What the command prints does not disturb that client: meanwhile standard output is standard error.
    """
    async with mcp.offered(agent.page_url, agent.routes, agent.settings.mask) as server:
        if not mcp.is_piped():
            return await serving
        with mcp.ending_input():
            talk = asyncio.create_task(server.run_stdio_async())
            talk.add_done_callback(_client_left)
            try:
                return await serving
            finally:
                talk.remove_done_callback(_client_left)


def _client_left(talk: asyncio.Task[None]) -> None:
    signal.raise_signal(signal.SIGTERM)


def fetch_export(settings: Settings, path: Path) -> int:
    """Write what the agent that runs on the page's port holds to a file."""
    url = f"http://{settings.host}:{settings.page_port}/api/export"
    part = path.with_name(f"{path.name}.part")
    try:
        with urllib.request.urlopen(url, timeout=120) as answer, part.open("wb") as file:
            shutil.copyfileobj(answer, file)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise LocalAgentError(
            f"--export {path}: {error}. Is an agent running? It was asked at {url}"
        ) from error
    _say(f"Wrote {path}, {path.stat().st_size} bytes")
    return 0


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings that the command line and the Agent's files give; the command line wins."""
    from . import datadog_yaml
    from .settings import Settings

    settings = Settings(
        host=options.host, allowed_hosts=tuple(options.allow_host), headless=options.headless, record=False
    )
    if mask := getattr(options, "mask", None):  # of the command line, which knows the emitting side
        settings = settings.replace(mask=mask)
    directory = options.config or ("dd-agent" if Path("dd-agent/datadog.yaml").exists() else None)
    files = ("datadog.yaml", "dashboards", "monitors")
    if options.config and not any(Path(options.config, name).exists() for name in files):
        raise LocalAgentError(
            f"--config {options.config}: there is no datadog.yaml, dashboards/ or monitors/ in it"
        )
    if directory:
        settings = datadog_yaml.load(directory, settings)
    given = {
        name: value
        for name in (
            "dogstatsd_port", "trace_port", "logs_port", "page_port", "dogstatsd_socket", "trace_socket", "persist",
            "max_series", "notify_webhook", "notify_anywhere",
        )
        if (value := getattr(options, name)) is not None
    }  # fmt: skip
    if options.config and any(Path(options.config, name).is_dir() for name in ("dashboards", "monitors")):
        given["dashboards"] = options.config
    settings = settings.replace(**given)
    return settings.shifted(options.port_offset, keep=given)


async def _serve(agent: LocalAgent, command: list[str], options: argparse.Namespace, began: float) -> int:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    signals: asyncio.Queue[int] = asyncio.Queue()
    receive = companion.receiver(signals)
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            loop.add_signal_handler(number, receive, number)
    if command and (hangup := getattr(signal, "SIGHUP", None)) and signal.getsignal(hangup) == signal.SIG_DFL:
        loop.add_signal_handler(hangup, receive, signal.SIGTERM)  # a command in a group of its own would stay
    serving = asyncio.create_task(agent.serve(on_ready=lambda: ready.set_result(None)))
    try:
        await _first(serving, ready)
        if serving.done():
            return 0
        if options.imported:
            await _begin_with(agent, Path(options.imported))
        _say(greeting(agent, time.perf_counter() - began))
        if command:
            return await _beside(agent, command, options.keep, signals, serving)
        _say(companion.directions(agent))
        await _signal(signals, serving)
        return 0
    finally:
        agent.stop()
        await serving


async def _begin_with(agent: LocalAgent, path: Path) -> None:
    from . import export

    try:
        await export.read(agent.holdings, path)
    except ValueError as error:
        raise LocalAgentError(f"--import {path}: {error}") from error


async def _beside(
    agent: LocalAgent,
    command: list[str],
    keep: bool,
    signals: asyncio.Queue[int],
    serving: asyncio.Task[None],
) -> int:
    """Run the command, say what came, and with `keep` go on until a further signal; SIGTERM ends both."""
    variables = companion.environment(agent)
    _say(companion.sets(command, variables, os.environ))
    code, number = await companion.run(command, variables, signals, _say)
    await companion.settled(agent.holdings)
    agent.holdings.tasks.end_of(companion.alive)
    _say(companion.summary(agent.holdings, 0 if number else code))  # a signal is no error of its own
    if keep and number != signal.SIGTERM:
        _say(f"{command[0]} ended with {code}; the agent stays until Ctrl-C: {agent.page_url}")
        await _signal(signals, serving)
    return code


async def _signal(signals: asyncio.Queue[int], serving: asyncio.Task[None]) -> None:
    """Wait for a signal to stop, or for the agent's own end."""
    signalled = asyncio.create_task(signals.get())
    await _first(serving, signalled)
    signalled.cancel()


async def _first(*waiting: asyncio.Future[Any]) -> None:
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)


def greeting(agent: LocalAgent, seconds: float) -> str:
    """Return the line that says where everything is."""
    settings = agent.settings
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    parts = []
    dogstatsd = [f"udp:{agent.dogstatsd_port}"] if agent.dogstatsd_port is not None else []
    dogstatsd += [
        f"unix:{path}" for path in (settings.dogstatsd_socket, settings.dogstatsd_stream_socket) if path
    ]
    if dogstatsd:
        parts.append(f"DogStatsD {' '.join(dogstatsd)}")
    traces = [str(agent.trace_port)] if agent.trace_port is not None else []
    traces += [f"unix:{settings.trace_socket}"] if settings.trace_socket else []
    if traces:
        parts.append(f"traces {' '.join(traces)}")
    if agent.logs_port is not None:
        parts.append(f"logs tcp:{agent.logs_port}")
    page = f"http://{host}:{agent.page_port}" if agent.page_port is not None else "no page"
    return f"Local agent ready in {seconds:.2f} s: {page} · {' · '.join(parts)}"


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
