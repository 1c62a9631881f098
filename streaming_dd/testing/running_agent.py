"""A real local agent for a test: what is sent goes over real sockets and is asked for at the other end.

Needs the extra `agent`. State: the recorder's `redirect`, for the duration of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .. import recorder
from ..errors import StreamingDDError
from ..output import tracing
from ..output.redirect import Redirect
from .captured import redirected

if TYPE_CHECKING:
    from ..local_agent import LocalAgent, Received


class RunningAgent:
    """A local agent on ports of its own, to which this process sends."""

    def __init__(self, local: LocalAgent) -> None:
        self.local = local

    @property
    def received(self) -> Received:
        """What has arrived: `metrics`, `spans`, `logs`, `service_checks`, as copies."""
        return self.local.received

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which another process, of any language, sends here."""
        return {
            "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{self.local.dogstatsd_port}",
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{self.local.trace_port}",
            "STREAMING_LOG_AGENT": f"127.0.0.1:{self.local.logs_port}",
        }

    def flush(self) -> None:
        """Send now what this process has recorded; it arrives a moment later."""
        found = recorder.get()
        found.catch_up()
        found.tracing.flush()
        if found.logs is not None:
            found.logs.flush(found.config.shutdown_timeout)

    def wait_for(self, condition: Callable[[Received], object], timeout: float = 30.0) -> None:
        """Flush, then block until `condition(received)` is true; raise TimeoutError saying what has arrived."""
        self.flush()
        self.local.wait_for(condition, timeout)


@contextmanager
def agent(**settings: Any) -> Iterator[RunningAgent]:
    """Run a local agent inside the block and send everything to it; `settings` are those of `configure()`."""
    try:
        from ..local_agent import LocalAgent
    except ImportError as error:
        raise StreamingDDError(
            f"the local agent needs the extra `agent` (pip install 'streaming-dd[agent]'): {error}"
        ) from error
    local = LocalAgent(dogstatsd_port=0, trace_port=0, logs_port=0, page_port=None)
    with local.running():
        running = RunningAgent(local)
        address = running.environment
        forced = {
            "enabled": True,
            "metrics_enabled": True,
            "tracing_enabled": True,
            "logs_enabled": True,
            "dogstatsd_url": address["DD_DOGSTATSD_URL"],
            "trace_agent_url": address["DD_TRACE_AGENT_URL"],
            "log_agent": address["STREAMING_LOG_AGENT"],
            "log_stdout": False,
            "log_file": "",
            "worker": "0",
            **settings,
        }
        with redirected(Redirect(forced)) as arguments, tracing.borrowed():
            recorder.configure(**arguments)
            yield running
