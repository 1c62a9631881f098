"""A Django site with background tasks and a dramatiq broker, a process of its own: `queue_site.py FOLDER ROLE`.

`migrate` makes the database; `enqueue` puts tasks into it and stays until its standard input ends, so that the backlog is
looked at; `work` runs what waits; `again` runs dramatiq's tasks, which fail the first time. What was done is printed.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.util import find_spec
from typing import Any

import django
from django.conf import settings

FOLDER, ROLE = sys.argv[1], sys.argv[2]
WELL, BADLY, AGAIN = 4, 2, 3
PACKAGE = "django.tasks" if find_spec("django.tasks") is not None else "django_tasks"
settings.configure(
    SECRET_KEY="x",
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{FOLDER}/db.sqlite3"}},
    INSTALLED_APPS=[
        *([] if PACKAGE == "django.tasks" else ["django_tasks"]),
        "django_tasks_db",
        "streaming_dd.django",
    ],
    TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []}},
)
django.setup()

from django.core.management import call_command  # noqa: E402

from streaming_dd import timers  # noqa: E402

sys.modules["queue_site"] = sys.modules["__main__"]
if PACKAGE == "django.tasks":
    from django.tasks import task  # type: ignore[import-not-found, unused-ignore]
else:
    from django_tasks import task


def named(function: Any) -> Any:
    """Give a task's function the module by which the worker finds it."""
    function.__module__ = "queue_site"
    return function


@task
@named
def add(left: int, right: int) -> int:
    return left + right


@task
@named
def fail() -> None:
    raise LookupError("no such row")


def tell(**done: float) -> None:
    sys.stdout.write(json.dumps(done) + "\n")
    sys.stdout.flush()


def enqueue() -> None:
    began = time.time()
    for number in range(WELL):
        add.enqueue(number, number)
    for _ in range(BADLY):
        fail.enqueue()
    tell(enqueued=WELL + BADLY, at=began)
    sys.stdin.read()


def run_again() -> None:
    import dramatiq
    from dramatiq.brokers.stub import StubBroker

    broker = StubBroker()
    dramatiq.set_broker(broker)
    timers.instrument(broker)
    tried: set[int] = set()

    @dramatiq.actor(max_retries=1, min_backoff=1, max_backoff=10)
    def flaky(number: int) -> None:
        if number not in tried:
            tried.add(number)
            raise LookupError("not yet")

    worker = dramatiq.Worker(broker, worker_timeout=100)
    worker.start()
    for number in range(AGAIN):
        flaky.send(number)
    broker.join(flaky.queue_name, timeout=100_000, fail_fast=False)
    worker.join()
    worker.stop()
    tell(enqueued=AGAIN, failed=AGAIN, completed=AGAIN)


def main() -> None:
    if ROLE == "migrate":
        call_command("migrate", verbosity=0)
    elif ROLE == "enqueue":
        enqueue()
    elif ROLE == "again":
        run_again()
    else:
        call_command("db_worker", "--batch", "--no-startup-delay", "--no-reload", verbosity=0)
        from django_tasks_db.models import DBTaskResult

        rows = DBTaskResult.objects.all()
        # The store notes the start of a run a little before it begins, on a busy machine a good while.
        tell(
            waited=max((row.started_at - row.enqueued_at).total_seconds() * 1000 for row in rows),
            ended=max((row.finished_at - row.enqueued_at).total_seconds() * 1000 for row in rows),
        )


main()
