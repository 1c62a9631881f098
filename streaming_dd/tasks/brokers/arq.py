"""arq's jobs; the carrier stands beside the arguments in what arq serializes. State: the original methods.

A worker is known by its functions alone, so these are wrapped when the first job of each comes.
"""

from __future__ import annotations

import asyncio
import functools
import pickle
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from ...output.methods import Methods
from .queued import KEY, Boards, Carrier, Queued, harmless, names_of

_methods: Final = Methods()
#: Runs of which it is known when they failed: most are never run again.
_LEFT_LIMIT: Final = 1000
#: The carrier of the job that is serialized, or was deserialized, in this context.
_carrier: ContextVar[Carrier | None] = ContextVar("streaming_dd_arq", default=None)


def instrument(thing: Any, boards: Boards) -> None:
    """Hook arq's pools and workers, which are those of the whole process; again changes nothing."""
    if _methods:
        return
    from arq.connections import ArqRedis
    from arq.worker import Worker

    jobs = ArqJobs("arq", boards)
    _methods.put_on({(ArqRedis, "enqueue_job"): jobs.enqueues, (Worker, "run_job"): jobs.runs})


def uninstrument() -> None:
    """Put arq's own methods back."""
    _methods.take_off()


class Serializer:
    """A pool's serializer, which writes the carrier beside a job's arguments."""

    def __init__(self, inner: Callable[[Any], bytes] | None) -> None:
        self._inner = inner or pickle.dumps

    def __call__(self, job: Any) -> bytes:
        """Serialize a job or a result."""
        carrier = _carrier.get()
        # A result has both keys, a job one.
        if carrier is not None and isinstance(job, dict) and "et" in job and "s" not in job:
            job = {**job, KEY: carrier}
        return self._inner(job)


class Deserializer:
    """A worker's deserializer, which takes the carrier out, and has the job's function seen."""

    def __init__(self, inner: Callable[[bytes], Any] | None, seen: Callable[[str], None]) -> None:
        self._inner = inner or pickle.loads
        self._seen = seen

    def __call__(self, data: bytes) -> Any:
        """Deserialize a job."""
        job = self._inner(data)
        if isinstance(job, dict) and "f" in job:
            _carrier.set(job.pop(KEY, None))
            self._seen(job["f"])
        return job


class ArqJobs(Queued):
    """The jobs of arq's pools and workers in this process."""

    def __init__(self, broker: str, boards: Boards) -> None:
        super().__init__(broker, boards)
        #: When the last run of a job ended that asked for another: a job's own times are those of its first enqueuing.
        self._left: dict[str, float] = {}

    def enqueues(self, enqueue_job: Callable[..., Any]) -> Callable[..., Any]:
        """Hook `ArqRedis.enqueue_job`."""

        async def enqueue(pool: Any, function: str, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(pool.job_serializer, Serializer):
                pool.job_serializer = Serializer(pool.job_serializer)
            token = _carrier.set(self.carrier_of(*_names(function), kwargs.get("_job_id") or ""))
            try:
                job = await enqueue_job(pool, function, *args, **kwargs)
            finally:
                _carrier.reset(token)
            if job is not None:  # None: there is such a job already
                self.count_enqueued(kwargs.get("_queue_name") or pool.default_queue_name)
            return job

        return enqueue

    def runs(self, run_job: Callable[..., Any]) -> Callable[..., Any]:
        """Hook `Worker.run_job`, which arq calls in an asyncio task of its own for each job."""

        async def run(worker: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(worker.job_deserializer, Deserializer):
                worker.job_deserializer = Deserializer(
                    worker.job_deserializer, lambda name: self._see(worker, name)
                )
            return await run_job(worker, *args, **kwargs)

        return run

    @harmless
    def _see(self, worker: Any, name: str) -> None:
        function = worker.functions.get(name)
        if function is not None and not hasattr(function.coroutine, KEY):
            function.coroutine = self._seen(worker, function, function.coroutine)

    def _seen(self, worker: Any, function: Any, coroutine: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the coroutine function of a job."""

        @functools.wraps(coroutine)
        async def run(ctx: Any, *args: Any, **kwargs: Any) -> Any:
            key = self._start(worker, function, ctx)
            limit = worker.job_timeout_s if function.timeout_s is None else function.timeout_s
            began = time.monotonic()
            try:
                value = await coroutine(ctx, *args, **kwargs)
            except asyncio.CancelledError:
                self._leave(ctx)
                if time.monotonic() - began < limit:
                    self.ended(key, "cancelled")
                else:  # arq cancels what takes too long, and says so to nobody here
                    self.ended(key, "failed", TimeoutError(f"the job took longer than {limit} s"))
                raise
            except BaseException as error:
                self._leave(ctx)
                self.ended(key, "failed", error)
                raise
            self.ended(key, "completed", value=value)
            return value

        setattr(run, KEY, True)
        return run

    @harmless
    def _leave(self, ctx: Any) -> None:
        """Note when a run ended that may be run again, for the wait of that."""
        if len(self._left) >= _LEFT_LIMIT:
            self._left.pop(next(iter(self._left)), None)
        self._left[ctx["job_id"]] = time.time()

    @harmless
    def _start(self, worker: Any, function: Any, ctx: Any) -> object:
        key = ctx["job_id"], ctx["job_try"]
        left = self._left.pop(ctx["job_id"], 0.0) if ctx["job_try"] > 1 else 0.0
        due = max(ctx["enqueue_time"].timestamp(), ctx["score"] / 1000, left)  # it may have been put off
        self.started(
            key,
            *_names(function.name),
            worker.queue_name,
            ctx["job_id"],
            carrier=_carrier.get(),
            enqueued_at=due,
            attempt=ctx["job_try"],
        )
        return key


def _names(function: str) -> tuple[str, str]:
    app, model = names_of(function.removeprefix("cron:"))
    return ("arq", model) if app == "app" else (app, model)
