"""ddtrace's signal handlers beside those of a server; docs/decisions/0010 says whose signal it is. No state."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put signal handlers back over those that ddtrace installs inside the block; see docs/decisions/0010."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    for number, handler in before.items():
        found = signal.getsignal(number)
        if main and found is not handler and handler is not None:
            signal.signal(number, handler)


def uncover_server_handlers() -> None:
    """Take ddtrace's signal handlers off a server's: they would shut the tracer down before its last spans end.

    For a ddtrace that was imported by somebody else inside the server's loop. Called at lifespan start-up, in
    the main thread; what ddtrace's handlers would have done is done at the end of the lifespan.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        under = _under_ddtrace(handler)
        if under is not handler and callable(under):
            signal.signal(number, under)


def only_ends_process(handler: Any) -> bool:
    """Return whether a signal's handler is ddtrace's, with nothing under it but the end of the process."""
    return handler is not signal.SIG_DFL and _under_ddtrace(handler) is signal.SIG_DFL


def _under_ddtrace(handler: Any) -> Any:
    """Return what lies under ddtrace's signal handlers (the tracer and its exporter have one each), or `handler`."""
    while getattr(handler, "__module__", "") == "ddtrace.internal.utils.signals":
        code = getattr(handler, "__code__", None)
        cells = dict(zip(code.co_freevars, handler.__closure__ or (), strict=False)) if code else {}
        handler = cells["old_signal"].cell_contents if "old_signal" in cells else signal.SIG_DFL
    return handler
