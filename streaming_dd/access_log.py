"""The access line of a request, rendered by the recorder's thread straight into the JSON destinations.

State: how to come from `perf_counter()` to the wall clock, refreshed so that it follows the clock's corrections.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Final

from . import tracing

if TYPE_CHECKING:
    from .logs import Logs

if TYPE_CHECKING:
    from .traffic import Finished, RequestCell

#: Text that JSON carries as it is.
_PLAIN = re.compile(r"[ !#-\[\]-~]*").fullmatch
_TEXT_LIMIT: Final = 4000
_CLOCK_CHECK: Final = 1.0
_AGENTS_LIMIT: Final = 500


def _quoted(text: str) -> str:
    if len(text) > _TEXT_LIMIT:
        text = text[:_TEXT_LIMIT]
    return text if _PLAIN(text) else json.dumps(text)[1:-1]


class AccessLog:
    """Write one line per request: Datadog's `http.*` names, duration in nanoseconds, the span's ids."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs
        self._offset = 0.0
        self._checked = float("-inf")
        self._agents: dict[bytes, str] = {}

    def write(self, requests: list[tuple[Finished, RequestCell]]) -> None:
        """Render and queue the lines of requests that ended."""
        ended = requests[-1][0][5]
        if abs(ended - self._checked) > _CLOCK_CHECK:
            self._offset = time.time() - time.perf_counter()
            self._checked = ended
        lines = [self._line(request, cell) for request, cell in requests]
        self._logs.write_many([line for line in lines if line is not None])

    def _line(self, request: Finished, cell: RequestCell) -> bytes | None:
        """Render the line of one request. The query string is left out: it may hold secrets."""
        _, _, status, path, started, ended, _, body_bytes, result, error, stream, ids, client, headers = (
            request
        )
        if not cell.members:
            cell.members = self._constant(cell)
        if not _PLAIN(path) or len(path) > _TEXT_LIMIT:
            path = _quoted(path)
        agent = ""
        for name, value in headers:
            if name == b"user-agent":
                agent = self._agents.get(value) or self._remember(value)
                break
        trace = ""
        if ids is not None:
            trace = f'"dd.trace_id":"{tracing.format_trace_id(ids[0])}","dd.span_id":"{ids[1]}",'
        count = "" if stream is None else f',"stream.events":{stream.events}'
        level = "ERROR" if status >= 500 or result == "error" else "INFO"
        members = (
            f'"message":"{cell.method} {path} {status}",{trace}"http.url":"{path}",'
            f'"http.useragent":"{agent}","network.client.ip":"{client[0] if client else ""}",'
            f'"network.bytes_written":{body_bytes},"duration":{int((ended - started) * 1e9)},'
            f'"outcome":"{result}"{count},{cell.members}'
        )
        rendered = members.encode()
        if error is not None:
            named = dict(zip(("error.kind", "error.message", "error.stack"), error[1:], strict=True))
            rendered += b"," + self._logs.constant_part(named)
        return self._logs.rendered(rendered, level, ended + self._offset)

    def _constant(self, cell: RequestCell) -> str:
        members = {
            "logger.name": "streaming_dd.access",
            "http.method": cell.method,
            "http.route": cell.route,
            "http.status_code": cell.status,
        }
        return self._logs.constant_part(members).decode()

    def _remember(self, value: bytes) -> str:
        """A browser's name comes again and again: quote it once."""
        if len(self._agents) >= _AGENTS_LIMIT:
            self._agents.clear()
        text = self._agents[value] = _quoted(value.decode("latin-1"))
        return text
