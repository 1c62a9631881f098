"""RQ's jobs: the carrier goes in the job's `meta`, and a job is seen where it is performed. State: the original methods.

A work horse ends without telling anybody: what it has recorded is sent before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from ...output.methods import Hook, Methods
from .queued import KEY, Boards, Queued, harmless, names_of

_methods: Final = Methods()


def instrument(thing: Any, boards: Boards) -> None:
    """Hook RQ's queues, jobs and workers, which are those of the whole process; again changes nothing."""
    if _methods:
        return
    from rq.job import Job, Retry
    from rq.queue import Queue
    from rq.worker import BaseWorker

    jobs = RqJobs("rq", boards)
    hooks: dict[tuple[Any, str], Hook] = {
        (Queue, "create_job"): jobs.creates,
        (Job, "perform"): functools.partial(jobs.performs, Retry),
        (BaseWorker, "perform_job"): jobs.ends_horse,
    }
    _methods.put_on(hooks)


def uninstrument() -> None:
    """Put RQ's own methods back."""
    _methods.take_off()


class RqJobs(Queued):
    """The jobs of RQ's queues in this process."""

    def creates(self, create_job: Callable[..., Any]) -> Callable[..., Any]:
        """Hook `Queue.create_job`, which every way of enqueuing goes through."""

        def create(queue: Any, *args: Any, **kwargs: Any) -> Any:
            job = create_job(queue, *args, **kwargs)
            self._created(job, queue)
            return job

        return create

    def performs(self, retry: type, perform: Callable[..., Any]) -> Callable[..., Any]:
        """Hook `Job.perform`: in a work horse, in a worker without one, and in a queue that runs its jobs at once."""

        def perform_seen(job: Any) -> Any:
            self._starts(job)
            try:
                value = perform(job)
            except BaseException as error:
                self.ended(job.id, "failed", error)
                raise
            again = isinstance(value, retry)  # a job may ask for it by what it returns
            self.ended(job.id, "failed" if again else "completed", value=None if again else value)
            return value

        return perform_seen

    def ends_horse(self, perform_job: Callable[..., Any]) -> Callable[..., Any]:
        """Hook `BaseWorker.perform_job`, after which a work horse ends at once."""

        def perform_and_send(worker: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return perform_job(worker, *args, **kwargs)
            finally:
                if getattr(worker, "_is_horse", False):
                    self.at_end()

        return perform_and_send

    @harmless
    def _created(self, job: Any, queue: Any) -> None:
        carrier = self.enqueued(*_names(job), queue.name, job.id)
        if carrier is not None:
            carrier["retries"] = job.retries_left
            job.meta = {**job.meta, KEY: carrier}  # a copy: the dictionary is the application's

    @harmless
    def _starts(self, job: Any) -> None:
        since = job.enqueued_at
        carrier = job.meta.get(KEY) if isinstance(job.meta, dict) else None
        self.started(
            job.id,
            *_names(job),
            job.origin,
            job.id,
            carrier=carrier,
            enqueued_at=since.timestamp() if isinstance(since, datetime) else None,
            attempt=_attempt(job, carrier),
        )


def _names(job: Any) -> tuple[str, str]:
    return names_of(str(job.func_name))


def _attempt(job: Any, carrier: Any) -> int:
    """Return which attempt this is: RQ counts down those after an exception, and up those that a job has asked for."""
    at_first = carrier.get("retries") if isinstance(carrier, dict) else None
    after_exceptions = at_first - (job.retries_left or 0) if isinstance(at_first, int) else 0
    return 1 + max(after_exceptions, 0) + (job.number_of_retries or 0)
