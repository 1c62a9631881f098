"""A Django site with background tasks, run as a process of its own: `django_tasks_program.py FOLDER ROLE [BACKEND]`.

The role `enqueue` puts tasks into their backend inside of a span, `work` runs the database's worker until its queue is
empty, `serve` until it is told to end; `bare` is a worker without streaming_dd. What was captured is printed as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import django
from django.conf import settings

FOLDER, ROLE = sys.argv[1], sys.argv[2]
BUILT_IN = find_spec("django.tasks") is not None
PACKAGE = "django.tasks" if BUILT_IN else "django_tasks"
BACKENDS = {
    "default": "django_tasks_db.DatabaseBackend",
    "immediate": f"{PACKAGE}.backends.immediate.ImmediateBackend",
    "dummy": f"{PACKAGE}.backends.dummy.DummyBackend",
}
settings.configure(
    SECRET_KEY="x",
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{FOLDER}/db.sqlite3"}},
    INSTALLED_APPS=[
        *([] if BUILT_IN else ["django_tasks"]),
        "django_tasks_db",
        *([] if ROLE == "bare" else ["streaming_dd.django"]),
    ],
    TASKS={name: {"BACKEND": path, "QUEUES": []} for name, path in BACKENDS.items()},
)
django.setup()

from django.core.management import call_command  # noqa: E402

from streaming_dd import testing, timers  # noqa: E402
from streaming_dd.tasks.brokers import django_tasks  # noqa: E402

sys.modules["django_tasks_program"] = sys.modules["__main__"]
if BUILT_IN:
    from django.tasks import task  # type: ignore[import-not-found, unused-ignore]
else:
    from django_tasks import task


def named(function: Any) -> Any:
    """Give a task's function the module by which the worker finds it."""
    function.__module__ = "django_tasks_program"
    return function


@task
@named
def add(left: int, right: int) -> int:
    if ROLE != "bare":
        assert timers.current_task().name == "django_tasks_program.add"
    return left + right


@task
@named
async def wait(seconds: float) -> str:
    if ROLE != "bare":
        assert timers.current_task().name == "django_tasks_program.wait"
    return "waited"


@task
@named
def fail() -> None:
    raise LookupError("no such row")


@task
@named
def hold(folder: str) -> str:
    with open(f"{folder}/held", "w"):
        pass
    while not os.path.exists(f"{folder}/free"):
        time.sleep(0.02)
    return "held"


def enqueue(backend: str) -> None:
    from ddtrace.trace import tracer

    with tracer.trace("web.request"):
        for one, arguments in ((add, (1, 2)), (wait, (0.0,)), (fail, ())):
            one.using(backend=backend).enqueue(*arguments)


def put_off() -> None:
    """Have a task that was enqueued an hour ago for a minute ago, and one that was enqueued two minutes ago."""
    from django_tasks_db.models import DBTaskResult

    now = datetime.now(UTC)
    due = add.using(run_after=now + timedelta(days=1)).enqueue(1, 2)
    plain = add.enqueue(3, 4)
    DBTaskResult.objects.filter(id=due.id).update(
        enqueued_at=now - timedelta(hours=1), run_after=now - timedelta(minutes=1)
    )
    if sys.argv[3] == "both":
        DBTaskResult.objects.filter(id=plain.id).update(enqueued_at=now - timedelta(minutes=2))
    else:
        DBTaskResult.objects.filter(id=plain.id).delete()


def main() -> None:
    if ROLE == "migrate":
        call_command("migrate", verbosity=0)
        return
    if ROLE in ("serve", "bare"):
        options = {"batch": True} if ROLE == "bare" else {"interval": 0.05}
        call_command("db_worker", startup_delay=False, reload=False, verbosity=0, **options)
        return
    with testing.capture(service="site") as captured:
        if ROLE == "enqueue":
            enqueue(sys.argv[3])
        elif ROLE == "hold":
            hold.enqueue(FOLDER)
        elif ROLE == "later":
            put_off()
        else:
            call_command("db_worker", "--batch", "--no-startup-delay", "--no-reload", verbosity=0)
        for framework in django_tasks._installed:
            if framework._backlog is not None:
                framework._backlog.look()
        show(captured)


def show(captured: Any) -> None:
    spans = [
        {
            "name": span.name,
            "resource": span.resource,
            "trace": span.trace_id,
            "id": span.span_id,
            "error": span.error,
            "tags": {**span.tags, **span.metrics},
            "links": [[trace, one] for trace, one, _ in span.links],
        }
        for span in captured.spans.spans
    ]
    samples = [
        [sample.name, sum(sample.values), sample.tags]
        for sample in captured.metrics.samples
        if ".queue." in sample.name or ".tasks." in sample.name
    ]
    sys.stdout.write(json.dumps({"spans": spans, "samples": samples}))


main()
