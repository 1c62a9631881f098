"""This process: versions, what ddtrace has patched, which event loop. Looks only at what is imported already. No state."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from ...process.servers import without_end
from .report import Finding

_PACKAGES: Final = (
    "streaming-dd",
    "ddtrace",
    "datadog",
    "loguru",
    "starlette",
    "fastapi",
    "Django",
    "uvicorn",
    "uvloop",
    "gunicorn",
    "hypercorn",
    "opentelemetry-api",
)


def facts() -> dict[str, str]:
    """Return versions, the event loop, and what is patched."""
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if settings := os.environ.get("DJANGO_SETTINGS_MODULE"):
        found["Django's settings"] = settings
    found["event loop"] = event_loop()
    found["patched by ddtrace"] = ", ".join(sorted(patched())) or "nothing"
    return found


def event_loop() -> str:
    """Return the running event loop, or else which one a server would choose."""
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        chosen = "uvloop" if importlib.util.find_spec("uvloop") is not None else "asyncio"
        return f"none runs here; uvicorn chooses {chosen}"
    return f"{type(loop).__module__}.{type(loop).__qualname__}"


def patched() -> set[str]:
    """Return the integrations that ddtrace has switched on in this process."""
    module = sys.modules.get("ddtrace._monkey")
    return set(getattr(module, "_PATCHED_MODULES", ()))


def asyncio_is_double() -> bool:
    """Whether asyncio's part in C raises another CancelledError than the one that an application imports."""
    loop = asyncio.new_event_loop()
    try:
        cancelled = loop.create_future()
        cancelled.cancel()
        cancelled.result()
    except BaseException as error:  # noqa: BLE001 - it may be of any class, which is the question
        return not isinstance(error, asyncio.CancelledError)
    finally:
        loop.close()
    return False


def findings() -> Iterator[Finding]:
    """Look for what does not go together in this process."""
    integrations = patched()
    if "loguru" in integrations:
        yield Finding(
            "process.loguru",
            "warning",
            "ddtrace's loguru integration is on: it replaces a patcher that the application configured before",
            "Set DD_TRACE_LOGURU_ENABLED=false: our lines carry the trace ids without it.",
        )
    if "asyncio" in integrations and "uvloop" in event_loop():
        yield Finding(
            "process.asyncio",
            "info",
            "ddtrace's asyncio integration does not reach uvloop; tasks of ours are linked without it",
        )
    if asyncio_is_double():
        yield Finding(
            "process.asyncio_twice",
            "warning",
            "asyncio was imported twice, as by ddtrace-run and ddtrace.auto where gevent is installed, used or not: "
            "`except asyncio.CancelledError` catches no cancelled task, and streams end with an error",
            "Set DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE=0, or uninstall gevent.",
        )
    endless = without_end(sys.orig_argv, os.environ)
    if endless is not None:
        yield Finding(
            "process.server",
            "warning",
            endless[0],
            f"Set {endless[1]}: docs/shutdown.md has each server's limit.",
        )
    if "ddtrace.auto" in sys.modules or "ddtrace.bootstrap.sitecustomize" in sys.modules:
        yield Finding("process.ddtrace_run", "ok", "started with ddtrace-run or ddtrace.auto")
