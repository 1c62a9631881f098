"""A task's own object: which of a call's arguments it is, what it is called, and hooks on its methods while its run is on.

What an application's objects do when they are looked at (an attribute that raises) costs what was looked for, no more.
State: none here; the object carries its hooks in its own attributes.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, Final

from ..run import TaskRun
from .wrapping import is_coroutine_function, passes_for

#: Where a task's object carries its run.
RUN: Final = "_streaming_dd_run"


def attribute(item: Any, name: str) -> Any:
    """Return an attribute of the application's object; None where there is none, or it cannot be had."""
    try:
        return getattr(item, name, None)
    except Exception:  # noqa: BLE001 - a property of the application's that raises is not asked here
        return None


def vars_of(item: Any) -> dict[str, Any]:
    """Return the attributes that an object itself holds; empty where it has no room for any."""
    found = attribute(item, "__dict__")
    return found if type(found) is dict else {}


def instance_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the task's object among the arguments of a (bound or unbound) coordinator method; None without one."""
    if "task_instance" in kwargs:
        return kwargs["task_instance"]
    candidates = (*args[:2], *kwargs.values())
    return next(
        (
            item
            for item in candidates
            if attribute(item, "process") is not None or attribute(item, "send_event") is not None
        ),
        None,
    )


def names_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str]:
    """Return the app and model that a coordinator's method was called with; ("", "") if it was not."""
    words = [item for item in args if isinstance(item, str)]
    app = kwargs.get("app_name", words[0] if words else "")
    model = kwargs.get("model_name", words[1] if len(words) > 1 else "")
    return str(app), str(model)


def describe_task(instance: Any, key: object) -> tuple[str, str, object] | None:
    """Return (app, model, id) of a task: a Django row's own names, else those in its key `app:model:id`, else its class'.

    None where there is neither an object nor such a key.
    """
    kind = type(instance)
    label = attribute(attribute(instance, "_meta"), "app_label")
    if label and isinstance(label, str):
        return label, kind.__name__, attribute(instance, "pk")
    parts = key.split(":", 2) if isinstance(key, str) else []
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    if instance is None:
        return None
    module = str(getattr(kind, "__module__", None) or "app").partition(".")[0]
    task_id = attribute(instance, "pk")
    return module, kind.__name__, "" if task_id is None else task_id


class Watched:
    """The hooks on the methods of one task's object, while its run is on."""

    __slots__ = ("_instance", "_marks", "_names", "_run", "note_values")

    def __init__(self, run: TaskRun, coordinator: Any) -> None:
        self._run = run
        self._instance = run.instance
        self._names: list[str] = []
        self.note_values = attribute(run.instance, "process") is not None
        #: The coordinator's code says that a task has completed when this has been called.
        self._marks = "mark_completed" in getattr(getattr(coordinator, "__code__", None), "co_names", ())

    def put_on(self) -> None:
        """Hook the methods; an object that takes no hooks is judged by its run alone."""
        attributes = vars_of(self._instance)
        if attribute(self._instance, "__dict__") is not attributes or RUN in attributes:
            return
        hooks: dict[str, Any] = {RUN: self._run}
        for name, hook in (
            ("process", _notes_process),
            ("mark_completed", _notes_mark),
            ("send_event", _counts_events),
        ):
            method = attribute(self._instance, name)
            if callable(method) and name not in attributes:
                hooks[name] = hook(self._run, method)
        attributes.update(hooks)
        self._names = list(hooks)
        self._run.needs_mark = (
            self._marks and _is_hook(hooks, "process") and _is_hook(hooks, "mark_completed")
        )

    def take_off(self) -> None:
        """Leave the object as it was found."""
        attributes = vars_of(self._instance)
        for name in self._names:
            attributes.pop(name, None)


def _is_hook(hooks: dict[str, Any], name: str) -> bool:
    return name in hooks and is_coroutine_function(hooks[name])


def _notes_process(run: TaskRun, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def process(*args: Any, **kwargs: Any) -> Any:
        try:
            value = await method(*args, **kwargs)
        except BaseException as error:
            run.note_error(error)
            raise
        run.note_value(value)
        return value

    # A process() that is no coroutine function (a generator, say) is the coordinator's to iterate: left alone.
    return process if is_coroutine_function(method) else method


def _notes_mark(run: TaskRun, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    async def mark_completed(*args: Any, **kwargs: Any) -> Any:
        run.marked = True
        try:
            return await method(*args, **kwargs)
        except BaseException as error:
            run.note_error(error)
            raise

    return mark_completed if is_coroutine_function(method) else method


def _counts_events(run: TaskRun, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def send_event(*args: Any, **kwargs: Any) -> Any:
        if run.handled is None:  # what a coordinator swallows it tells its clients first
            run.handled = sys.exception()
        run.event(kwargs.get("event_type", args[0] if args else "none"))
        return method(*args, **kwargs)

    return passes_for(method, send_event)
