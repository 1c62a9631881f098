"""Run the demo: `python -m examples.demo [--seconds N] [--port-offset N]`.

It runs until Ctrl-C, or for `--seconds`, and ends with a summary of what arrived. Exit codes: 0 all is well; 1 something
that should have arrived did not, or a server failed; 2 it could not start.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from streaming_dd.errors import LocalAgentError
from streaming_dd.local_agent import LocalAgent
from streaming_dd.local_agent.page_server.api import PAGE

from .clients import Town
from .expected import missing, wrong_after_exit
from .ports import HOST, Ports, PortTaken
from .servers import ServerFailed, Servers
from .terminal import Ink, Screen, lines
from .view import Watch

#: A bounded run waits this long beyond its seconds for every visitor to have come once.
PATIENCE = 120.0
#: Seconds after the servers' end for the last of what they sent to be taken in, on a busy machine.
ARRIVAL = 20.0
#: Samples, spans and logs that the terminal's view may look at: a long demo stays as small as a short one.
RECORD_LIMIT = 20_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    options = _options(arguments)
    ports = Ports().shifted(options.port_offset)
    try:
        ports.check()
        return asyncio.run(_demo(ports, options.seconds))
    except (PortTaken, LocalAgentError) as error:
        print(error, file=sys.stderr)
        return 2
    except ServerFailed as error:
        print(error, file=sys.stderr)
        return 1
    except asyncio.CancelledError:  # stopped before the servers ran; afterwards _demo ends in order
        return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description="The example, watched by the local agent."
    )
    parser.add_argument(
        "--seconds", type=float, help="stop after so many seconds and check what arrived; default: run on"
    )
    parser.add_argument("--port-offset", type=int, default=0, help="add this to every port")
    options = parser.parse_args(arguments)
    if options.seconds is not None and options.seconds <= 0:
        parser.error("--seconds: write a number above 0")
    if not 0 <= options.port_offset <= 50_000:
        parser.error("--port-offset: write a number from 0 to 50000")
    return options


async def _demo(ports: Ports, seconds: float | None) -> int:
    stop = asyncio.Event()
    loop, starting = asyncio.get_running_loop(), asyncio.current_task()
    assert starting is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, starting.cancel)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reports-")))
        servers = Servers(ports, folder)
        agent = LocalAgent(
            dogstatsd_port=ports.dogstatsd,
            trace_port=ports.traces,
            logs_port=ports.logs,
            page_port=ports.page,
            dogstatsd_socket=servers.dogstatsd_socket,
            trace_socket=servers.trace_socket,
            record_limit=RECORD_LIMIT,
        )
        stack.enter_context(agent.running())
        print(
            "Making the database and starting the example: two workers and the price service ...", flush=True
        )
        async with servers:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop.set)
            watch = Watch(agent)
            surprises = await _watch_visitors(watch, servers, stop, seconds)
            await servers.stop()
        return await _summary(watch, surprises, bounded=seconds is not None)


async def _watch_visitors(
    watch: Watch, servers: Servers, stop: asyncio.Event, seconds: float | None
) -> list[str]:
    """Draw what happens until it is time to stop; return what surprised the visitors."""
    town = Town(servers.urls)
    living = asyncio.create_task(town.live())
    title = (
        "streaming-dd demo",
        f"open {_agent_url(watch)} (the local agent's page), {servers.urls[0]} (the example: start tasks yourself)",
        "Some of it fails on purpose, so that every outcome is seen. Ctrl-C stops.",
    )
    try:
        with Screen(title) as screen:
            while not stop.is_set() and not _over(watch, town, seconds):
                wait = screen.every if seconds is None else min(screen.every, max(0.2, seconds - _age(watch)))
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait)
                servers.check()
                if living.done():
                    living.result()
                screen.draw(watch.look())
    finally:
        living.cancel()
        with suppress(asyncio.CancelledError):
            await living
    return town.surprises


def _agent_url(watch: Watch) -> str:
    """Return the address of the agent's page, or of its API where the page is not installed."""
    url = f"http://{HOST}:{watch.agent.page_port}"
    return url if (PAGE / "index.html").exists() else f"{url}/api/overview"


def _age(watch: Watch) -> float:
    return time.monotonic() - watch.began


def _over(watch: Watch, town: Town, seconds: float | None) -> bool:
    if seconds is None or _age(watch) < seconds:
        return False
    return town.toured.is_set() or _age(watch) > seconds + PATIENCE


async def _summary(watch: Watch, surprises: list[str], *, bounded: bool) -> int:
    """Print what arrived and, after a bounded run, what did not; return the exit code."""
    await asyncio.sleep(0.5)  # the agent's next look at its sockets
    problems = _problems(watch.agent) if bounded else []
    until = time.monotonic() + ARRIVAL
    while problems and time.monotonic() < until:
        await asyncio.sleep(0.5)
        problems = _problems(watch.agent)
    print("\n".join(line for line in lines(watch.look(), Ink(False), ["What arrived"]) if line))
    if not bounded:
        return 0
    problems += [f"unexpected: {what}" for what in surprises]
    for problem in problems:
        print(problem)
    print("Something is not as it should be." if problems else "Everything arrived that should.")
    return 1 if problems else 0


def _problems(agent: LocalAgent) -> list[str]:
    return [
        *(f"missing: {what}" for what in missing(agent)),
        *(f"wrong: {what}" for what in wrong_after_exit(agent)),
    ]


if __name__ == "__main__":
    sys.exit(main())
