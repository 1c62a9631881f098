"""What a running task may say of itself: `current_task()`. No state: what is said is kept on the run.

It is found in the task's own context, so also in the asyncio tasks and threads that the task started. Outside of tasks it is
an object whose methods do nothing, so that shared code need not ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .run import TaskRun, current


class CurrentTask:
    """The task whose code runs here. Nothing here raises; what cannot be used is left out and said once.

    It is false outside of tasks.
    """

    __slots__ = ("_run",)

    def __init__(self, run: TaskRun | None) -> None:
        self._run = run

    def __bool__(self) -> bool:
        return self._run is not None

    @property
    def id(self) -> str:
        """The task's id, "" where it has none."""
        return self._run.task_id if self._run is not None else ""

    @property
    def name(self) -> str:
        """The task's `app.model`."""
        return self._run.kind.resource if self._run is not None else ""

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags that were set with `tag()`."""
        said = self._run.said if self._run is not None else None
        return dict(said.tags) if said is not None else {}

    def tag(self, name: str, value: Any) -> None:
        """Set a tag of the task's span and end line: at most 20 of them, names of 50 and values of 200 characters."""
        if self._run is not None:
            self._run.tag(name, value)

    def event(self, event_type: object) -> None:
        """Count an event that the task has sent, by its type."""
        if self._run is not None:
            self._run.event(event_type)

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how far the task is: items done, and of how many where that is known. As often as you like: it costs 1 us."""
        if self._run is not None:
            self._run.progress(done, total)

    def status(self, text: object) -> None:
        """Say in words what the task does now, in at most 200 characters; shown with it until the next text."""
        if self._run is not None:
            self._run.say(text)


def current_task() -> CurrentTask:
    """Return the task whose code runs here; outside of tasks one that is false and whose methods do nothing."""
    return CurrentTask(current.get())
