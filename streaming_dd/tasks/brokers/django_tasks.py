"""Django's tasks (`django.tasks` of Django 6, `django_tasks` before it): by their signals, with every backend.

With the database backend the carrier lies in the row's JSON beside the arguments, where nobody else looks. State:
`_installed`, and the carriers of tasks that were enqueued in this process and may run in it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from . import queued
from .backlog import Backlog
from .queued import Boards, Queued, harmless, names_of

_MODULES: Final = ("django.tasks", "django_tasks")
_ROW: Final = "django_tasks_db.models"
_CARRIERS_LIMIT: Final = 1_000
_installed: list[DjangoTasks] = []


def install(boards: Boards) -> None:
    """Listen to the signals of the task frameworks that are there; calling it again changes nothing."""
    if _installed:
        return
    for name in _MODULES:
        if _is_used(name):
            _installed.append(DjangoTasks(name, import_module(f"{name}.signals"), boards))


def uninstall() -> None:
    """Listen no more."""
    while _installed:
        _installed.pop().disconnect()


def _is_used(name: str) -> bool:
    """Whether there is such a framework, and an application that uses it: the older one is not imported for nothing."""
    if name not in sys.modules and name == "django_tasks":
        from django.apps import apps

        return apps.is_installed(name)
    return _exists(name)


def _exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


class DjangoTasks(Queued):
    """The tasks of one framework."""

    def __init__(self, name: str, signals: Any, boards: Boards) -> None:
        super().__init__("django", boards)
        self._carriers: dict[str, Any] = {}
        self._backlog: Backlog | None = None
        self._lock = threading.Lock()
        self._connected: list[tuple[Any, Callable[..., None]]] = [
            (signals.task_enqueued, self._on_enqueued),
            (signals.task_started, self._on_started),
            (signals.task_finished, self._on_finished),
        ]
        for signal, receiver in self._connected:
            signal.connect(receiver, weak=False)
        if _exists("django_tasks_db"):
            from django.db.models.signals import pre_save

            self._connected.append((pre_save, self._on_saved))
            pre_save.connect(self._on_saved, weak=False)

    def disconnect(self) -> None:
        """Take the receivers off the signals."""
        for signal, receiver in self._connected:
            signal.disconnect(receiver)
        if self._backlog is not None:
            self._backlog.stop()

    # --- signals ----------------------------------------------------------------------------------------------

    @harmless
    def _on_saved(self, sender: Any, instance: Any, **kwargs: Any) -> None:
        """A row of the database backend that is about to be made: put the carrier into it."""
        if (
            sender.__module__ != _ROW
            or not instance._state.adding
            or not isinstance(instance.args_kwargs, dict)
        ):
            return
        carrier = self.enqueued(*names_of(instance.task_path), _queue(instance), instance.id)
        if carrier is not None:
            instance.args_kwargs = {**instance.args_kwargs, queued.KEY: carrier}

    @harmless
    def _on_enqueued(self, sender: Any, task_result: Any, **kwargs: Any) -> None:
        if hasattr(task_result, "db_result"):
            self._watch(task_result)
            return  # counted when its row was made
        carrier = self.enqueued(*_names(task_result), _queue_of(task_result), task_result.id)
        if len(self._carriers) >= _CARRIERS_LIMIT:
            self._carriers.pop(next(iter(self._carriers)), None)
        self._carriers[task_result.id] = carrier

    @harmless
    def _on_started(self, sender: Any, task_result: Any, **kwargs: Any) -> None:
        row = getattr(task_result, "db_result", None)
        if row is not None:
            self._watch(task_result)
            carrier = row.args_kwargs.get(queued.KEY)
        else:
            carrier = self._carriers.pop(task_result.id, None)
        # What is put off does not wait before that.
        waits = [at for at in (task_result.enqueued_at, task_result.task.run_after) if at is not None]
        self.started(
            task_result.id,
            *_names(task_result),
            _queue_of(task_result),
            task_result.id,
            carrier=carrier,
            enqueued_at=max(at.timestamp() for at in waits) if waits else None,
            attempt=max(len(task_result.worker_ids), 1),
        )

    @harmless
    def _on_finished(self, sender: Any, task_result: Any, **kwargs: Any) -> None:
        if task_result.status == "SUCCESSFUL":
            self.ended(task_result.id, "completed", value=task_result._return_value)
            return
        error = sys.exc_info()[1]  # the signal is sent while the exception is handled
        if error is None and task_result.errors:
            error = _stand_in(task_result.errors[-1].exception_class_path)
        cancelled = isinstance(error, SystemExit | KeyboardInterrupt)
        self.ended(task_result.id, "cancelled" if cancelled else "failed", error)

    def _watch(self, task_result: Any) -> None:
        """Have the backlog in the database looked at, by the first process that has to do with it."""
        with self._lock:
            if self._backlog is None:
                row = type(task_result.db_result)
                self._backlog = Backlog(self, lambda: _waiting(row))
                self._backlog.start()


def _stand_in(path: str) -> Exception:
    """Return an exception that is called as the one of which only the path is known."""
    module, _, name = path.rpartition(".")
    error: Exception = type(name, (Exception,), {"__module__": module or "builtins"})()
    return error


def _names(task_result: Any) -> tuple[str, str]:
    return names_of(task_result.task.module_path)


def _queue_of(task_result: Any) -> str:
    return f"{task_result.backend}.{task_result.task.queue_name}"


def _queue(row: Any) -> str:
    return f"{row.backend_name}.{row.queue_name}"


def _waiting(row: Any) -> dict[str, tuple[int, float]]:
    """Return how many tasks of each queue wait in the database, and for how long the oldest does; blocks.

    One that was put off waits from then on. Of those that are ready, one that was not has a `run_after` far ahead.
    """
    from django.db import connection, models
    from django.utils import timezone

    try:
        ready = row.objects.ready()
        now = timezone.now()  # not before it was asked what is ready: that has no `run_after` ahead of this
        found = (
            ready.order_by()
            .values("backend_name", "queue_name")
            .annotate(
                count=models.Count("pk"),
                due=models.Min("run_after"),
                put_in=models.Min("enqueued_at", filter=models.Q(run_after__gt=now)),
            )
        )
        return {
            f"{one['backend_name']}.{one['queue_name']}": (
                one["count"],
                max(*((now - since).total_seconds() for since in (one["due"], one["put_in"]) if since), 0.0),
            )
            for one in found
        }
    finally:
        connection.close()  # this thread's own
