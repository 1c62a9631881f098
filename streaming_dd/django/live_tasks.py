"""The page of the tasks that run in this worker now, for staff, in the look of Django's admin. Read only. No state."""

from __future__ import annotations

import heapq
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .. import recorder, task_report

#: Tasks that are shown, the oldest first.
LIMIT: Final = 200
#: Seconds after which the browser asks again.
REFRESH: Final = 5


@require_safe
@never_cache
@staff_member_required
def live_tasks(request: HttpRequest) -> HttpResponse:
    """Show the live tasks: what, since when, how they are doing, who watches them."""
    total, tasks = collect()
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Live tasks",
        "tasks": tasks,
        "total": total,
        "worker": recorder.get().metrics.worker,
        "refresh": REFRESH,
    }
    return TemplateResponse(request, "streaming_dd/live_tasks.html", context)


def collect() -> tuple[int, list[dict[str, Any]]]:
    """Return how many tasks are live, and the oldest of them; from any thread, while they come and go."""
    board = recorder.get().tasks
    runs = list(board.live())
    shown = heapq.nsmallest(LIMIT, runs, key=lambda run: run.submitted)
    return len(runs), [_row(task_report.snapshot(run, clients=board.client_count(run))) for run in shown]


def _row(task: dict[str, Any]) -> dict[str, Any]:
    return {
        **task,
        "age": _span_of(task["age_seconds"]),
        "silent": _span_of(task.get("last_event_seconds_ago")),
    }


def _span_of(seconds: float | None) -> str:
    """Return a length of time as people say it: `4 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
