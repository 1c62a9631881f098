"""What the server around us says of itself: how long it waits, at its end, for what is open. No state of our own.

Read from the frames below the running loop: there stands the server's own object with its settings.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: Seconds after a signal at which what is open is recorded as ended, where no limit of the server is known.
FEW: Final = 5.0
#: Seconds that we need before a server is killed, where it leaves so much.
_BEFORE_KILL: Final = 1.5
#: Seconds after a server's own end of what is open: it has its chance first.
_AFTER_END: Final = 2.0
_FRAMES: Final = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds after the signal: when the server ends what is open, and when it is killed; None where it never is."""

    server: str = ""
    ends: float | None = None
    killed: float | None = None
    #: Tells whether the server has told its workers to end, where it does so without a signal.
    told: Callable[[], bool] | None = None

    def drain_after(self) -> float:
        """Return when to record what is open as ended: after the server had its chance, and before it is killed."""
        after = FEW if self.ends is None else self.ends + _AFTER_END
        if self.killed is None:
            return after
        last = max(self.killed / 2, self.killed - _BEFORE_KILL)
        return last if self.ends is None else min(after, last)


def limits() -> Limits:
    """Return the limits of the server that runs the calling code; call it inside its running loop."""
    found = Limits()
    frame: Any = sys._getframe(1)
    for _ in range(_FRAMES):
        if frame is None:
            break
        known = _of_frame(frame)
        if known is not None:
            # A worker of gunicorn's that is uvicorn's: the one ends what is open, the other kills.
            found = Limits(
                known.server,
                found.ends or known.ends,
                found.killed or known.killed,
                found.told or known.told,
            )
        frame = frame.f_back
    return found


def _of_frame(frame: Any) -> Limits | None:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    if package not in ("uvicorn", "uvicorn_worker", "gunicorn", "hypercorn", "granian"):
        return None
    known = frame.f_locals
    owner = known.get("self")
    if package == "hypercorn":
        ends = _seconds(getattr(known.get("config"), "graceful_timeout", None))
        return Limits("hypercorn", ends, told=getattr(known.get("shutdown_event"), "is_set", None))
    if package == "granian":
        return Limits("granian", killed=_granian_kills_after())
    ends = _seconds(getattr(getattr(owner, "config", None), "timeout_graceful_shutdown", None))
    kills = _seconds(getattr(getattr(owner, "cfg", None), "graceful_timeout", None))
    return Limits("gunicorn" if kills is not None else package, ends, kills) if owner is not None else None


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _granian_kills_after() -> float | None:
    """granian's workers do not know it: it stands in the command's arguments or environment."""
    option = "--workers-kill-timeout"
    arguments = sys.orig_argv if option in " ".join(sys.orig_argv) else sys.argv
    given = _option(arguments, option) or os.environ.get("GRANIAN_WORKERS_KILL_TIMEOUT", "")
    try:
        return float(given) if given else None
    except ValueError:
        return None


def _option(arguments: Sequence[str], *names: str) -> str:
    """Return what a command line says of an option last; "" for nothing."""
    given = ""
    for number, argument in enumerate(arguments):
        name, is_there, value = argument.partition("=")
        if argument in names and number + 1 < len(arguments):
            given = arguments[number + 1]
        elif is_there and name in names:
            given = value
    return given


def without_end(arguments: Sequence[str], environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return what a server of this command line does with open streams at its end, and what to set; None where it ends them.

    Of programs alone: what an application gives to `uvicorn.run()` stands in no command line.
    """
    names = [os.path.basename(argument).removesuffix(".exe") for argument in arguments[:3]]
    if "uvicorn" in names:
        limit = _option(arguments, "--timeout-graceful-shutdown") or environ.get(
            "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN"
        )
        return (
            None
            if limit
            else ("uvicorn waits for open streams without a limit", "--timeout-graceful-shutdown 10")
        )
    if "granian" in names:
        limit = _option(arguments, "--workers-kill-timeout") or environ.get("GRANIAN_WORKERS_KILL_TIMEOUT")
        return (
            None if limit else ("granian waits for open streams without a limit", "--workers-kill-timeout 10")
        )
    if "gunicorn" in names:
        given = [*shlex.split(environ.get("GUNICORN_CMD_ARGS", "")), *arguments]
        kind = _option(given, "-k", "--worker-class")
        if "uvicorn" in kind.lower() or kind == "asgi":
            return (
                f"gunicorn's {kind} waits for open streams until it is killed",
                "--graceful-timeout below what the orchestrator waits, or a worker class with timeout_graceful_shutdown",
            )
    return None


class CancelledRequests(logging.Filter):
    """Keep uvicorn from logging each request that it has itself cancelled at its end as an error with a stack.

    Without us it ends before it comes to that; we let its loop run on, so that the streams' ends are recorded.
    """

    LOGGER: Final = "uvicorn.error"

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass but what says that a request was cancelled."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if not isinstance(error, asyncio.CancelledError):
            return True
        self.count += 1
        return False

    def install(self) -> None:
        """Begin: the server was told to end."""
        logging.getLogger(self.LOGGER).addFilter(self)

    def remove(self) -> None:
        """Stop."""
        logging.getLogger(self.LOGGER).removeFilter(self)
