"""arq's jobs; `arq broker_arq.WorkerSettings`."""

from __future__ import annotations

import asyncio

import broker_jobs
from arq import Retry, create_pool, func
from arq.connections import RedisSettings

from streaming_dd import timers

SETTINGS = RedisSettings.from_dsn(broker_jobs.REDIS)


async def add(ctx, left: int, right: int) -> int:
    return broker_jobs.add(left, right)


async def fail(ctx) -> None:
    try:
        broker_jobs.fail()
    except LookupError:
        if ctx["job_try"] < 2:
            raise Retry(defer=0) from None
        raise


async def long(ctx) -> str:
    return await broker_jobs.long_in_asyncio(60)  # it is cancelled


async def startup(ctx) -> None:
    timers.instrument(ctx["redis"])


class WorkerSettings:
    functions = tuple(func(one, name=f"broker_jobs.{one.__name__}") for one in (add, fail, long))
    on_startup = startup
    redis_settings = SETTINGS


if __name__ == "__main__":

    async def pooled(name: str) -> None:
        pool = timers.instrument(await create_pool(SETTINGS))
        await pool.enqueue_job(f"broker_jobs.{name}", *((1, 2) if name == "add" else ()))
        await pool.aclose()

    broker_jobs.enqueue(lambda name: asyncio.run(pooled(name)))
