"""The access line of a request, rendered by the recorder's thread straight into the JSON destinations.

State: how to come from `perf_counter()` to the wall clock, refreshed so that it follows the clock's corrections.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from ..output import tracing
from .cells import Finished, RequestCell

if TYPE_CHECKING:
    from ..logs import Logs  # brings loguru


_TEXT_LIMIT: Final = 4000
_CLOCK_CHECK: Final = 1.0
_AGENTS_LIMIT: Final = 500


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
        line = self._line
        lines = [rendered for request, cell in requests if (rendered := line(request, cell)) is not None]
        self._logs.write_many(lines)

    def _line(self, request: Finished, cell: RequestCell) -> bytes | None:
        """Render the line of one request. The query string is left out: it may hold secrets."""
        _, _, status, path, started, ended, _, body_bytes, result, error, stream, ids, client, headers = (
            request
        )
        if not cell.members:
            cell.members = self._constant(cell)
        logs = self._logs
        path = logs.mask(path if len(path) <= _TEXT_LIMIT else path[:_TEXT_LIMIT])
        agent = ""
        for name, value in headers:
            if name == b"user-agent":
                agent = self._agents.get(value) or self._remember(value)
                break
        members: dict[str, Any] = {
            "message": f"{cell.method} {path} {status}",
            "http.url": path,
            "http.useragent": agent,
            "network.client.ip": str(client[0])[:_TEXT_LIMIT] if client else "",
            "network.bytes_written": body_bytes,
            "duration": int((ended - started) * 1e9),
            "outcome": result,
        }
        if ids is not None:
            members["dd.trace_id"] = tracing.format_trace_id(ids[0])
            members["dd.span_id"] = str(ids[1])
        if stream is not None:
            members["stream.events"] = stream.events
        if error is not None:
            members["error.kind"] = error[1]
            members["error.message"] = logs.mask(error[2])
            members["error.stack"] = logs.mask(error[3])
        failed = result == "error" or (status >= 500 and result == "completed")
        level = "ERROR" if failed else "INFO"
        return logs.rendered_fields(members, level, ended + self._offset, cell.members)

    def _constant(self, cell: RequestCell) -> bytes:
        members = {
            "logger.name": "streaming_dd.access",
            "http.method": cell.method,
            "http.route": cell.route,
            "http.status_code": cell.status,
        }
        return self._logs.constant_part(members)

    def _remember(self, value: bytes) -> str:
        """A browser's name comes again and again: read it once."""
        if len(self._agents) >= _AGENTS_LIMIT:
            self._agents.clear()
        text = self._agents[value] = self._logs.mask(value.decode("latin-1")[:_TEXT_LIMIT])
        return text
