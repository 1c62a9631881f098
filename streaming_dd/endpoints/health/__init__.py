"""Health checks: what they are, the built-in ones, and how they are run.

An application's own check is a `Check` with a `run()` that raises, made known by one call of `register()`. State:
the registered checks (check.py), and a `Health` for each recorder (health.py).
"""

from __future__ import annotations

from .check import Check, Unhealthy, register, registered, unregister
from .checks import AgentCheck, CoordinatorCheck, DatabaseCheck, DiskCheck, LoopCheck, RedisCheck
from .runs import Health, Report, Result

__all__ = [
    "AgentCheck",
    "Check",
    "CoordinatorCheck",
    "DatabaseCheck",
    "DiskCheck",
    "Health",
    "LoopCheck",
    "RedisCheck",
    "Report",
    "Result",
    "Unhealthy",
    "register",
    "registered",
    "unregister",
]
