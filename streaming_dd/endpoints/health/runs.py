"""Run the health checks: all at once, each within its limit, their result shared by everyone who asks.

State: `Health` (one for each recorder) holds the last report, the run that is under way, and a place in which the
thread of each check runs: a check that hangs keeps its place, so there is never a second thread of it.
docs/decisions/0060.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from ... import catalog
from ...output import tracing
from ...output.failure import shown
from ...output.notices import logger, say
from ...output.redaction import mask_text
from ...process.off_loop import OffLoop, Shared
from ...recorder import Recorder
from .check import Check, Unhealthy, name_of, registered
from .checks import builtin
from .loop import LoopWatch

#: Status of a service check as Datadog counts them.
_OK: Final = 0
_WARNING: Final = 1
_CRITICAL: Final = 2
_TEXT_LIMIT: Final = 500


@dataclass(frozen=True, slots=True)
class Result:
    """What one run of a check came to."""

    name: str
    required: bool
    #: How long it took, or until it was given up.
    seconds: float
    #: What is wrong, in words that strangers may read; "" if nothing is.
    problem: str = ""
    #: Type and text of the error, without secrets; for those who may see details.
    error_type: str = ""
    error: str = ""
    #: What the check returned.
    note: str = ""

    @property
    def summary(self) -> str:
        """`ok`, or `error: ` and what is wrong."""
        return f"error: {self.problem}" if self.problem else "ok"

    def details(self) -> dict[str, object]:
        """Return everything that is known, for those who may see it."""
        found: dict[str, object] = {"required": self.required, "seconds": round(self.seconds, 4)}
        for key in ("error_type", "error", "note"):
            if getattr(self, key):
                found[key] = getattr(self, key)
        return found


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of all checks came to."""

    results: tuple[Result, ...]
    #: When it ended: seconds since the epoch, and monotonic.
    time: float
    monotonic: float

    @property
    def healthy(self) -> bool:
        """Whether every required check is ok."""
        return not any(result.problem and result.required for result in self.results)

    @property
    def summaries(self) -> dict[str, str]:
        """Name of each check and how it is, as strangers may read it."""
        return {result.name: result.summary for result in self.results}

    @property
    def timestamp(self) -> str:
        """When it ended, in ISO 8601."""
        return iso(self.time)


def iso(seconds: float) -> str:
    """Return a time since the epoch in ISO 8601, UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class Health:
    """The health of this process. Find it with `recorder.get().part(Health)`."""

    def __init__(self, recorder: Recorder) -> None:
        self.watch = LoopWatch()
        #: Whether a run was healthy: the application has started.
        self.was_healthy = False
        self._recorder = recorder
        self._config = recorder.config
        self._own: dict[str, Check] = {}
        self._places: dict[str, OffLoop] = {}
        self._since: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._runs = Shared("streaming-dd-health", self._run)
        self._report: Report | None = None
        self._told: Report | None = None
        self._began = float("-inf")
        recorder.jobs.append(self._job)

    def add(self, check: Check) -> None:
        """Run `check` with the others as long as this recorder is in use."""
        self._own[name_of(check)] = check

    @property
    def failing(self) -> list[str]:
        """The required checks that failed in the last run."""
        report = self._report
        results = report.results if report is not None else ()
        return [result.name for result in results if result.problem and result.required]

    # --- asking ---------------------------------------------------------------------------------------------

    def report(self) -> Future[Report]:
        """Return the last report while it is fresh, else that of the run that is under way or starts now.

        It is there within the longest limit of a check; it raises only where the system has no thread left.
        """
        report = self._fresh()
        return _done(report) if report is not None else self._runs.ask()

    def _fresh(self) -> Report | None:
        report = self._report
        fresh = report is not None and time.monotonic() - report.monotonic < self._config.health_cache
        return report if fresh else None

    def _job(self, now: float) -> None:
        """Called by the recorder's thread: ask the loop, send what was found, begin a run when nobody has asked."""
        self.watch.ask(now)
        report = self._report
        if report is not None and report is not self._told:
            self._tell(report, self._told)
            self._told = report
        interval = self._config.health_interval
        if interval and now - self._began >= interval and not self._recorder.stopping:
            self._runs.ask()

    # --- running --------------------------------------------------------------------------------------------

    def checks(self) -> list[Check]:
        """Return the checks to run: built-in, added and registered ones; a later one of the same name wins."""
        found = {name_of(check): check for check in builtin(self._config, self.watch, self._recorder.tracing)}
        found |= self._own
        found |= registered()
        for setting in ("health_required", "health_optional"):
            unknown = set(getattr(self._config, setting)) - set(found) - set(self._config.health_skip)
            if unknown:
                say(
                    setting,
                    f"STREAMING_{setting.upper()} names {', '.join(sorted(unknown))}, but the health checks are "
                    f"{', '.join(found) or 'none'}",
                )
        return [check for name, check in found.items() if name not in self._config.health_skip]

    def _run(self) -> Report:
        started = self._began = time.monotonic()
        report = self._fresh()
        if report is not None:  # another run ended just as this one was asked for
            return report
        try:
            attempts = [(check, self._start(check)) for check in self.checks()]
        except Exception as error:  # noqa: BLE001 - such as Django settings that cannot be read
            report = self._report = _broken(error)
            return report
        results = tuple(self._result(check, attempt, started) for check, attempt in attempts)
        report = self._report = Report(results, time.time(), time.monotonic())
        self.was_healthy = self.was_healthy or report.healthy
        return report

    def _start(self, check: Check) -> Future[object] | None:
        name = name_of(check)
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = OffLoop(f"streaming-dd-health-{name}")
        attempt = place.start(self._call, check)
        if attempt is not None:
            self._since[name] = time.monotonic()
        return attempt

    def _call(self, check: Check) -> object:
        """Call a check in its thread. What it asks of databases is no traffic of the application: no span is kept."""
        started = time.monotonic()
        try:
            with tracing.dropped_spans("health.check"):
                found = check.run()
                return self._await(check, found) if inspect.iscoroutine(found) else found
        finally:
            self._took[name_of(check)] = time.monotonic() - started

    def _await(self, check: Check, coroutine: Coroutine[Any, Any, object]) -> object:
        loop = self.watch.loop
        if loop is None:
            return asyncio.run(coroutine)
        running = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return running.result(self._limit(check))
        finally:
            running.cancel()

    def _result(self, check: Check, attempt: Future[object] | None, started: float) -> Result:
        name, limit = name_of(check), self._limit(check)
        required = self._required(check, name)
        if attempt is None:
            seconds = time.monotonic() - self._since[name]
            problem = f"timed out: it has been running for {seconds:.0f} s"
            return Result(name, required, seconds, problem, "TimeoutError", problem)
        try:
            returned = attempt.result(max(0.0, started + limit - time.monotonic()))
        except BaseException as error:  # noqa: BLE001 - a check may raise anything
            if isinstance(error, TimeoutError) and time.monotonic() - started >= limit:
                problem = f"timed out after {limit:g} s"
                return Result(name, required, limit, problem, "TimeoutError", problem)
            return _failed(name, required, self._took[name], error)
        note = mask_text(returned[:_TEXT_LIMIT]) if isinstance(returned, str) else ""
        return Result(name, required, self._took[name], note=note)

    def _limit(self, check: Check) -> float:
        own = getattr(check, "timeout", None)
        return own if isinstance(own, int | float) and own > 0 else self._config.health_timeout

    def _required(self, check: Check, name: str) -> bool:
        if name in self._config.health_optional:
            return False
        return name in self._config.health_required or bool(getattr(check, "required", True))

    # --- telling --------------------------------------------------------------------------------------------

    def _tell(self, report: Report, before: Report | None) -> None:
        """Send every result as a service check, and log those that changed."""
        known = {result.name: result for result in before.results} if before is not None else {}
        for result in report.results:
            status = _OK if not result.problem else _CRITICAL if result.required else _WARNING
            message = _said(result)
            self._recorder.metrics.service_check(catalog.HEALTH, status, message, check=result.name)
            last = known.get(result.name)
            if result.problem and (last is None or not last.problem):
                logger.warning("health check %s fails: %s", result.name, message)
            elif last is not None and last.problem and not result.problem:
                logger.info("health check %s is ok again", result.name)


def _said(result: Result) -> str:
    """Return what a check has to say; that a check of ours raised Unhealthy says nothing to anybody."""
    if not result.problem:
        return result.note
    own = result.error_type.rpartition(".")[2] == Unhealthy.__name__
    return result.error if own else f"{result.error_type}: {result.error}"


def _done(report: Report) -> Future[Report]:
    future: Future[Report] = Future()
    future.set_result(report)
    return future


def _failed(name: str, required: bool, seconds: float, error: BaseException) -> Result:
    kind, text, _ = tracing.describe_error(error)
    text = mask_text(text[:_TEXT_LIMIT])
    problem = text if isinstance(error, Unhealthy) else type(error).__name__[:100]
    return Result(name, required, seconds, problem or "Unhealthy", kind[:200], text)


def _broken(error: Exception) -> Report:
    """The report when the checks themselves cannot be found or started."""
    say("health", f"the health checks cannot be run: {shown(error)}", exc_info=True)
    return Report((_failed("checks", True, 0.0, error),), time.time(), time.monotonic())
