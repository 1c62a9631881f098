"""taskiq's tasks, over Redis."""

from __future__ import annotations

import asyncio

import broker_jobs
from taskiq import SimpleRetryMiddleware
from taskiq_redis import ListQueueBroker

from streaming_dd import timers

broker = ListQueueBroker(broker_jobs.REDIS, queue_name="mail").with_middlewares(SimpleRetryMiddleware())
timers.instrument(broker)
add = broker.register_task(broker_jobs.add, task_name="shop:add")
fail = broker.register_task(broker_jobs.fail, task_name="shop:fail", retry_on_error=True, max_retries=2)
long = broker.register_task(broker_jobs.long_in_asyncio, task_name="shop:long")

if __name__ == "__main__":

    async def put(name: str) -> None:
        await broker.startup()
        await {"add": add, "fail": fail, "long": long}[name].kiq(*((1, 2) if name == "add" else ()))
        await broker.shutdown()

    broker_jobs.enqueue(lambda name: asyncio.run(put(name)))
