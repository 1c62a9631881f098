"""Celery's tasks, by its signals; the carrier goes in the message's headers. State: `_installed`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from .queued import KEY, Boards, Queued, harmless, names_of, waits_anew

_installed: list[CeleryTasks] = []


def instrument(app: Any, boards: Boards) -> None:
    """Listen to Celery's signals, which are those of every app of the process; again changes nothing."""
    if not _installed:
        _installed.append(CeleryTasks(boards))


def uninstrument() -> None:
    """Listen no more."""
    while _installed:
        _installed.pop().disconnect()


class CeleryTasks(Queued):
    """The tasks of Celery's apps in this process."""

    def __init__(self, boards: Boards) -> None:
        super().__init__("celery", boards)
        signals = import_module("celery.signals")
        self._connected: list[tuple[Any, Callable[..., None]]] = [
            (signals.before_task_publish, self._on_publish),
            (signals.after_task_publish, self._on_published),
            (signals.task_prerun, self._on_start),
            (signals.task_postrun, self._on_end),
            (signals.task_failure, self._on_failure),
            (signals.task_retry, self._on_retry),
            (signals.task_revoked, self._on_revoked),
            (signals.worker_process_shutdown, self._on_process_end),
        ]
        for signal, receiver in self._connected:
            signal.connect(receiver, weak=False)
        self._errors: dict[str, BaseException] = {}

    def disconnect(self) -> None:
        """Take the receivers off the signals."""
        for signal, receiver in self._connected:
            signal.disconnect(receiver)

    @harmless
    def _on_publish(self, sender: Any, headers: Any, **kwargs: Any) -> None:
        if not isinstance(headers, dict):
            return
        first = _is_first(headers)
        carrier = (
            self.carrier_of(*names_of(str(sender)), headers.get("id", "")) if first else headers.get(KEY)
        )
        headers[KEY] = waits_anew(carrier, _moment(headers.get("eta")))

    @harmless
    def _on_published(self, sender: Any, headers: Any, routing_key: Any = "", **kwargs: Any) -> None:
        if _is_first(headers):  # a broker that is away has raised before this
            self.count_enqueued(routing_key)

    @harmless
    def _on_start(self, task_id: str, task: Any, **kwargs: Any) -> None:
        request = task.request
        carrier = getattr(request, KEY, None) or (request.headers or {}).get(KEY)
        queue = (request.delivery_info or {}).get("routing_key") or "none"
        self.started(
            _key(task_id, request),
            *names_of(task.name),
            queue,
            task_id,
            carrier=carrier,
            attempt=(request.retries or 0) + 1,
        )

    @harmless
    def _on_revoked(self, request: Any, **kwargs: Any) -> None:
        """A task that expired or was revoked: sent where the messages come in, which is not where tasks run in a pool."""
        self.never_ran((getattr(request, "delivery_info", None) or {}).get("routing_key") or "none")

    def _on_process_end(self, **kwargs: Any) -> None:
        """Send what this process of a pool has recorded: it is about to end, by os._exit()."""
        self.at_end()

    @harmless
    def _on_failure(self, sender: Any, task_id: str, exception: BaseException, **kwargs: Any) -> None:
        self.ended(_key(task_id, sender.request), "failed", exception)

    @harmless
    def _on_retry(self, request: Any, reason: Any, **kwargs: Any) -> None:
        error = getattr(reason, "exc", None)
        self.ended(_key(request.id, request), "failed", error if isinstance(error, BaseException) else None)

    @harmless
    def _on_end(self, task_id: str, task: Any, retval: Any = None, state: str = "", **kwargs: Any) -> None:
        key = _key(task_id, task.request)
        if state == "SUCCESS":
            self.ended(key, "completed", value=retval)
        else:  # revoked, ignored or rejected: it neither completed nor failed
            self.ended(key, "cancelled")


def _key(task_id: str, request: Any) -> object:
    """Return what tells a run from its retry, which has the same id and may begin in another thread before its end."""
    return task_id, request.retries or 0


def _moment(eta: object) -> float:
    """Return the wall-clock seconds of what a countdown or an ETA became in a message; 0 for none."""
    try:
        moment = datetime.fromisoformat(eta) if isinstance(eta, str) else None
    except ValueError:  # the worker refuses it
        return 0.0
    if moment is None:
        return 0.0
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _is_first(headers: Any) -> bool:
    """Whether a message is that of a task's first attempt."""
    return isinstance(headers, dict) and int(headers.get("retries") or 0) == 0
