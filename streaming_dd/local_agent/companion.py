"""The command that runs beside an agent: the variables that lead it there, its signals, and what came of it. No state."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from ..errors import LocalAgentError

if TYPE_CHECKING:
    from .agent import LocalAgent
    from .holdings import Holdings

TERMINATE_TIMEOUT = 30.0
"""Seconds for a command to end after a signal, before it is killed."""
PATIENCE = 2.0
"""Seconds after which it is said what is waited for; and those that a command has after a second signal."""
ONE_BLOW = 0.3
"""Seconds within which the same signal again is the same one: `timeout` signals its command and then the group."""
QUIET = 0.15
"""Seconds without anything new after which what a command sent has arrived."""
SETTLE_TIMEOUT = 2.0
LOCAL = "local"
"""The environment that a command is in if nothing says which."""
_ERRORS_SHOWN = 5


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
    if agent.page_port is not None and not agent.settings.headless:
        variables["STREAMING_LOG_TRACE_URL"] = f"{agent.page_url}/traces/"
    return variables


def directions(agent: LocalAgent) -> str:
    """Return the line to type where an application runs that is to find this agent, logs included."""
    variables = environment(agent)
    words = [
        f"{name}={value}"
        for name, value in variables.items()
        if name == "STREAMING_LOG_AGENT" or "URL" in name
    ]
    return f"In the application's terminal: export {' '.join(words)}"


def sets(command: list[str], variables: dict[str, str], given: Mapping[str, str]) -> str:
    """Return the line that says what a command gets to find the agent, and which variables of the user's give way."""
    words = {**({} if "DD_ENV" in given else {"DD_ENV": LOCAL}), **variables}
    aside = [name for name in variables if given.get(name, variables[name]) != variables[name]]
    yours = f" (in place of your {', '.join(aside)})" if aside else ""
    return f"{command[0]} runs with {' '.join(f'{name}={value}' for name, value in words.items())}{yours}"


async def run(
    command: list[str], variables: dict[str, str], signals: asyncio.Queue[int], say: Callable[[str], None]
) -> tuple[int, int]:
    """Run the command; return its exit code, and the signal (or 0) that stopped it: it is passed on, the end awaited."""
    env = {"DD_ENV": LOCAL, **os.environ, **variables}
    shares = shares_terminal()
    try:
        process = await asyncio.create_subprocess_exec(*command, env=env, process_group=None if shares else 0)
    except OSError as error:
        why = f"cannot run {command[0]}: {error.strerror or error}"
        raise LocalAgentError(f"{why}{_meant(command[0])}") from error
    ended = asyncio.create_task(process.wait())
    number = await _signal_before(ended, signals)
    if number and not ended.done():
        _pass_on(process, number, shares)
        await _ended(process, command[0], ended, signals, say, shares)
    code = await ended
    return code if code >= 0 else 128 - code, number


#: What serves or runs an application; proposed for a word that is nearly one of them and can be run here.
_RUNNERS: Final = (
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "granian",
    "daphne",
    "python",
    "python3",
    "django-admin",
    "fastapi",
    "celery",
    "arq",
    "ddtrace-run",
)


def _meant(word: str) -> str:
    """Return what to add to a command that is not there: the one that was meant, or what else would run it."""
    near = [name for name in get_close_matches(word, _RUNNERS, n=3) if shutil.which(name) is not None]
    if near:
        return f"; did you mean {near[0]}?"
    if word.endswith(".py") and os.path.isfile(word):
        return f"; write python {word}"
    return ""


async def _ended(
    process: asyncio.subprocess.Process,
    name: str,
    ended: asyncio.Task[int],
    signals: asyncio.Queue[int],
    say: Callable[[str], None],
    shares: bool,
) -> None:
    """Wait for the end that a signal asked for. A second signal ends the waiting, and so does the time limit."""
    again = await _signal_before(ended, signals, PATIENCE)
    if not ended.done() and not again:
        say(
            f"Waiting for {name} to end, at most {TERMINATE_TIMEOUT:.0f} s: many servers wait for their open streams "
            "(uvicorn: --timeout-graceful-shutdown 5). Ctrl-C again ends it now."
        )
        again = await _signal_before(ended, signals, TERMINATE_TIMEOUT - PATIENCE)
    if again:
        _pass_on(process, again, shares)
        await asyncio.wait({ended}, timeout=PATIENCE)
    if not ended.done():
        say(f"{name} did not end: it is killed.")
        with suppress(ProcessLookupError):
            process.kill()


async def _signal_before(
    ended: asyncio.Task[int], signals: asyncio.Queue[int], timeout: float | None = None
) -> int:
    """Return the signal that comes before the end and within the time, or 0."""
    signalled = asyncio.create_task(signals.get())
    await asyncio.wait({ended, signalled}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    if signalled.done():
        return signalled.result()
    signalled.cancel()
    return 0


def _pass_on(process: asyncio.subprocess.Process, number: int, shares: bool) -> None:
    # A terminal sends Ctrl-C to both of us; a second one would make many servers quit at once.
    if number != signal.SIGINT or not shares:
        with suppress(ProcessLookupError):  # it has just ended
            process.send_signal(number)


def shares_terminal() -> bool:
    """Whether Ctrl-C of a terminal reaches this process and a command of its group, which so stay one job of a shell.

    Elsewhere the command gets a group of its own: what signals this one (`timeout`, a CI runner) reaches it once,
    passed on, and so does what signals this process alone.
    """
    if not hasattr(os, "tcgetpgrp"):
        return True  # Windows: the console tells both
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def receiver(signals: asyncio.Queue[int]) -> Callable[[int], None]:
    """Return what puts signals into the queue; one that comes twice at once is put there once."""
    last: dict[int, float] = {}

    def receive(number: int) -> None:
        now = time.monotonic()
        if now - last.get(number, -ONE_BLOW) >= ONE_BLOW:
            signals.put_nowait(number)
        last[number] = now

    return receive


async def settled(held: Holdings) -> None:
    """Wait until nothing new arrives any more, at most some seconds."""
    clock = asyncio.get_running_loop().time
    until, before = clock() + SETTLE_TIMEOUT, None
    while (now := held.totals()) != before and clock() < until:
        before = now
        await asyncio.sleep(QUIET)


def alive(pid: int) -> bool:
    """Whether there is such a process on this machine; where that cannot be asked, it is taken for gone."""
    if os.name != "posix" or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def summary(held: Holdings, code: int = 0) -> str:
    """Return what has come since the agent's start: samples, spans, lines, tasks by outcome, and errors.

    `code` is the exit code of a command that ended by an error of its own: where nothing came that is why.
    """
    intake, since = held.aggregator.intake, held.started
    spans, traces, failed = _numbers(
        held,
        "SELECT count(*), count(DISTINCT trace_low), coalesce(sum(error), 0) FROM spans WHERE start_ns >= ?",
        int(since * 1e9),
    )
    lines, errors = _numbers(
        held,
        "SELECT count(*), coalesce(sum(status IN ('error', 'critical', 'alert', 'emergency')), 0) "
        "FROM logs WHERE timestamp >= ?",
        since,
    )
    metrics = {series.name for series in held.aggregator.snapshot()}
    parts = [
        f"{_count(intake.samples, 'sample')} of {_count(len(metrics), 'metric')}",
        f"{_count(spans, 'span')} in {_count(traces, 'trace')}" + (f" ({failed} failed)" if failed else ""),
        _count(lines, "log line") + (f" ({_count(errors, 'error')})" if errors else ""),
    ]
    outcomes = Counter(task.state for task in held.tasks.all() if task.last_seen >= since)
    if outcomes:
        parts.append("tasks: " + ", ".join(f"{number} {state}" for state, number in sorted(outcomes.items())))
    told = ["Received " + " · ".join(parts), *_errors(held)]
    if dropped := sum(table["dropped"] for table in held.records.counts().values()):
        told.append(f"  and {dropped} older spans and lines, which are no longer kept")
    if intake.malformed:
        told.append(f"  {_count(intake.malformed, 'malformed DogStatsD line')}")
    if not (intake.samples or spans or lines):
        told.append(
            f"  Nothing: the command ended with exit code {code}; its own output above says why."
            if code
            else "  Nothing: is the application instrumented? Run streaming-dd doctor in its place to find out."
        )
    return "\n".join(told)


def _errors(held: Holdings) -> list[str]:
    """Return the commonest errors of spans, a line each."""
    rows = held.records.select(
        "SELECT json_extract(attributes, '$.\"error.type\"') AS kind, "
        "json_extract(attributes, '$.\"error.message\"') AS message, resource, count(*) AS number "
        "FROM spans WHERE error AND entry AND start_ns >= ? GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT ?",
        (int(held.started * 1e9), _ERRORS_SHOWN),
    )
    return [_error(row, held.settings.mask) for row in rows]


def _error(row: dict[str, Any], mask: Callable[[str, str], str]) -> str:
    what = ": ".join(str(part) for part in (row["kind"], row["message"]) if part) or "error"
    what = " ".join(mask("", what).split())[:120]
    text = f"  {row['number']} x {what}, in {mask('', str(row['resource']))}"
    return "".join(character if character.isprintable() else "?" for character in text)


def _numbers(held: Holdings, sql: str, since: float) -> tuple[int, ...]:
    (row,) = held.records.select_tuples(sql, (since,))
    return row


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
