"""Lines for people: what a terminal shows in development in place of JSON. No state but where it is written.

The finished JSON line is read again, in the destination's own thread: callers pay nothing, and both say the same.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any, Final

import orjson

from .stdout import Stdout

_COLOURS: Final = {
    "debug": "2",
    "info": "34",
    "ok": "32",
    "warning": "33",
    "error": "31",
    "critical": "41;97",
}
#: What every line has, what is shown in a place of its own, and what an access line's message says already.
_LEFT_OUT: Final = frozenset(
    {
        *("timestamp", "status", "levelname", "message", "service", "module", "function", "line"),
        *("error.kind", "error.message", "error.stack", "duration", "truncated", "network.bytes_written"),
        *("http.url", "http.useragent", "http.method", "http.status_code", "network.client.ip"),
        *("task.event_types", "task.last_events", "task.status"),
    }
)
_PREFIXES: Final = ("dd.", "logger.")
#: What is so of nearly every line.
_NOTHING_NEW: Final = (("outcome", "completed"), ("task.events", 0))
#: Terminals that show links: by their program, by TERM, and those of GNOME's library from this version on.
_LINKING: Final = frozenset(
    {"iterm.app", "wezterm", "vscode", "ghostty", "hyper", "rio", "tabby", "warpterminal"}
)
_LINKING_TERMS: Final = ("xterm-kitty", "xterm-ghostty", "alacritty", "foot", "wezterm", "contour")
_VTE: Final = 5000
#: A terminal obeys control characters: those of a message are shown, not sent.
_SHOWN: Final = {
    number: f"\\x{number:02x}" for number in (*range(32), 127, *range(128, 160)) if chr(number) not in "\n\t"
}


class Console(Stdout):
    """Standard output as people read it: time, level, logger, message, the fields that matter, stacks over lines."""

    def __init__(self, limit: int, trace_url: str = "") -> None:
        self._colours = not os.environ.get("NO_COLOR")
        self._trace_url = ""
        super().__init__(limit)
        on_terminal = self._fd >= 0 and os.isatty(self._fd)
        if self._colours and on_terminal and links_shown(os.environ):
            self._trace_url = trace_url

    def send(self, lines: list[bytes]) -> int:
        told = [readable(line, colours=self._colours, trace_url=self._trace_url).encode() for line in lines]
        super().send(told)
        return len(lines)


def links_shown(environ: Mapping[str, str]) -> bool:
    """Return whether the terminal is one that shows links (OSC 8); FORCE_HYPERLINK=1 or 0 says so in its place."""
    if forced := environ.get("FORCE_HYPERLINK", ""):
        return forced != "0"
    return (
        environ.get("TERM_PROGRAM", "").lower() in _LINKING
        or environ.get("TERM", "").startswith(_LINKING_TERMS)
        or int(vte if (vte := environ.get("VTE_VERSION", "")).isdecimal() else 0) >= _VTE
        or any(environ.get(name) for name in ("WT_SESSION", "KONSOLE_VERSION", "DOMTERM"))
    )


def readable(line: bytes, *, colours: bool = True, trace_url: str = "") -> str:
    """Return a finished JSON line as people read it; the line itself if it is none.

    With `trace_url`, the trace's id is a link to what that is the beginning of.
    """
    try:
        fields: dict[str, Any] = orjson.loads(line)
        return _readable(fields, colours, trace_url)
    except (ValueError, TypeError, AttributeError, KeyError):
        return line.decode("utf-8", "backslashreplace")


def _readable(fields: dict[str, Any], colours: bool, trace_url: str) -> str:
    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colours and text else text

    moment = datetime.datetime.fromisoformat(fields["timestamp"]).astimezone()
    status = fields["status"]
    level = str(fields.get("levelname", status)).upper()
    parts = [
        paint(f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}", "2"),
        paint(f"{_plain(level):<8}", _COLOURS.get(status, "0")),
        _plain(str(fields["message"])),
    ]
    if "duration" in fields:
        parts.append(paint(_length(fields["duration"]), "36"))
    parts += [
        f"{paint(_plain(key) + '=', '2')}{_value(value)}"
        for key, value in fields.items()
        if key not in _LEFT_OUT
        and not key.startswith(_PREFIXES)
        and not key.endswith(".stack")
        and (key, value) not in _NOTHING_NEW
    ]
    parts.append(paint(_plain(str(fields.get("logger.name", ""))), "2"))
    if "dd.trace_id" in fields:
        parts.append(paint(_trace(str(fields["dd.trace_id"]), trace_url), "2"))
    text = " ".join(part for part in parts if part)
    if "error.stack" in fields:
        text += "\n" + _stack(_plain(fields["error.stack"].rstrip()), paint)
    for key, value in fields.items():
        if key.endswith(".stack") and key != "error.stack" and (own := _own_frames(_plain(str(value)))):
            text += "\n" + own
    return text


def _trace(trace_id: str, trace_url: str) -> str:
    """Return the end of a trace's id: enough to find it by, and a link to the whole."""
    shown = f"trace {_plain(trace_id[-8:])}"
    if not trace_url or not trace_id.isalnum():
        return shown
    return f"\x1b]8;;{trace_url}{trace_id}\x1b\\{shown}\x1b]8;;\x1b\\"


def _own_frames(stack: str) -> str:
    """Return the application's own frames of a place that code stood at: forty of a server's and framework's say nothing."""
    shown: list[str] = []
    own = False
    for line in stack.split("\n"):
        if line.lstrip().startswith('File "'):
            own = not _is_library(line)
        if own and line.strip():
            shown.append("    " + line)
    return "\n".join(shown)


def _is_library(line: str) -> bool:
    return "site-packages" in line or "/lib/python" in line or '"<frozen ' in line


def _stack(stack: str, paint: Any) -> str:
    """Return a stack with the frames of libraries paler than the application's own."""
    shown: list[str] = []
    pale = False
    for line in stack.split("\n"):
        if line.lstrip().startswith('File "'):
            pale = _is_library(line)
        elif not line.startswith("    "):
            pale = False
        shown.append("    " + (paint(line, "2") if pale else line))
    return "\n".join(shown)


def _length(nanoseconds: Any) -> str:
    milliseconds = nanoseconds / 1e6
    return f"{milliseconds / 1000:.2f} s" if milliseconds >= 1000 else f"{milliseconds:.1f} ms"


def _value(value: Any) -> str:
    return _plain(value if isinstance(value, str) else orjson.dumps(value).decode())


def _plain(text: str) -> str:
    return text if text.isprintable() else text.translate(_SHOWN)
