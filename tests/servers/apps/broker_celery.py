"""Celery's jobs, over Redis."""

from __future__ import annotations

import broker_jobs
from celery import Celery

from streaming_dd import timers

app = Celery("shop", broker=broker_jobs.REDIS)
app.conf.update(
    task_default_queue="mail", worker_hijack_root_logger=False, broker_connection_retry_on_startup=True
)
add = app.task(name="shop.add")(broker_jobs.add)
long = app.task(name="shop.long")(broker_jobs.long)


@app.task(name="shop.fail", bind=True, max_retries=1, default_retry_delay=0)
def fail(self):
    try:
        broker_jobs.fail()
    except LookupError as error:
        raise self.retry(exc=error) from error


timers.instrument(app)

if __name__ == "__main__":
    broker_jobs.enqueue(
        lambda name: {"add": add, "fail": fail, "long": long}[name].delay(*((1, 2) if name == "add" else ()))
    )
