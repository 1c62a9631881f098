"""uvicorn's worker for gunicorn, with a limit for open streams: without one, gunicorn kills it in the end."""

from __future__ import annotations

from uvicorn_worker import UvicornWorker


class Worker(UvicornWorker):
    CONFIG_KWARGS = {**UvicornWorker.CONFIG_KWARGS, "timeout_graceful_shutdown": 1}  # noqa: RUF012
