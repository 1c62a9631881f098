"""Which setting ddtrace stumbled over: it raises where it reads one, mostly without saying which. No state."""

from __future__ import annotations

import contextlib
import json
import linecache
import os
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

from ..config import Config, parsers, setting_name, without_secrets
from ..errors import ConfigError

_PREFIXES: Final = ("DD_", "OTEL_", "DATADOG_")
#: What is raised over values; another exception is a fault of the installation.
_OVER_SETTINGS: Final = (ValueError, TypeError, ArithmeticError, OSError)
_NUMBERS: Final = {"int": "write a whole number", "float": "write a number"}


def _host(value: str) -> None:
    parsers.host(value if value.isascii() else "?")


def _rules(value: str) -> None:
    rules = json.loads(value)
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ValueError('write a JSON list of rules, such as [{"sample_rate": 0.5}]')


_port: Final = parsers.integer(1, 65535)
#: What is asked of variables that ddtrace reads long before it stumbles over them.
_CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "DD_AGENT_HOST": _host,
    "DD_TRACE_AGENT_HOSTNAME": _host,
    "DD_DOGSTATSD_HOST": _host,
    "DD_AGENT_PORT": _port,
    "DD_TRACE_AGENT_PORT": _port,
    "DD_TELEMETRY_PORT": _port,
    "DD_TRACE_WRITER_BUFFER_SIZE_BYTES": parsers.integer(1),
    "DD_TRACE_WRITER_MAX_PAYLOAD_SIZE_BYTES": parsers.integer(1),
    "DD_TRACE_SAMPLING_RULES": _rules,
}


@contextlib.contextmanager
def naming_settings(config: Config) -> Iterator[None]:
    """Make a ConfigError of what ddtrace raises over a setting; what is no setting's fault passes as it is."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        found = _explain(error, config, os.environ)
        if found is None:
            raise
        raise found from None


def check_address(address: str, config: Config) -> None:
    """Raise ConfigError if nothing can ever be sent to `address`, for which ddtrace has made its tracer."""
    try:
        urlsplit(address).port  # noqa: B018 - raises where it is none
    except ValueError as error:
        fix = "Write http://host:port or unix:///path, such as http://127.0.0.1:8126."
        raise _explain(error, config, os.environ) or ConfigError(
            "DD_TRACE_AGENT_URL", f"spans cannot be sent to {without_secrets('', address)!r}.", fix
        ) from None


def _explain(error: Exception, config: Config, environ: Mapping[str, str]) -> ConfigError | None:
    if not isinstance(error, _OVER_SETTINGS):
        return None
    given = {name: value for name, value in environ.items() if name.startswith(_PREFIXES) and value.strip()}
    if config.agent_host and config.origins.get("agent_host") in ("argument", "Django settings"):
        given["agent_host"] = config.agent_host
    text = str(error)
    named = sorted((name for name in given if name in text), key=len)
    quoted = [name for name, value in given.items() if repr(value) in text or f"cast {value} to " in text]
    wrong = {name: fix for name in given if (fix := _fix(name, given[name]))}
    read = _read(error.__traceback__, given) if isinstance(error, ValueError | TypeError) else []
    for names in (named[-1:], [name for name in read if name in quoted], [*wrong], quoted, read):
        if names:
            return _refusal(names[0], given[names[0]], wrong.get(names[0]) or _said(text), config)
    return None


def _fix(name: str, value: str) -> str:
    check = _host if name == "agent_host" else _CHECKS.get(name)
    try:
        if check is not None:
            check(value)
    except json.JSONDecodeError:
        return ""  # ddtrace says this itself and goes on
    except ValueError as error:
        return str(error)
    return ""


def _read(traceback: TracebackType | None, given: Mapping[str, str]) -> list[str]:
    """Return the variables that the frames of a traceback were about, the innermost first."""
    found: list[str] = []
    while traceback is not None:
        frame = traceback.tb_frame
        line = linecache.getline(frame.f_code.co_filename, traceback.tb_lineno)
        if __package__ not in frame.f_globals.get("__name__", ""):
            here = [value for value in frame.f_locals.values() if isinstance(value, str) and value in given]
            found[:0] = [*here, *sorted((name for name in given if name in line), key=len, reverse=True)]
        traceback = traceback.tb_next
    return found


def _said(text: str) -> str:
    """Say what to write, by what ddtrace said."""
    for kind, fix in _NUMBERS.items():
        if f"{kind}()" in text or f"to {kind}:" in text or f"'{kind}'>" in text or f"[{kind}]" in text:
            return fix
    return f"ddtrace says: {text}"


def _refusal(name: str, value: str, fix: str, config: Config) -> ConfigError:
    known = name == "agent_host"
    origin = config.origins["agent_host"] if known else f"environment {name}"
    shown = setting_name(name) if known and origin != "argument" else name
    given = without_secrets(shown, value)
    return ConfigError(shown, f"{given!r} (from {origin}) cannot be used:", f"{without_secrets(shown, fix)}.")
