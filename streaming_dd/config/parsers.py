"""One function for each kind of setting: return the value, or raise ValueError saying what to write. No state."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
#: Bytes of a unix socket's path.
_PATH_LIMIT = 107

Parser = Callable[[Any], Any]


def boolean(value: Any) -> bool:
    """Take True, False, or one of the words for them."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise ValueError("write True or False")


def text(value: Any) -> str:
    """Take a string or a path."""
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        return str(value).strip()
    raise ValueError("write a string")


def number(minimum: float, maximum: float = float("inf")) -> Parser:
    """Make a parser of numbers within these bounds."""

    def parse(value: Any) -> float:
        hint = f"write a number from {minimum:g}" + ("" if maximum == float("inf") else f" to {maximum:g}")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(hint)
        try:
            number = float(value)
        except ValueError:
            raise ValueError(hint) from None
        if not minimum <= number <= maximum or number in (float("inf"), float("-inf")):
            raise ValueError(hint)
        return number

    return parse


def integer(minimum: int, maximum: int = sys.maxsize) -> Parser:
    """Make a parser of whole numbers within these bounds."""

    def parse(value: Any) -> int:
        hint = f"write a whole number from {minimum}" + ("" if maximum == sys.maxsize else f" to {maximum}")
        try:
            number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        if number is None or not minimum <= number <= maximum:
            raise ValueError(hint)
        return number

    return parse


def choice(*choices: str) -> Parser:
    """Make a parser of one of some words."""

    def parse(value: Any) -> str:
        if isinstance(value, str) and value in choices:
            return value
        raise ValueError("write one of " + ", ".join(map(repr, choices)))

    return parse


def level(value: Any) -> str:
    """Take the name of a log level."""
    levels = ("TRACE", "DEBUG", "INFO", "SUCCESS", "WARNING", "ERROR", "CRITICAL")
    if isinstance(value, str) and value.upper() in levels:
        return value.upper()
    raise ValueError("write one of " + ", ".join(levels))


def texts(value: Any) -> tuple[str, ...]:
    """Take a list, or in the environment words separated by commas."""
    if isinstance(value, str):
        return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError("write a list of strings (in the environment: separated by commas)")


def tags(value: Any) -> tuple[str, ...]:
    """Take Datadog tags."""
    tags = texts(value.replace(" ", ",") if isinstance(value, str) else value)
    for tag in tags:
        if not re.match(r"[A-Za-z][^,|#\s:]*:[^,|#\s]+\Z", tag):
            raise ValueError(f"write tags as 'key:value', without spaces; {tag!r} is not")
    return tags


def metric_prefix(value: Any) -> str:
    """Take the first part of metric names."""
    given = text(value).rstrip(".")
    if re.match(r"[a-z][a-z0-9_.]{0,99}\Z", given):
        return given
    raise ValueError("write lower-case words joined by dots, such as 'streaming'")


def header(value: Any) -> str:
    """Take the name of an HTTP header, or none."""
    given = text(value)
    if given and not re.match(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z", given):
        raise ValueError("write an HTTP header's name, such as 'x-trace-id', or '' for none")
    return given.lower()


def route_patterns(value: Any) -> tuple[str, ...]:
    """Take templates of paths."""
    patterns = texts(value)
    for pattern in patterns:
        if not pattern.startswith("/"):
            raise ValueError(
                f"write patterns such as '/stream/{{app}}/{{model}}/{{id}}'; {pattern!r} has no leading /"
            )
    return patterns


def address(value: Any) -> str:
    """Take `host:port`, or none."""
    given = text(value)
    if not given:
        return ""
    if not _is_place(given):
        raise ValueError("write host:port, such as '127.0.0.1:10518'")
    return given


def _is_place(text: str) -> bool:
    """Whether a text is `host:port`, of an IPv6 address in brackets or without."""
    _, _, port = text.rpartition(":")
    return bool(re.match(r"(\[\S+\]|[^\s\[\]]+):[0-9]+\Z", text)) and 0 < int(port) < 65536


def host(value: Any) -> str:
    """Take a host's name or address, an IPv6 address in brackets too, or none."""
    given = text(value)
    name = given[1:-1] if re.fullmatch(r"\[.*:.*\]", given) else given
    if re.search(r"[\s/?#@\[\]]", name) or name.count(":") == 1:
        raise ValueError("write a host's name or address alone, such as 'localhost'")
    return name


def statsd_url(value: Any) -> str:
    """Take DogStatsD's address, or none."""
    given = text(value)
    if not given:
        return ""
    scheme, separator, rest = given.partition("://")
    if not separator or scheme not in {"udp", "unix", "unixgram", "unixstream"} or not rest:
        raise ValueError("write udp://host:port, unix:///path, unixgram:///path or unixstream:///path")
    if scheme != "udp":
        _fits(rest)
    elif not _is_place(rest):
        raise ValueError("write udp://host:port, such as udp://127.0.0.1:8125")
    return given


def _fits(path: str) -> None:
    if len(path.encode(errors="surrogateescape")) > _PATH_LIMIT:
        raise ValueError(f"choose a shorter path: a socket's may have {_PATH_LIMIT} bytes")


def trace_url(value: Any) -> str:
    """Take the address of a trace intake, or none."""
    given = text(value)
    if given and not (re.match(r"(https?://[^/\s]+|unix:///)\S*\Z", given) and _has_host(given)):
        raise ValueError("write http://host:port or unix:///path, such as http://127.0.0.1:8126")
    if given.startswith("unix://"):
        _fits(given.removeprefix("unix://"))
    return given


def _has_host(url: str) -> bool:
    """Whether a URL names a host that ddtrace can ask, or a path."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "unix" or (bool(parts.hostname) and parts.netloc.isascii() and parts.port != 0)
    except ValueError:  # half a pair of brackets, a port that is none
        return False


def web_url(value: Any) -> str:
    """Take an address for a browser, or none."""
    given = text(value)
    if given and not re.match(r"https?://[\x21-\x7e]+\Z", given):
        raise ValueError("write http:// or https://, such as https://app.datadoghq.com/apm/trace/")
    return given


def path_prefix(value: Any) -> str:
    """Take the beginning of a path, or none."""
    given = text(value).rstrip("/")
    if given and not re.match(r"(/[A-Za-z0-9._~-]+)+\Z", given):
        raise ValueError("write a path such as '/internal', or '' for none")
    return given


def page_address(value: Any) -> str:
    """Take the address of a page that people open, or none; it is told to others, so nothing secret may be in it."""
    given = text(value)
    if not given:
        return ""
    parts = urlsplit(given)
    plain = re.match(r"[!-~]{1,300}\Z", given) and not (parts.username or parts.password or parts.query)
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain or parts.fragment:
        raise ValueError(
            "write an address such as 'http://127.0.0.1:8000/live-tasks/', without user, password or query"
        )
    return given


def endpoints(value: Any) -> tuple[str, ...]:
    """Take names of endpoints."""
    chosen = texts(value)
    if not set(chosen) <= {"health", "stats", "metrics"}:
        raise ValueError("write some of 'health', 'stats', 'metrics'")
    return chosen


def check_names(value: Any) -> tuple[str, ...]:
    """Take names of health checks."""
    names = texts(value)
    for name in names:
        if not re.match(r"[a-z][a-z0-9_.]*\Z", name):
            raise ValueError(f"write names of health checks, such as ['redis']; {name!r} is none")
    return names


def required_check_names(value: Any) -> tuple[str, ...]:
    """Take names of health checks that may be required."""
    names = check_names(value)
    if "agent" in names:
        raise ValueError("leave 'agent' out: an application without its Agent is healthy")
    return names


def bearer_token(value: Any) -> str:
    """Take a token that fits in a header, or none."""
    given = text(value)
    if given and not re.match(r"[!-~]+\Z", given):
        raise ValueError("write a token of printable ASCII characters without spaces")
    return given


def function(value: Any) -> Any:
    """Take a callable, or the dotted path of one, resolved where it is used."""
    if callable(value) or value == "":
        return value
    if isinstance(value, str) and re.match(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+\Z", value.strip()):
        return value.strip()
    raise ValueError("write a function, or its dotted path such as 'reports.access.may_see_stats'")


def buckets(value: Any) -> tuple[float, ...]:
    """Take rising upper bounds, in seconds."""
    hint = "write upper bounds in seconds, rising, such as [0.1, 1, 10]"
    parts = texts(value) if isinstance(value, str) else value
    try:
        bounds = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise ValueError(hint) from None
    if not 1 <= len(bounds) <= 100 or any(not 0 < bound < float("inf") for bound in bounds):
        raise ValueError(hint)
    if list(bounds) != sorted(set(bounds)):
        raise ValueError(hint)
    return bounds
