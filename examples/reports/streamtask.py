"""The base of every task: a database row that sends its events to the clients who watch it.

The row carries what outlives the process (state, result, error, lease). The clients and the latest event live on the
instance, which the coordinator of this process keeps while the task runs or is watched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.db import models
from django.utils import timezone

#: A worker renews its claim on a running row every second; after this long without, another may take the row over.
LEASE: Final = timedelta(seconds=15)

Event = dict[str, Any]


class State(models.TextChoices):
    """Where a task is in its life. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StreamTask(models.Model):
    """A task: subclasses write `process()`, which calls `send_event()` and returns the final value (JSON)."""

    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    seconds = models.FloatField(help_text="About how long the task takes.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    cancel_requested = models.BooleanField(default=False)
    final_value = models.JSONField(null=True)
    error = models.TextField(default="")

    #: What the page and `/django/kinds` say about the kind, and `seconds` of a new row.
    summary: str = ""
    default_seconds: float = 3.0

    class Meta:
        abstract = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._clients: set[asyncio.Queue[Event]] = set()
        self._latest_data: Event | None = None

    async def process(self) -> Any:
        """Do the work and return the final value."""
        raise NotImplementedError

    # --- clients ----------------------------------------------------------------------------------------------

    async def send_event(self, event_type: str, data: Mapping[str, Any]) -> None:
        """Give every client an event. A client that is a full queue behind loses its oldest one."""
        event = {"type": event_type, "data": dict(data), "timestamp": timezone.now().isoformat()}
        self._latest_data = event
        for queue in self._clients:
            if queue.full():
                queue.get_nowait()  # progress is superseded by later progress, and the final event is the last
            queue.put_nowait(event)

    async def add_client(self, queue: asyncio.Queue[Event]) -> None:
        """Send events to `queue` from now on, the latest one first."""
        self._clients.add(queue)
        if self._latest_data is not None:
            queue.put_nowait(self._latest_data)

    async def remove_client(self, queue: asyncio.Queue[Event]) -> None:
        """Send no more events to `queue`."""
        self._clients.discard(queue)

    # --- state ------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Tell whether the task has ended, in whatever way; it is never run again."""
        return self.state not in (State.QUEUED, State.RUNNING)

    async def claim(self) -> bool:
        """Take the row for this process; False if another worker runs it or it has ended.

        One UPDATE decides, so that of several workers only one wins. A row whose worker died is free when its lease ends.
        """
        now = timezone.now()
        free = models.Q(state=State.QUEUED) | models.Q(state=State.RUNNING, lease_until__lt=now)
        changes = {"state": State.RUNNING, "started_at": now, "lease_until": now + LEASE}
        if await type(self)._default_manager.filter(free, pk=self.pk).aupdate(**changes):
            for name, value in changes.items():
                setattr(self, name, value)
            return True
        await self.arefresh_from_db()
        return False

    async def mark_completed(self, final_value: Any = None) -> None:
        """Save that the task ended well."""
        await self._end(State.COMPLETED, final_value=final_value)

    async def mark_failed(self, error: BaseException) -> None:
        """Save that the task ended by `error`."""
        await self._end(State.FAILED, error=f"{type(error).__name__}: {error}")

    async def mark_cancelled(self) -> None:
        """Save that the task was cancelled."""
        await self._end(State.CANCELLED)

    async def _end(self, state: State, *, final_value: Any = None, error: str = "") -> None:
        self.state, self.final_value, self.error = state, final_value, error
        self.completed_at, self.lease_until = timezone.now(), None
        await self.asave(update_fields=["state", "final_value", "error", "completed_at", "lease_until"])

    def final_event(self) -> Event:
        """Return the event that ends a stream of this finished task."""
        if self.state == State.COMPLETED:
            event_type, data = "complete", {"final_value": self.final_value}
        elif self.state == State.FAILED:
            event_type, data = "error", {"message": self.error}
        else:
            event_type, data = "cancelled", {}
        at = (self.completed_at or timezone.now()).isoformat()
        return {"type": event_type, "data": data, "timestamp": at}
