"""The gunicorn worker class: uvicorn's, with a limit for open streams.

`gunicorn examples.reports.asgi:app -k examples.reports.workers.Worker -w 2 -b 127.0.0.1:8888`
"""

from __future__ import annotations

from typing import Any, ClassVar

from uvicorn.workers import UvicornWorker


class Worker(UvicornWorker):
    """Close the streams that are still open 3 seconds after SIGTERM.

    uvicorn's own class sets no limit: it waits for every open stream until gunicorn kills it (after its
    `--graceful-timeout`, 30 s), and then neither the application's shutdown runs nor does the last telemetry leave.
    """

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {**UvicornWorker.CONFIG_KWARGS, "timeout_graceful_shutdown": 3}
