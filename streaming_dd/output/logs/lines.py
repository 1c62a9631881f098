"""How a log line looks: flat JSON with Datadog's reserved names, secrets masked, whatever the values are.

The door to orjson. No state but bounded caches of what was rendered before. docs/decisions/0022.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from ...config import Config
from .. import failure
from ..failure import shown
from ..notices import say
from ..redaction import MASK, SHOWN, Redactor, cut_text
from .values import ValueCleaner, text_of, well_formed

#: Longest line in bytes: older Agents cut at 256,000 (logs_config.max_message_size_bytes), and then it is no JSON.
MAX_LINE: Final = 250_000

#: Names that a line has, or that the Agent reads something from. A user's field of that name becomes `extra.<name>`.
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
            "levelname",
        ),
    }
)
#: loguru's levels; the standard library's are among them.
LEVELS: Final = {
    "TRACE": 5,
    "DEBUG": 10,
    "INFO": 20,
    "SUCCESS": 25,
    "WARNING": 30,
    "ERROR": 40,
    "CRITICAL": 50,
}
_SCALARS: Final = frozenset({int, float, bool, type(None)})
_CACHE_LIMIT: Final = 4096
#: What the standard library puts in every record; anything else is the caller's `extra`.
_RECORD_NAMES: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
    "color_message",  # uvicorn's message, once more with terminal colours
    "streaming_dd_seen",
}
#: Names of levels that `status` says already; any other is written as `levelname`.
_LEVEL_NAMES: Final = frozenset({"DEBUG", "INFO", "SUCCESS", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL"})
#: `.000Z` to `.999Z`, with the key that follows.
_MILLISECONDS: Final = tuple(b'.%03dZ","status":"' % number for number in range(1000))

Correlation = Callable[[], tuple[str, str]]
Around = Callable[[], Mapping[str, str] | None]


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
    """Renders finished lines (bytes, without newline) for one service, where and when they are logged."""

    def __init__(self, config: Config, correlation: Correlation, around: Around = lambda: None) -> None:
        self._correlation = correlation
        self._around = around
        self._redactor = Redactor(config.log_redact)
        #: Mask the secrets in a text.
        self.mask = self._redactor.mask
        self._plain: set[str] = set()
        self._own: set[str] = set()
        self._sites: dict[tuple[Any, ...], bytes] = {}
        self._second = (-1, b"")
        self._loguru_start: float | None = None
        tags = {
            "service": config.service,
            "dd.service": config.service,
            "dd.env": config.env,
            "dd.version": config.version,
        }
        constant = orjson.dumps({key: value for key, value in tags.items() if value})[1:-1]
        #: What follows the time, by numeric level, those of loguru.
        self._end_of_head = b'",' + (constant + b"," if constant else b"")
        self._heads = {level: self._head(level) for level in LEVELS.values()}

    # --- the three kinds of line ----------------------------------------------------------------------------

    def from_fields(
        self, fields: Mapping[str, object], level: int, timestamp: float | None = None, constant: bytes = b""
    ) -> bytes:
        """Render a line of this package's own; `constant` as `constant_part` returned it."""
        members = self._own_members(fields) or {"message": ""}
        trace_id = members.get("dd.trace_id")
        if trace_id is None:
            self._add_ids(members)
        elif trace_id == "0":
            del members["dd.trace_id"]
            members.pop("dd.span_id", None)
        return self._line(time.time() if timestamp is None else timestamp, level, constant, members)

    def from_loguru(self, record: Mapping[str, Any]) -> bytes:
        """Render loguru's record; to be called in the thread and context that logged it, for the trace ids."""
        message = record["message"]
        members: dict[str, Any] = {
            "message": self.mask(message if type(message) is str else text_of(message))
        }
        self._add_context(members)
        level = record["level"]
        if level.name not in _LEVEL_NAMES:
            members["levelname"] = level.name
        exception = record["exception"]
        if exception is not None:
            self._add_error(members, exception.type, exception.value, exception.traceback)
        extra = record["extra"]
        if extra:
            self._add_extra(members, extra)
        site = self._site(
            record["name"], record["thread"].name, record["module"], record["function"], record["line"]
        )
        return self._line(self._loguru_time(record), level.no, site, members)

    def from_stdlib(self, record: logging.LogRecord) -> bytes:
        """Render the standard library's record."""
        values = record.__dict__
        members: dict[str, Any] = {"message": self.mask(_message(record))}
        self._add_context(members)
        if record.levelname not in _LEVEL_NAMES:
            members["levelname"] = record.levelname
        if record.exc_info and record.exc_info[0] is not None:
            self._add_error(members, *record.exc_info)
        elif record.exc_text and not record.exc_info:  # (None, None, None) reads 'NoneType: None'
            members["error.stack"] = self.mask(record.exc_text)
        if record.stack_info:
            members["stack_info"] = self.mask(record.stack_info)
        if values.keys() - _RECORD_NAMES:
            self._add_extra(members, {key: values[key] for key in values if key not in _RECORD_NAMES})
        site = self._site(record.name, record.threadName, record.module, record.funcName, record.lineno)
        return self._line(record.created, record.levelno, site, members)

    def constant_part(self, fields: Mapping[str, object]) -> bytes:
        """Return `fields` as JSON members without braces, to be given to `from_fields` many times."""
        return self._encode(self._own_members(fields))[1:-1]

    def from_members(self, members: bytes, level: int, timestamp: float) -> bytes:
        """Render a line from members that are JSON already, those of a task's start."""
        return b"".join((*self._start(timestamp, level), members, b"}"))

    def from_masked(self, members: dict[str, Any], level: int, timestamp: float, constant: bytes) -> bytes:
        """Render a line whose texts were masked by the caller: many requests have them in common."""
        return self._line(timestamp, level, constant, members)

    # --- parts of a line ------------------------------------------------------------------------------------

    def _head(self, level: int) -> bytes:
        return status_of(level).encode() + self._end_of_head

    def _start(self, timestamp: float, level: int) -> tuple[bytes, bytes, bytes]:
        second = int(timestamp)
        cached = self._second
        if cached[0] != second:
            text = time.strftime('{"timestamp":"%Y-%m-%dT%H:%M:%S', time.gmtime(second))
            cached = self._second = (second, text.encode())
        start = cached[1]
        milliseconds = _MILLISECONDS[int((timestamp - second) * 1000)]
        return start, milliseconds, self._heads.get(level) or self._head(level)

    def _line(self, timestamp: float, level: int, constant: bytes, members: dict[str, Any]) -> bytes:
        second, milliseconds, head = self._start(timestamp, level)
        end = b"," + constant + b"}" if constant else b"}"
        line = b"".join((second, milliseconds, head, self._encode(members)[1:-1], end))
        if len(line) > MAX_LINE:
            start = second + milliseconds + head
            budget = MAX_LINE - len(start) - len(end)
            members["truncated"] = len(line)
            line = b"".join((start, self._encode_within(members, budget)[1:-1], end))
        return line

    def _loguru_time(self, record: Mapping[str, Any]) -> float:
        """Return Unix seconds: an addition is four times faster than `datetime.timestamp()`."""
        elapsed: float = record["elapsed"].total_seconds()
        if self._loguru_start is None:
            self._loguru_start = record["time"].timestamp() - elapsed
        return self._loguru_start + elapsed

    def _site(self, name: Any, thread: Any, module: Any, function: Any, line: Any) -> bytes:
        """Return the members that say where a line was logged; the same ones come again and again."""
        key = (name, thread, module, function, line)
        site = self._sites.get(key)
        if site is None:
            members = {
                "logger.name": _cut(name, 1000),
                "logger.thread_name": thread,
                "logger.method_name": function,
                "module": module,
                "function": function,
                "line": line,
            }
            site = self._encode(members)[1:-1]
            if len(self._sites) >= _CACHE_LIMIT:
                self._sites.clear()
            self._sites[key] = site
        return site

    def _add_context(self, members: dict[str, Any]) -> None:
        """Add what the application's own lines have from where they are logged: the trace's ids, the task's names."""
        self._add_ids(members)
        task = self._around()
        if task is not None:
            members.update(task)

    def _add_ids(self, members: dict[str, Any]) -> None:
        try:
            trace_id, span_id = self._correlation()
        except Exception as error:  # noqa: BLE001 - a fault in the tracer must not cost the line
            say("logs.correlation", f"Log lines are written without trace ids: {shown(error)}")
            return
        if trace_id != "0":
            members["dd.trace_id"] = trace_id
            members["dd.span_id"] = span_id

    def _add_error(self, members: dict[str, Any], kind: Any, value: Any, trace: Any) -> None:
        """Add error.kind, error.message and error.stack, chained causes included."""
        if kind is None:  # `logger.exception()` where nothing was raised
            return
        if value is None:
            members["error.kind"] = failure.qualified_name(kind)
            return
        members["error.kind"] = failure.kind_name(value)
        members["error.message"] = self.mask(failure.message_of(value))
        members["error.stack"] = self.mask(failure.stack_of(value, trace))

    # --- fields ---------------------------------------------------------------------------------------------

    def _own_members(self, fields: Mapping[str, object]) -> dict[str, Any]:
        """Return this package's own fields: any name may be given, values are masked like everybody's."""
        members: dict[str, Any] = {}
        for name, value in fields.items():
            if name in self._own:
                kind = type(value)
                if kind is str:
                    members[name] = self.mask(value)  # type: ignore[arg-type]
                    continue
                if kind in _SCALARS:
                    members[name] = value
                    continue
            members[name] = self._value(name, value, self._own)
        return members

    def _add_extra(self, members: dict[str, Any], extra: Mapping[Any, Any]) -> None:
        """Add a user's fields: reserved names are moved to `extra.<name>`, `dd.*` is not the user's to set."""
        for key, value in extra.items():
            if key in self._plain:
                kind = type(value)
                if kind is str:
                    members[key] = self.mask(value)
                    continue
                if kind in _SCALARS:
                    members[key] = value
                    continue
            name = key if type(key) is str else text_of(key)
            if name.startswith(
                "dd."
            ):  # from ddtrace's own log injection: its ids are used where we have none
                if name in ("dd.trace_id", "dd.span_id") and name not in members and text_of(value) != "0":
                    members[name] = text_of(value)
            elif name == "extra" and type(value) is dict:  # `extra=` as in the standard library
                self._add_extra(members, {key: value[key] for key in value if key != "extra"})
            elif name in RESERVED or name.startswith("error."):
                taken = name in RESERVED or name in members
                members[f"extra.{name}" if taken else name] = self._value(name, value, None)
            else:
                members[name] = self._value(name, value, self._plain)

    def _value(self, name: str, value: Any, plain: set[str] | None) -> Any:
        """Return a value as JSON can hold it, masked if its name says so; remember a name that never is."""
        if self._redactor.judge(name) == SHOWN:
            if plain is not None and len(plain) < _CACHE_LIMIT:
                plain.add(name)
        elif self._redactor.hides(name, value):
            return MASK
        return value if type(value) in _SCALARS else ValueCleaner(self._redactor).clean(value)

    def _encode(self, members: dict[str, Any]) -> bytes:
        try:
            return orjson.dumps(members)
        except TypeError:  # a lone surrogate, or an int beyond 64 bits, in what was passed as it is
            cleaner = ValueCleaner(self._redactor)
            return orjson.dumps(
                {well_formed(str(key)): cleaner.clean(value) for key, value in members.items()}
            )

    def _encode_within(self, members: dict[str, Any], budget: int) -> bytes:
        """Encode members whose JSON is too long: every value is cut, harder until it fits."""
        for limit in (240_000, 120_000, 32_000, 4_000, 400, 40):
            body = self._encode({key[:256]: _cut(value, limit) for key, value in members.items()})
            if len(body) <= budget:
                return body
        return self._encode({"message": _cut(members["message"], 400), "truncated": members["truncated"]})


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a wrong format string or a raising __str__: the line is kept, unformatted
        return f"{text_of(record.msg)} {text_of(record.args)}"


def _cut(value: Any, limit: int) -> Any:
    """Cut a value to about `limit` characters, a nested one as its JSON."""
    if isinstance(value, dict | list):
        value = orjson.dumps(value).decode()
    return cut_text(value, limit, masked=True) if isinstance(value, str) else value
