"""The built-in checks: databases, coordinator, Redis, Agent, event loop, disk. No state."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ...config import Config
from ...output.forks import first_use
from ...output.notices import say
from ...output.tracing import Tracing
from .check import Check, Unhealthy
from .loop import LoopWatch

#: Seconds that one connection to the Agent may take; there are two of them within the limit of a check.
_CONNECT: Final = 0.8
#: How long an ICMP answer takes that says that nobody listens on a UDP port of this host.
_REFUSAL: Final = 0.02


@dataclass(kw_only=True)
class DatabaseCheck(Check):
    """Open a connection to a Django database, as a new request would, and read from it.

    Not one of a pool: a pool whose connections are all busy is no database that is down, and one that it has kept may be
    of before the database was down.
    """

    alias: str = "default"

    def __post_init__(self) -> None:
        if not self.name:
            self.name = "database" if self.alias == "default" else f"database.{self.alias.lower()}"

    def run(self) -> str:
        """Raise what Django raises; a SQLite file that is missing is not created."""
        from django.db import connections

        pooled: Any = connections[self.alias]  # of this thread alone: connections are per thread
        connection = _outside_of_pool(pooled)
        try:
            query = f"SELECT 1{connection.features.bare_select_suffix}"
            if connection.vendor == "sqlite":
                query = self._sqlite_query(connection)
            with connection.cursor() as cursor:
                cursor.execute(query)
                cursor.fetchone()
        finally:
            connection.close()
        return f"{connection.vendor}{_how_busy(pooled)}"

    def _sqlite_query(self, connection: Any) -> str:
        """`SELECT 1` would succeed on a file that is no database: read the schema instead."""
        path = str(connection.settings_dict["NAME"])
        if not connection.is_in_memory_db() and not path.startswith("file:") and not os.path.exists(path):
            database = "" if self.alias == "default" else f" --database {self.alias}"
            raise Unhealthy(f"the database file is missing: `python manage.py migrate{database}` makes it")
        return "SELECT count(*) FROM sqlite_master"


def _outside_of_pool(connection: Any) -> Any:
    options = connection.settings_dict.get("OPTIONS") or {}
    if not options.get("pool"):
        return connection
    alone = {name: value for name, value in options.items() if name != "pool"}
    return type(connection)({**connection.settings_dict, "OPTIONS": alone}, alias=connection.alias)


def _how_busy(connection: Any) -> str:
    """Say how many wait for a connection of the application's pool, if it has one that is used up."""
    pool: Any = getattr(connection, "pool", None)
    stats = pool.get_stats() if hasattr(pool, "get_stats") else {}
    size, waiting = stats.get("pool_size", 0), stats.get("requests_waiting", 0)
    if not size or stats.get("pool_available") or size < stats.get("pool_max", 0):
        return ""
    wait = "1 request waits" if waiting == 1 else f"{waiting} requests wait"
    return f", its pool is busy: {size} of {size} connections are taken, {wait}"


def databases() -> Iterator[Check]:
    """Yield a check for each database of Django's settings, if this process has Django and it is set up."""
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return
    from django.db import connections

    for alias, settings in connections.settings.items():
        if settings.get("ENGINE") not in (None, "", "django.db.backends.dummy"):
            yield DatabaseCheck(alias=alias)


@dataclass(kw_only=True)
class CoordinatorCheck(Check):
    """Read the coordinator's state: the dictionaries that it had when the check was made are still there."""

    coordinator: Any = field(repr=False)

    def __post_init__(self) -> None:
        self.name = self.name or "coordinator"
        self._state = [
            name for name in ("_tasks", "_task_instances", "_locks") if _has(self.coordinator, name)
        ]

    def run(self) -> str:
        """Raise what reading the coordinator's state raises."""
        return ", ".join(f"{len(getattr(self.coordinator, name))} {name[1:]}" for name in self._state)


def _has(owner: object, name: str) -> bool:
    try:
        return hasattr(owner, name)
    except Exception:  # noqa: BLE001 - a property that raises is there, and fails the check
        return True


@dataclass(kw_only=True)
class RedisCheck(Check):
    """Connect to a Redis server and PING it."""

    url: str = field(repr=False)
    required: bool = False
    name: str = "redis"
    #: Seconds for connecting, and for the answer.
    patience: float = 1.0

    def run(self) -> None:
        """Raise what redis-py raises. It is not to try again: the next run does."""
        with first_use:
            import redis

        client = redis.Redis.from_url(
            self.url, socket_connect_timeout=self.patience, socket_timeout=self.patience, retry=None
        )
        try:
            client.ping()
        finally:
            client.close()


@dataclass(kw_only=True)
class AgentCheck(Check):
    """Look whether something listens where metrics and spans go. Its absence never makes an application unhealthy."""

    #: Address as in Config: `udp://host:port`, `unix:///path`; "" where no metrics are sent.
    dogstatsd: str = ""
    tracing: Tracing | None = field(default=None, repr=False)
    required: bool = False
    name: str = "agent"

    def run(self) -> str:
        """Raise Unhealthy naming what does not answer. UDP to another host cannot be known: it counts as answering."""
        missing = []
        if self.dogstatsd and not _listens(self.dogstatsd):
            missing.append("metrics")
        if self.tracing is not None and not self.tracing.agent_answers(_CONNECT):
            missing.append("traces")
        if missing:
            raise Unhealthy(f"nothing takes {' or '.join(missing)}")
        return self.dogstatsd


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        if parts.scheme.startswith("unix"):
            _connect_unix(parts.netloc + parts.path, parts.scheme)
        else:
            _connect_udp(parts.hostname or "", parts.port or 8125)
    except OSError:
        return False
    return True


def _connect_unix(path: str, scheme: str) -> None:
    """Connect to a datagram or a stream socket, whichever it is, as Datadog's client does for `unix://`."""
    kinds = {"unixgram": [socket.SOCK_DGRAM], "unixstream": [socket.SOCK_STREAM]}.get(
        scheme, [socket.SOCK_DGRAM, socket.SOCK_STREAM]
    )
    for kind in kinds:
        with socket.socket(socket.AF_UNIX, kind) as connection:
            connection.settimeout(_CONNECT)
            try:
                connection.connect(path)
                return
            except OSError:
                if kind == kinds[-1]:
                    raise


def _connect_udp(host: str, port: int) -> None:
    """Send an empty datagram: where this host has nobody on that port, the second call hears that it was refused."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as connection:
        connection.connect(address)
        connection.send(b"")
        time.sleep(_REFUSAL)
        connection.send(b"")


@dataclass(kw_only=True)
class LoopCheck(Check):
    """Look how long the event loop was held in the last seconds."""

    watch: LoopWatch = field(repr=False)
    limit: float = 1.0
    name: str = "event_loop"

    def run(self) -> str:
        """Raise Unhealthy if it was held for longer than the limit, or is held by now."""
        self.watch.ask(time.monotonic())
        lag = self.watch.lag(time.monotonic())
        if lag > self.limit:
            raise Unhealthy(f"held for {lag:.1f} s")
        return f"worst lag {lag * 1000:.0f} ms"


@dataclass(kw_only=True)
class DiskCheck(Check):
    """Look whether the log file can be written, and has room to grow."""

    path: str
    free: int = 104_857_600
    name: str = "disk"

    def run(self) -> str:
        """Raise Unhealthy with what is missing, or what the operating system raises."""
        file = Path(self.path)
        folder = file.parent
        if not folder.is_dir():
            raise Unhealthy("the log file's folder is missing")
        if not os.access(file if file.exists() else folder, os.W_OK):
            raise Unhealthy("the log file cannot be written")
        room = os.statvfs(folder)
        free = room.f_bavail * room.f_frsize
        if free < self.free or (room.f_files and not room.f_favail):
            raise Unhealthy(f"{free // 1_000_000} MB are free for the log file, {room.f_favail} inodes")
        return f"{free // 1_000_000} MB free"


def builtin(config: Config, watch: LoopWatch, tracing: Tracing) -> Iterator[Check]:
    """Yield the checks that follow from the settings and from what this process has."""
    yield from databases()
    if watch.loop is not None:
        yield LoopCheck(watch=watch, limit=config.health_loop_lag)
    if config.redis_url and _has_redis():
        yield RedisCheck(url=config.redis_url, patience=min(1.0, config.health_timeout / 2))
    dogstatsd = config.dogstatsd_address() if config.enabled and config.metrics_enabled else ""
    to_agent = tracing.enabled and os.environ.get("OTEL_TRACES_EXPORTER") != "otlp"
    if dogstatsd or to_agent:
        yield AgentCheck(dogstatsd=dogstatsd, tracing=tracing if to_agent else None)
    if config.log_file and config.enabled and config.logs_enabled and hasattr(os, "statvfs"):
        yield DiskCheck(path=os.path.abspath(config.log_file), free=config.health_disk_free)


def _has_redis() -> bool:
    if importlib.util.find_spec("redis") is not None:
        return True
    say("health:redis", "REDIS_URL is set, but redis-py is not installed: pip install streaming-dd[redis]")
    return False
