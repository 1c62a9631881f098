"""RQ's jobs; `rq worker -c broker_rq` reads this module as its settings."""

from __future__ import annotations

import broker_jobs
from redis import Redis
from rq import Queue, Retry

from streaming_dd import timers

REDIS_URL = broker_jobs.REDIS
QUEUES = ["mail"]
queue = timers.instrument(Queue("mail", connection=Redis.from_url(REDIS_URL)))


def put(name: str) -> None:
    if name == "add":
        queue.enqueue(broker_jobs.add, 1, 2)
    elif name == "fail":
        queue.enqueue(broker_jobs.fail, retry=Retry(max=1))
    else:
        queue.enqueue(broker_jobs.long)


if __name__ == "__main__":
    broker_jobs.enqueue(put)
