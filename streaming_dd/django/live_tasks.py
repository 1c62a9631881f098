"""The staff's page of the tasks that run now in all workers, in the look of Django's admin; cancelling one. No state."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.views.decorators import staff_member_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from .. import recorder
from ..endpoints.live_tasks import LiveTasks

#: Tasks that are shown, the oldest first.
LIMIT: Final = 200
#: Seconds after which the browser asks again.
REFRESH: Final = 5
#: Whoever may cancel tasks: superusers, and those to whom a backend gives this permission.
PERMISSION: Final = "streaming_dd.cancel_task"
#: What came of cancelling, in words.
_SAID: Final = {
    "cancelled": "The task was cancelled.",
    "ended": "The task had ended already.",
    "refused": "The coordinator did not cancel the task.",
    "impossible": "The coordinator of this task cannot cancel.",
    "late": "Cancelling goes on: the coordinator has not said yet that the task ended.",
    "failed": "The coordinator failed to cancel the task; the log says why.",
    "silent": "The worker of this task does not answer.",
}


@require_safe
@never_cache
@csrf_protect  # sets the cookie that the forms need, where the middleware is not installed
@staff_member_required
def live_tasks(request: HttpRequest) -> HttpResponse:
    """Show the live tasks of all workers: what, where, since when, how they are doing, who watches them."""
    found = recorder.get().part(LiveTasks).oldest(LIMIT)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Live tasks",
        "tasks": [_row(task) for task in found["tasks"]],
        "total": found["total"],
        "missing": found["missing"],
        "may_cancel": _may_cancel(request),
        "said": _SAID.get(request.GET.get("said", ""), ""),
        "refresh": REFRESH,
    }
    return TemplateResponse(request, "streaming_dd/live_tasks.html", context)


@require_POST
@csrf_protect
@staff_member_required
def cancel_task(request: HttpRequest) -> HttpResponse:
    """Cancel one task, in whichever worker it runs; the log says who asked for it."""
    if not _may_cancel(request):
        raise PermissionDenied
    worker, key = request.POST.get("worker", "")[:200], request.POST.get("key", "")[:1000]
    outcome = recorder.get().part(LiveTasks).cancel(worker, key, request.user.get_username())
    return HttpResponseRedirect(f"{reverse('streaming_dd:live_tasks')}?said={outcome}")


def _may_cancel(request: HttpRequest) -> bool:
    user: Any = request.user
    return bool(user.has_perm(PERMISSION))


def _row(task: dict[str, Any]) -> dict[str, Any]:
    return {
        **task,
        "age": _span_of(task["age_seconds"]),
        "how_far": _how_far(task),
        "silent": _span_of(task.get("last_event_seconds_ago")),
    }


def _how_far(task: dict[str, Any]) -> str:
    """Return what a task says of its progress: `3 of 12 (25 %)`."""
    done, total = task.get("done"), task.get("total")
    if done is None:
        return ""
    return f"{done:g} of {total:g} ({task['progress']:.0%})" if total else f"{done:g}"


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
