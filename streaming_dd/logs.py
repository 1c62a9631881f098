"""JSON log lines with trace ids, from loguru, the standard library and this package itself.

How a line looks, where it goes, and how loguru and the standard library are tapped is in the wing output.logs.
State: the Logs in use, `_current`; replaced by `start`, removed by its `stop`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from . import config as config_module
from .config import Config
from .output import tracing
from .output.logs import places, process_end
from .output.logs.bridge import ACCESS_LOGGERS, Bridge, BridgeHandler
from .output.logs.destinations import Destination
from .output.logs.lines import LEVELS as LEVELS
from .output.logs.lines import Around, Correlation, LineRenderer
from .output.logs.loguru_handler import LoguruHandler
from .output.notices import say

_DRAINING_WAIT: Final = 1.0  # of one line: a busy machine is late with the thread that writes it
#: What a process that gets our logger from another needs to know; no secrets, a pickle may be kept.
_INHERITED: Final = (
    *("service", "env", "version", "enabled", "logs_enabled", "log_level", "log_stdout", "log_file"),
    *("log_file_bytes", "log_file_count", "log_format", "log_agent", "log_redact", "log_queue"),
    "shutdown_timeout",
)

_current: Logs | None = None


class Logs:
    """JSON log lines to the configured destinations. Nothing here blocks or raises after construction."""

    def __init__(self, config: Config, *, correlation: Correlation = tracing.correlation) -> None:
        """Open the destinations and install the sources; raise ConfigError for a file that cannot be written."""
        #: What `configure()` was given; it holds also when the package around is configured later.
        self.given: dict[str, Any] = {}
        #: Returns what belongs on every line of the calling context: the names of the task that runs there.
        self.around: Around = lambda: None
        self._correlation = correlation
        self._pid = os.getpid()
        self._dropped = Counter[str]()
        self._own: tuple[Destination, ...] = ()
        self._added: tuple[Destination, ...] = ()
        self._destinations: tuple[Destination, ...] = ()
        self._bridge: Bridge | None = None
        self._loguru: LoguruHandler | None = None
        self._draining, self._patience = 0.0, config.shutdown_timeout
        self.reconfigure(config)

    def reconfigure(self, config: Config) -> None:
        """Go on with another configuration; raise ConfigError, and go on as before, if it cannot work."""
        enabled = config.enabled and config.logs_enabled
        opened = places.opened(config) if enabled else ()
        self._remove_sources()
        closed = self._own
        self.config = config
        self._level = LEVELS[config.log_level]
        self._renderer = LineRenderer(config, self._correlation, lambda: self.around())
        self._own = opened
        self._destinations = (*opened, *self._added) if enabled else ()
        if enabled:
            self._loguru = LoguruHandler(self, self._level, mutes_default=bool(opened))
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

    def rendered_fields(
        self, fields: dict[str, Any], level: str, timestamp: float, constant: bytes
    ) -> bytes | None:
        """Return one line of fields whose texts went through `mask`; None below the lowest level."""
        number = LEVELS[level]
        if number < self._level:
            return None
        return self._renderer.from_masked(fields, number, timestamp, constant)

    def mask(self, text: str) -> str:
        """Return a text with its secrets masked."""
        return self._renderer.mask(text)

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
        self._dropped["unserialisable"] += 1
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
            totals.update(destination.dropped.copy())
        return dict(totals)

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
        self._draining, self._patience = self.config.shutdown_timeout, timeout
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
            self._dropped.update(destination.dropped)

    def flush_at_end(self) -> None:
        """Deliver what is queued, within the shutdown timeout."""
        self.flush(self._patience)

    def stop_at_end(self) -> None:
        """Deliver what is queued and close, within the shutdown timeout."""
        self.stop(self._patience)

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
        self._dropped = Counter()
        for destination in self._destinations:
            destination.after_fork_in_child()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the settings that another process needs to write the same lines to the same places."""
        return Inherited, ({name: getattr(self.config, name) for name in _INHERITED},)


class Inherited:
    """What a loguru logger from another process writes with: this one's Logs, or one with the other's settings."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    def write_loguru(self, record: Any) -> None:
        """Write loguru's record."""
        logs = _current
        if logs is None:
            try:
                logs = start(config_module.load({**self._settings, "log_bridge": False, "access_log": False}))
            except Exception as error:  # noqa: BLE001 - the child has its own work to do
                say("logs.inherited", f"Lines of the logger that another process passed on are lost: {error}")
                return
        logs.write_loguru(record)


# --- the one in use --------------------------------------------------------------------------------------------


def start(config: Config) -> Logs:
    """Make `config` the current Logs's, but for what `configure()` was given; the same config changes nothing.

    Raises ConfigError for a file that cannot be written.
    """
    global _current
    if _current is None:
        _current = Logs(config)
        process_end.register(current)
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
