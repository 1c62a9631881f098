"""How a log line looks: flat JSON with Datadog's reserved names, secrets masked, whatever the values are.

The door to orjson. No state but caches of what was rendered before. docs/decisions/0022 and 0023.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import logging
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from .config import Config
from .redaction import MASK, SHOWN, Redactor, mask_text

#: Longest line in bytes: older Agents cut at 256,000 (logs_config.max_message_size_bytes) and then it is no JSON.
MAX_LINE: Final = 250_000
#: Longest text of a value that JSON has no type for.
MAX_REPR: Final = 2_000
MAX_DEPTH: Final = 8
MAX_NODES: Final = 2_000

#: Names a line, or the Agent, gives a meaning to. A caller's field of that name is written as `extra.<name>`.
RESERVED: Final = frozenset(
    {
        *("timestamp", "@timestamp", "_timestamp", "status", "message", "service", "host", "hostname"),
        *("ddsource", "ddtags", "syslog.timestamp", "syslog.severity", "syslog.hostname", "syslog.appname"),
        *(
            "logger.name",
            "logger.thread_name",
            "logger.method_name",
            "module",
            "function",
            "line",
            "truncated",
        ),
    }
)
_IDS: Final = ("dd.trace_id", "dd.span_id")
_ERROR: Final = frozenset({"error.kind", "error.message", "error.stack"})
_SCALARS: Final = frozenset({int, float, bool, type(None)})
#: What the standard library puts in every record; anything else is the caller's `extra`.
_RECORD_NAMES: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn's message, once more with terminal colours
    "streaming_dd_seen",
}

Correlation = Callable[[], tuple[str, str]]


def status_of(level: int) -> str:
    """Return Datadog's status of a numeric level (those of loguru and of the standard library agree)."""
    if level >= 50:
        return "critical"
    if level >= 40:
        return "error"
    if level >= 30:
        return "warning"
    if level == 25:  # loguru's SUCCESS
        return "ok"
    return "info" if level >= 20 else "debug"


class LineRenderer:
    """Renders finished lines (bytes, without newline) for one service. Never raises."""

    def __init__(self, config: Config, correlation: Correlation) -> None:
        self._correlation = correlation
        self._redactor = Redactor(config.log_redact)
        self._plain: set[str] = set()
        self._second = (-1, "")
        tags = {
            "service": config.service,
            "dd.service": config.service,
            "dd.env": config.env,
            "dd.version": config.version,
        }
        constant = self.constant_part({key: value for key, value in tags.items() if value})
        self._heads = {
            status: b'Z","status":"' + status.encode() + b'"' + (b"," + constant if constant else b"")
            for status in ("critical", "error", "warning", "ok", "info", "debug")
        }

    # --- the three kinds of line ----------------------------------------------------------------------------

    def from_fields(
        self,
        fields: Mapping[str, object],
        level: int,
        timestamp: float | None = None,
        constant: bytes = b"",
    ) -> bytes:
        """Render a line of this package's own: `fields` as they are, `constant` as `constant_part` returned it."""
        members: dict[str, Any] = {}
        self._add_extra(members, fields, ())
        return self._line(time.time() if timestamp is None else timestamp, level, members, constant)

    def from_loguru(self, record: Mapping[str, Any]) -> bytes:
        """Render loguru's record; to be called where the line was logged, for its trace ids."""
        function = record["function"]
        members = {
            "message": mask_text(record["message"]),
            "logger.name": record["name"],
            "logger.thread_name": record["thread"].name,
            "logger.method_name": function,
            "module": record["module"],
            "function": function,
            "line": record["line"],
        }
        exception = record["exception"]
        if exception is not None:
            self._add_error(members, exception.type, exception.value, exception.traceback)
        extra = record["extra"]
        if extra:
            self._add_extra(members, extra)
        return self._line(record["time"].timestamp(), record["level"].no, members)

    def from_stdlib(self, record: logging.LogRecord) -> bytes:
        """Render the standard library's record."""
        members = {
            "message": mask_text(_message(record)),
            "logger.name": record.name,
            "logger.thread_name": record.threadName,
            "logger.method_name": record.funcName,
            "module": record.module,
            "function": record.funcName,
            "line": record.lineno,
        }
        if record.exc_info and record.exc_info[0] is not None:
            self._add_error(members, *record.exc_info)
        elif record.exc_text:
            members["error.stack"] = mask_text(record.exc_text)
        if record.stack_info:
            members["stack_info"] = mask_text(record.stack_info)
        extra = {key: value for key, value in vars(record).items() if key not in _RECORD_NAMES}
        if extra:
            self._add_extra(members, extra)
        return self._line(record.created, record.levelno, members)

    def constant_part(self, fields: Mapping[str, object]) -> bytes:
        """Return `fields` as JSON members without braces, to be given to `from_fields` many times."""
        members: dict[str, Any] = {}
        self._add_extra(members, fields, ())
        return self._encode(members)[1:-1]

    # --- parts ----------------------------------------------------------------------------------------------

    def _line(self, timestamp: float, level: int, members: dict[str, Any], constant: bytes = b"") -> bytes:
        if "dd.trace_id" not in members:
            trace_id, span_id = self._correlation()
            if trace_id != "0":
                members["dd.trace_id"] = trace_id
                members["dd.span_id"] = span_id
        second = int(timestamp)
        cached = self._second
        if cached[0] != second:
            cached = self._second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        start = f'{{"timestamp":"{cached[1]}.{int((timestamp - second) * 1000):03d}'.encode()
        head = self._heads[status_of(level)]
        if constant:
            head = head + b"," + constant
        line = b"".join((start, head, b",", self._encode(members)[1:])) if members else start + head + b"}"
        if len(line) > MAX_LINE:
            budget = MAX_LINE - len(start) - len(head) - 64
            body = self._encode_within({**members, "truncated": len(line)}, budget)
            line = b"".join((start, head, b",", body[1:]))
        return line

    def _add_extra(
        self,
        members: dict[str, Any],
        extra: Mapping[Any, Any],
        reserved: frozenset[str] | tuple[()] = RESERVED,
    ) -> None:
        plain = self._plain
        for key, value in extra.items():
            if key in plain and (reserved or key not in RESERVED):
                kind = type(value)
                if kind is str:
                    members[key] = mask_text(value)
                    continue
                if kind in _SCALARS:
                    members[key] = value
                    continue
            self._add_one(members, key, value, reserved)

    def _add_one(self, members: dict[str, Any], key: Any, value: Any, reserved: Any) -> None:
        name = key if type(key) is str else _text_of(key)
        if self._redactor.judge(name) == SHOWN:
            shown = value if type(value) in _SCALARS else self._clean(value)
            if name not in RESERVED and not name.startswith(("dd.", "error.")) and len(self._plain) < 4096:
                self._plain.add(name)
        else:
            shown = MASK if self._redactor.hides(name, value) else self._clean(value)
        if reserved:
            if name in _IDS:  # ddtrace's own log injection, or a user who knows better: used if we have none
                if value and str(value) != "0" and self._correlation()[0] == "0":
                    members[name] = shown
                return
            if name in ("dd.service", "dd.env", "dd.version"):
                return
            if name in reserved or (name in _ERROR and name in members):
                name = f"extra.{name}"
        members[name] = shown

    def _add_error(self, members: dict[str, Any], kind: Any, value: Any, trace: Any) -> None:
        """Add error.kind, error.message and error.stack, chained causes included."""
        name = getattr(kind, "__qualname__", None) or _text_of(kind)
        module = getattr(kind, "__module__", "builtins")
        members["error.kind"] = name if module in ("builtins", "__main__") else f"{module}.{name}"
        members["error.message"] = mask_text(_text_of(value))
        try:
            stack = "".join(traceback.format_exception(kind, value, trace))
        except Exception as error:  # noqa: BLE001 - user code runs in there: properties, __str__, loaders
            stack = f"(the stack cannot be shown: {type(error).__name__})"
        members["error.stack"] = mask_text(stack)

    # --- values ---------------------------------------------------------------------------------------------

    def _encode(self, members: dict[str, Any]) -> bytes:
        try:
            return orjson.dumps(members)
        except (
            TypeError
        ):  # a lone surrogate, or an int beyond 64 bits, among the fields that were passed as they are
            return orjson.dumps({_text(key): self._clean(value) for key, value in members.items()})

    def _encode_within(self, members: dict[str, Any], budget: int) -> bytes:
        """Encode members whose JSON is too long: every value is cut, harder until it fits."""
        for limit in (32_000, 4_000, 400, 40):
            cut = {key[:256]: _cut(value, limit) for key, value in members.items()}
            body = self._encode(cut)
            if len(body) <= budget:
                return body
        return self._encode({key: value for key, value in cut.items() if key in RESERVED})

    def _clean(self, value: Any) -> Any:
        return _Cleaner(self._redactor).clean(value, 0)


class _Cleaner:
    """Turns one value into what JSON can hold; at most MAX_NODES values deep within it, so a cycle ends."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._left = MAX_NODES

    def clean(self, value: Any, depth: int) -> Any:
        try:
            return self._clean(value, depth)
        except Exception:  # noqa: BLE001 - user code runs in there: __iter__, keys(), properties
            return _text_of(value)

    def _clean(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return mask_text(_text(str(value)))
        if isinstance(value, enum.Enum):
            return self.clean(value.value, depth + 1)
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**64 else _long_int(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, datetime.datetime | datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, uuid.UUID):
            return str(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return mask_text(bytes(value[:MAX_REPR]).decode("utf-8", "backslashreplace"))
        if depth >= MAX_DEPTH or self._left <= 0:
            return "..."
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return self._clean_mapping(value, depth)
        if isinstance(value, list | tuple | set | frozenset):
            return self._clean_items(value, depth)
        return _text_of(value)

    def _clean_mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        cleaned: dict[str, Any] = {}
        for key, item in value.items():
            if self._left <= 0:
                cleaned["..."] = len(value)
                break
            name = _text(key) if isinstance(key, str) else _text_of(key)
            cleaned[name] = MASK if self._redactor.hides(name, item) else self.clean(item, depth + 1)
        return cleaned

    def _clean_items(self, value: Any, depth: int) -> list[Any]:
        cleaned: list[Any] = []
        for item in value:
            if self._left <= 0:
                cleaned.append("...")
                break
            cleaned.append(self.clean(item, depth + 1))
        return cleaned


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a wrong format string or a raising __str__: the line is kept, unformatted
        return f"{_text_of(record.msg)} {_text_of(record.args)}"


def _text(value: str) -> str:
    """Return a text that UTF-8 can hold: lone surrogates become `\\udc80` and the like."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _text_of(value: Any) -> str:
    """Return the object's own text, masked and cut; its type's name if it refuses."""
    try:
        text = _text(str(value))
    except Exception as error:  # noqa: BLE001 - __str__ and __repr__ are user code
        return f"<{type(value).__name__}: its text raised {type(error).__name__}>"
    return mask_text(text if len(text) <= MAX_REPR else _cut(text, MAX_REPR))


def _long_int(value: int) -> str:
    return str(value) if value.bit_length() < 4096 else f"{hex(value)[:MAX_REPR]}..."


def _cut(value: Any, limit: int) -> Any:
    """Cut the middle out of a text: a stack's end says what happened, its start where."""
    if isinstance(value, dict | list):
        value = orjson.dumps(value).decode()
    if not isinstance(value, str) or len(value) <= limit:
        return value
    head = limit // 3
    return f"{value[:head]}... [{len(value) - limit} characters cut] ...{value[head - limit :]}"
