"""An app of Celery's as its first steps show it, with tasks that print, log and fail."""

from __future__ import annotations

import logging
import sys

import broker_jobs
from celery import Celery

from streaming_dd import timers

app = Celery("shop", broker=broker_jobs.REDIS)
app.conf.broker_connection_retry_on_startup = True
timers.instrument(app)


@app.task(name="shop.talk")
def talk():
    sys.stdout.write("printed by talk\n")
    logging.getLogger("shop").warning("logged by talk")


fail = app.task(name="shop.fail")(broker_jobs.fail)

if __name__ == "__main__":
    talk.delay()
    fail.delay()
