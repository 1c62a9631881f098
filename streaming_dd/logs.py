"""The door to loguru: JSON log lines with trace ids, from loguru, the standard library and this package itself.

How a line looks is in log_lines, where it goes in log_destinations, the standard library's side in log_bridge.
State: the Logs in use, `_current`; replaced by `start`, removed by its `stop`. docs/decisions/0020.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import loguru
from loguru import logger

from . import config as config_module
from . import tracing
from .config import Config
from .log_agent import AgentTcp
from .log_bridge import ACCESS_LOGGERS, Bridge, BridgeHandler
from .log_destinations import Destination, Stdout
from .log_file import RotatingFile
from .log_lines import Correlation, LineRenderer

LEVELS: Final = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "SUCCESS": 25,
    "WARNING": 30,
    "ERROR": 40,
    "CRITICAL": 50,
}

_DRAINING_WAIT: Final = 0.2

_current: Logs | None = None


class Logs:
    """JSON log lines to the configured destinations. Nothing here blocks or raises after construction."""

    def __init__(self, config: Config, *, correlation: Correlation = tracing.correlation) -> None:
        """Open the destinations and install the sources; raise ConfigError for a file that cannot be written."""
        #: What `configure()` was given; it holds also when the package around is configured later.
        self.given: dict[str, Any] = {}
        self._correlation = correlation
        self._pid = os.getpid()
        self._dropped: dict[str, int] = {}
        self._own: tuple[Destination, ...] = ()
        self._added: tuple[Destination, ...] = ()
        self._destinations: tuple[Destination, ...] = ()
        self._bridge: Bridge | None = None
        self._loguru: _LoguruHandler | None = None
        self._draining = 0.0
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Go on with another configuration; raise ConfigError, and go on as before, if it cannot work."""
        enabled = config.enabled and config.logs_enabled
        opened = _open(config) if enabled else ()
        self._remove_sources()
        closed = self._own
        self.config = config
        self._level = LEVELS[config.log_level]
        self._renderer = LineRenderer(config, self._correlation)
        self._own = opened
        self._destinations = (*opened, *self._added) if enabled else ()
        if enabled:
            self._loguru = _LoguruHandler(self, self._level, owns_console=config.log_stdout)
            if config.log_bridge:
                excluded = ACCESS_LOGGERS if config.access_log else frozenset[str]()
                self._bridge = Bridge(
                    BridgeHandler(self.write_record, excluded, self._level),
                    self._level,
                    access_log=config.access_log,
                    owns_console=config.log_stdout,
                )
                self._bridge.refresh()
        self._stop_destinations(closed, config.shutdown_timeout)

    # --- lines ----------------------------------------------------------------------------------------------

    def emit(
        self,
        fields: Mapping[str, object],
        level: str = "INFO",
        *,
        timestamp: float | None = None,
        constant: bytes = b"",
    ) -> None:
        """Write one line of this package's own, past loguru.

        Names are written as given; `dd.trace_id` and `dd.span_id` come from the caller's context unless they are
        among the fields ("0" for none). `timestamp` is in Unix seconds; `constant` comes from `constant_part`.
        """
        number = LEVELS.get(level, 20)
        if number < self._level or not self._destinations:
            return
        try:
            line = self._renderer.from_fields(fields, number, timestamp, constant)
        except Exception as error:  # noqa: BLE001 - a log line must not turn a success into a failure
            line = self._unrenderable(error, number)
        self.write(line, urgent=number >= 40)

    def rendered(self, members: bytes, level: str, timestamp: float) -> bytes | None:
        """Return one line of JSON members (`"a":1,"b":2`) that the caller rendered; None below the lowest level."""
        number = LEVELS[level]
        return self._renderer.from_members(members, number, timestamp) if number >= self._level else None

    def write_many(self, lines: list[bytes]) -> None:
        """Queue finished JSON lines for every destination, in one go."""
        for destination in self._destinations:
            destination.put_many(lines)
        if self._draining:
            self._wait_for_lines()

    def constant_part(self, fields: Mapping[str, object]) -> bytes:
        """Return `fields` rendered once, for `emit(constant=...)`."""
        return self._renderer.constant_part(fields)

    def write(self, line: bytes, *, urgent: bool = False) -> None:
        """Queue one finished JSON line (no newline) for every destination; `urgent` lines do not wait for others."""
        for destination in self._destinations:
            destination.put(line, urgent)
        if self._draining:
            self._wait_for_lines()

    def write_record(self, record: logging.LogRecord) -> None:
        """Write the standard library's record."""
        try:
            line = self._renderer.from_stdlib(record)
        except Exception as error:  # noqa: BLE001 - as in emit
            line = self._unrenderable(error, record.levelno)
        self.write(line, urgent=record.levelno >= 40)

    def write_loguru(self, record: Any) -> None:
        """Write loguru's record."""
        try:
            line = self._renderer.from_loguru(record)
        except Exception as error:  # noqa: BLE001 - as in emit; a user's patcher can make anything of a record
            line = self._unrenderable(error, record["level"].no)
        self.write(line, urgent=record["level"].no >= 40)

    def _unrenderable(self, error: Exception, level: int) -> bytes:
        """Count a line that is lost, and return the line that stands in its place."""
        _add_up(self._dropped, {"unserialisable": 1})
        return self._renderer.from_fields(
            {"message": f"A log line could not be rendered: {type(error).__name__}: {error}"}, level
        )

    # --- state ----------------------------------------------------------------------------------------------

    def add(self, destination: Destination) -> None:
        """Write every line from now on to `destination` too."""
        self._added = (*self._added, destination)
        self._destinations = (*self._destinations, destination)

    @property
    def dropped(self) -> dict[str, int]:
        """Lines dropped since the start, by reason; a line is counted for each destination that it missed."""
        totals = self._dropped.copy()
        for destination in self._destinations:
            _add_up(totals, destination.dropped)
        return totals

    def refresh_bridge(self) -> None:
        """Install again what a later `dictConfig` or `logger.remove()` took away. Cheap; call it now and then."""
        self._draining = 0.0
        if self._loguru is not None:
            self._loguru.install()
        if self._bridge is not None:
            self._bridge.refresh()

    def flush(self, timeout: float) -> bool:
        """Return True once every line so far was delivered, False if some cannot be within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        requests = [item.request_flush() for item in self._destinations]
        results = [request.wait(max(0.0, deadline - time.monotonic())) for request in requests]
        return all(results)

    def drain(self, timeout: float) -> bool:
        """Flush; from now on every line is waited for, until `refresh_bridge` says that it goes on.

        For the end of serving: uvicorn dies by the signal that stopped it, a moment after its last line. All these
        waits together take no longer than the shutdown timeout.
        """
        self._draining = self.config.shutdown_timeout
        return self.flush(timeout)

    def _wait_for_lines(self) -> None:
        started = time.monotonic()
        self.flush(min(self._draining, _DRAINING_WAIT))
        self._draining = max(0.0, self._draining - (time.monotonic() - started))

    def stop(self, timeout: float) -> bool:
        """Put loguru and the standard library back, deliver what is queued and close; True if nothing was lost."""
        global _current
        if _current is self:
            _current = None
        self._remove_sources()
        deadline = time.monotonic() + timeout
        self.flush(timeout)  # all at once: one that is stuck must not take the others' time
        results = [item.stop(max(0.0, deadline - time.monotonic())) for item in self._destinations]
        return all(results)

    def _remove_sources(self) -> None:
        if self._bridge is not None:
            self._bridge.remove()
            self._bridge = None
        if self._loguru is not None:
            self._loguru.uninstall()
            self._loguru = None

    def _stop_destinations(self, destinations: tuple[Destination, ...], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        for destination in destinations:
            destination.stop(max(0.0, deadline - time.monotonic()))
            _add_up(self._dropped, destination.dropped)

    def before_fork(self) -> None:
        """End the threads for the duration of a fork."""
        for destination in self._destinations:
            destination.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on in the parent."""
        for destination in self._destinations:
            destination.after_fork_in_parent()

    def after_fork(self) -> None:
        """Start clean in a forked child: the parent's lines are the parent's to write. Idempotent."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._dropped = {}
        for destination in self._destinations:
            destination.after_fork_in_child()


class _LoguruHandler:
    """Our handler in loguru, and loguru's default handler (standard error), muted while we own the console.

    The work is done in the handler's *filter*, which then says no: loguru would go on to copy and format the record
    and take its lock, for 2 us a line and a deadlock when a line is logged within a line. docs/decisions/0020.
    """

    def __init__(self, logs: Logs, level: int, *, owns_console: bool) -> None:
        self._logs = logs
        self._level = level
        self._lock = threading.RLock()
        self._id: int | None = None
        self._installed = True
        self._muted = _mute_default_handler() if owns_console else None
        self.install()

    def install(self) -> None:
        """Add our handler unless it is there."""
        with self._lock:
            if self._installed and self._id is None:
                self._id = logger.add(
                    self, level=self._level, format="", filter=self._filter, colorize=False, catch=True
                )

    def uninstall(self) -> None:
        """Take our handler off and let loguru's default one speak again."""
        with self._lock:
            self._installed = False
            if self._id is not None:
                with contextlib.suppress(ValueError):
                    logger.remove(self._id)
                self._id = None
            if self._muted is not None:
                _set_level(*self._muted)
                self._muted = None

    def _filter(self, record: Any) -> bool:
        self._logs.write_loguru(record)
        return False

    def write(self, message: str) -> None:
        """Satisfy loguru; the filter lets nothing come here."""

    def stop(self) -> None:
        """Come back after `logger.remove()` or `logger.configure(handlers=...)`: they mean the user's own handlers.

        loguru holds its lock while it calls this, so another thread adds the handler, once the lock is free.
        """
        self._id = None
        if self._installed:
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
                threading.Thread(target=self.install, name="streaming-dd-loguru", daemon=True).start()


def _mute_default_handler() -> tuple[Any, int] | None:
    """Mute handler 0 if it is loguru's own, and return it with its level.

    It is not removed: an app that says `logger.remove(0)` after us would get a ValueError.
    """
    core = getattr(logger, "_core", None)
    handler = getattr(core, "handlers", {}).get(0)
    autoinit = getattr(getattr(loguru, "_defaults", None), "LOGURU_AUTOINIT", True)
    if handler is None or not autoinit or not hasattr(handler, "_levelno"):
        return None  # then 0 is the user's own, or is gone
    level = handler.levelno
    _set_level(handler, sys.maxsize)
    return handler, level


def _set_level(handler: Any, level: int) -> None:
    handler._levelno = level
    logger.remove(logger.add(_no_sink, level=sys.maxsize))  # makes loguru compute its lowest level anew


def _no_sink(message: str) -> None:
    """Write nothing."""


# --- the one in use --------------------------------------------------------------------------------------------


def start(config: Config) -> Logs:
    """Make `config` the current Logs's, but for what `configure()` was given; the same config changes nothing.

    Raises ConfigError for a file that cannot be written.
    """
    global _current
    if _current is None:
        _current = Logs(config)
        _register_once()
        return _current
    config = dataclasses.replace(config, **_current.given)
    if _current.config == config:
        _current.refresh_bridge()
    else:
        _current.reconfigure(config)
    return _current


def current() -> Logs | None:
    """Return the Logs in use."""
    return _current


def configure(
    *,
    path: str | None = None,
    level: str | None = None,
    stdout: bool | None = None,
    agent: str | None = None,
    redact: list[str] | tuple[str, ...] | None = None,
    bridge: bool | None = None,
    service: str | None = None,
    env: str | None = None,
    version: str | None = None,
) -> Logs:
    """Start logging alone, or change how the rest of the package logs, before or after that is configured.

    What is not given stays as it is, or comes from the Django settings, the environment (STREAMING_LOG_*, DD_*) or
    the defaults. `path` is the log file, `agent` the `host:port` of the Agent's TCP intake, `redact` further keys to mask.
    Raises ConfigError for a value that cannot be used.
    """
    arguments = {
        "log_file": os.fspath(path) if path is not None else None,
        "log_level": level,
        "log_stdout": stdout,
        "log_agent": agent,
        "log_redact": redact,
        "log_bridge": bridge,
        "service": service,
        "env": env,
        "version": version,
    }
    given = {key: value for key, value in arguments.items() if value is not None}
    # alone, nobody writes access lines: the server's own are wanted
    loaded = config_module.load({"access_log": False, **given}, django=config_module.django_settings())
    values = {key: getattr(loaded, key) for key in given}
    if _current is None:
        start(loaded).given = values
    else:
        _current.given.update(values)
        start(_current.config)
    assert _current is not None
    return _current


def _add_up(totals: dict[str, int], counts: dict[str, int]) -> None:
    for reason, count in counts.copy().items():
        totals[reason] = totals.get(reason, 0) + count


def _open(config: Config) -> tuple[Destination, ...]:
    destinations: list[Destination] = []
    if config.log_stdout and sys.stdout is not None:
        destinations.append(Stdout(config.log_queue))
    if config.log_file:
        destinations.append(
            RotatingFile(config.log_file, config.log_file_bytes, config.log_file_count, config.log_queue)
        )
    if config.log_agent:
        destinations.append(AgentTcp(config.log_agent, config.log_queue))
    return tuple(destinations)


_registered = threading.Event()


def _register_once() -> None:
    if _registered.is_set():
        return
    _registered.set()
    atexit.register(_at_exit)
    _flush_at_end_of_child()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )


def _at_exit() -> None:
    if _current is not None:
        _current.stop(_current.config.shutdown_timeout)


def _before_fork() -> None:
    if _current is not None:
        _current.before_fork()


def _after_fork_in_parent() -> None:
    if _current is not None:
        _current.after_fork_in_parent()


def _after_fork_in_child() -> None:
    if _current is not None:
        _current.after_fork()
        multiprocessing = sys.modules.get("multiprocessing.util")
        if multiprocessing is not None:  # which forgets its finalizers when the child begins
            multiprocessing.register_after_fork(_flush_current, _flush_at_end_of_child)


def _flush_at_end_of_child(_: object = None) -> None:
    """Flush when a multiprocessing child ends: it does so by os._exit, without atexit."""
    multiprocessing = sys.modules.get("multiprocessing.util")
    if multiprocessing is not None:
        multiprocessing.Finalize(None, _flush_current, exitpriority=0)


def _flush_current() -> None:
    if _current is not None:
        _current.flush(_current.config.shutdown_timeout)
