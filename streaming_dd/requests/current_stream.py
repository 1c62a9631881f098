"""The stream that is being sent, as its application sees it: what it shows, tokens, why it ends. No state."""

from __future__ import annotations

from ..output.failure import shown
from ..tasks.hooks.functions import split_name
from ..tasks.words import shown_name, shown_text
from .streams.stream_cells import Request
from .traffic import current


class CurrentStream:
    """Say of the stream that this context sends what its bytes do not; does nothing where there is none."""

    __slots__ = ("_request",)

    def __init__(self, request: Request | None) -> None:
        self._request = request

    def count(self, name: str, amount: float = 1) -> None:
        """Count something the stream has sent, such as tokens: on its span, and in `stream.counted` by this name."""
        stream = self._request.stream if self._request is not None else None
        if stream is not None:
            stream.count(shown_name(name), amount)

    def finish(self, reason: str) -> None:
        """Say why the stream ends (`stop`, `length`): on its span, and in `streams.finished`; the last one holds."""
        stream = self._request.stream if self._request is not None else None
        if stream is not None:
            stream.reason = shown_text(reason)

    def shows(self, name: str) -> None:
        """Say which kind of task (`app.model`, as in `@timers.task`) the stream will show, before it begins to be sent.

        Its clients, events and times are then counted under that app and model. Another name, or one that is said too
        late, is dropped: the request goes on.
        """
        request = self._request
        if request is None:
            return
        try:
            names = split_name(name, "current_stream().shows")
        except Exception as error:  # noqa: BLE001 - whatever it is: the request is served
            request.decline(f"a stream does not show what it was to show: {shown(error)}")
            return
        if request.stream is None:
            request.watch_task(*names, None, None)
        elif request.task != names:
            request.decline(f"{'.'.join(names)}: say current_stream().shows() before the response begins")


def current_stream() -> CurrentStream:
    """Return the stream that is sent in this context; one that does nothing outside of a request."""
    return CurrentStream(current.get())
