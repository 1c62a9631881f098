"""`streaming-dd agent`: run the local agent, alone or around a command. No state.

`streaming-dd agent -- uvicorn app:app` runs the command with the DD_* variables that lead to this agent, and exits with
its exit code. The modules that need the extra are imported when the agent starts, so that `--help` works without it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LocalAgentError

if TYPE_CHECKING:
    from .agent import LocalAgent
    from .settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
TERMINATE_TIMEOUT = 30.0


def add_parser(subparsers: Any) -> None:
    """Add `streaming-dd agent`."""
    parser = subparsers.add_parser(
        "agent",
        help="run the local agent: metrics, traces, logs, dashboards and monitors without an account",
        usage="streaming-dd agent [options] [-- COMMAND ...]",
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
    add("--notify-webhook", metavar="URL", help="POST what a monitor says to this address of this machine")
    add("--notify-anywhere", action="store_true", help="let --notify-webhook be on another machine")
    add("--headless", action="store_true", help="the API only, no page: for CI")
    add("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(handler=run)


def add_intake(parser: argparse.ArgumentParser) -> None:
    """Add the options for what an agent listens on, reads and keeps."""
    add = parser.add_argument
    add("--port-offset", type=int, default=0, metavar="N", help="shift every port by N")
    add("--dogstatsd-port", type=int, metavar="PORT", help="UDP port for DogStatsD (8125; 0: a free one)")
    add("--trace-port", type=int, metavar="PORT", help="port for traces (8126)")
    add("--logs-port", type=int, metavar="PORT", help="port for logs over TCP (10518)")
    add("--page-port", type=int, metavar="PORT", help="port of the page and its API (8181)")
    add("--dogstatsd-socket", metavar="PATH", help="unix datagram socket for DogStatsD")
    add("--trace-socket", metavar="PATH", help="unix socket for traces")
    add(
        "--config",
        metavar="DIRECTORY",
        help="datadog.yaml and conf.d to read, dashboards, monitors and slos to show (dd-agent, if it is there)",
    )
    add("--max-series", type=int, metavar="N", help="series to keep in memory (10000)")


def run(options: argparse.Namespace) -> int:
    """Run the agent until a signal comes or the command ends; return the exit code."""
    began = time.perf_counter()
    try:
        from .agent import LocalAgent
    except ImportError as error:
        raise LocalAgentError(f"{error.name} is not installed: pip install 'streaming-dd[agent]'") from error
    agent = LocalAgent(settings_of(options))
    agent.bind()
    if options.host not in LOOPBACK:
        _say(
            f"WARNING: listening on {options.host}: whoever reaches this machine can read your logs and traces, "
            "and send more. There is no login."
        )
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(_serve(agent, command, began))


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings that the command line and the Agent's files give; the command line wins."""
    from . import datadog_yaml
    from .settings import Settings

    settings = Settings(
        host=options.host, allowed_hosts=tuple(options.allow_host), headless=options.headless, record=False
    )
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


def environment(agent: LocalAgent) -> dict[str, str]:
    """Return the variables that lead ddtrace, datadog and this package to the agent."""
    host = agent.settings.host if agent.settings.host not in ("0.0.0.0", "::") else "127.0.0.1"
    variables = {"DD_AGENT_HOST": host}
    if agent.dogstatsd_port is not None:
        variables["DD_DOGSTATSD_PORT"] = str(agent.dogstatsd_port)
        variables["DD_DOGSTATSD_URL"] = f"udp://{host}:{agent.dogstatsd_port}"
    if agent.trace_port is not None:
        variables["DD_TRACE_AGENT_PORT"] = str(agent.trace_port)
        variables["DD_TRACE_AGENT_URL"] = f"http://{host}:{agent.trace_port}"
    if agent.logs_port is not None:
        variables["STREAMING_LOG_AGENT"] = f"{host}:{agent.logs_port}"
    return variables


async def _serve(agent: LocalAgent, command: list[str], began: float) -> int:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            loop.add_signal_handler(number, stop, number)
    serving = asyncio.create_task(agent.serve(on_ready=lambda: ready.set_result(None)))
    try:
        await _first(serving, ready)
        if not serving.done():
            _say(greeting(agent, time.perf_counter() - began))
            if command:
                return await _run_command(command, environment(agent), stopped)
            await _first(serving, stopped)
        return 0
    finally:
        agent.stop()
        await serving


async def _run_command(command: list[str], variables: dict[str, str], stopped: asyncio.Future[int]) -> int:
    """Run the command beside the agent; a signal to stop is passed on, and the command's end awaited."""
    env = {"DD_ENV": "local", **os.environ, **variables}
    try:
        process = await asyncio.create_subprocess_exec(*command, env=env)
    except OSError as error:
        raise LocalAgentError(f"cannot run {command[0]}: {error.strerror or error}") from error
    ended = asyncio.create_task(process.wait())
    await _first(ended, stopped)
    if not ended.done():
        # A terminal sends Ctrl-C to both of us; a second one would make many servers quit at once.
        if stopped.result() != signal.SIGINT or not sys.stdin.isatty():
            process.send_signal(stopped.result())
        await asyncio.wait({ended}, timeout=TERMINATE_TIMEOUT)
        if not ended.done():
            process.kill()
    code = await ended
    return code if code >= 0 else 128 - code


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
