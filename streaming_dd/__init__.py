"""Datadog observability for Python apps that stream.

    import streaming_dd as dd

    app = dd.instrument(app, coordinator=coordinator)

Names are imported when they are first used: importing this module loads neither ddtrace nor datadog nor loguru.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .output import forks  # noqa: F401 - first: from here on a fork waits for our imports

if TYPE_CHECKING:
    from . import catalog, logs, recorder, timers
    from .catalog import Metric
    from .config import Config
    from .endpoints import Endpoints, health
    from .errors import ConfigError, InstrumentError, MetricError, StreamingDDError
    from .instrument import instrument
    from .middleware import DatadogMiddleware
    from .recorder import configure
    from .requests.current_stream import current_stream
    from .timers import gauge, increment, record, task, timer

__version__ = "0.1.0"

#: Public name -> the module that has it; a module's own name stands for the module.
_HOMES = {
    "Config": "config",
    "ConfigError": "errors",
    "DatadogMiddleware": "middleware",
    "Endpoints": "endpoints",
    "InstrumentError": "errors",
    "Metric": "catalog",
    "MetricError": "errors",
    "StreamingDDError": "errors",
    "catalog": "catalog",
    "configure": "recorder",
    "current_stream": "requests.current_stream",
    "gauge": "timers",
    "capacity": "cli.capacity",
    "doctor": "cli.doctor",
    "health": "endpoints.health",
    "increment": "timers",
    "instrument": "instrument",
    "logs": "logs",
    "record": "timers",
    "recorder": "recorder",
    "task": "timers",
    "timer": "timers",
    "timers": "timers",
}

#: Public names that stand for a module.
_MODULES = frozenset({"capacity", "catalog", "doctor", "health", "logs", "recorder", "timers"})

__all__ = [
    "Config",
    "ConfigError",
    "DatadogMiddleware",
    "Endpoints",
    "InstrumentError",
    "Metric",
    "MetricError",
    "StreamingDDError",
    "catalog",
    "configure",
    "current_stream",
    "gauge",
    "health",
    "increment",
    "instrument",
    "logs",
    "record",
    "recorder",
    "task",
    "timer",
    "timers",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{home}", __name__)
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
