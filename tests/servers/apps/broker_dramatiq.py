"""dramatiq's messages, over Redis."""

from __future__ import annotations

import broker_jobs
import dramatiq
from dramatiq.brokers.redis import RedisBroker

from streaming_dd import timers

broker = timers.instrument(RedisBroker(url=broker_jobs.REDIS))
dramatiq.set_broker(broker)
add = dramatiq.actor(broker_jobs.add, actor_name="add", queue_name="mail")
fail = dramatiq.actor(
    broker_jobs.fail, actor_name="fail", queue_name="mail", max_retries=1, min_backoff=1, max_backoff=1
)
long = dramatiq.actor(broker_jobs.long, actor_name="long", queue_name="mail")

if __name__ == "__main__":
    broker_jobs.enqueue(
        lambda name: {"add": add, "fail": fail, "long": long}[name].send(*((1, 2) if name == "add" else ()))
    )
