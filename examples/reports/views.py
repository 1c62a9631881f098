"""What Django answers, under `/django`: lists as JSON, and a task's stream by Django's ASGI."""

from __future__ import annotations

from django.http import Http404, HttpRequest, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET

from .coordinator import coordinator
from .models import KINDS
from .sse import HEADERS, stream


@require_GET
def kinds(request: HttpRequest) -> JsonResponse:
    """List the kinds of task."""
    listed = [
        {
            "app": kind._meta.app_label,
            "model": kind.__name__,
            "summary": kind.summary,
            "seconds": kind.default_seconds,
        }
        for kind in KINDS
    ]
    return JsonResponse({"kinds": listed})


@require_GET
def tasks(request: HttpRequest) -> JsonResponse:
    """List the latest tasks of each kind, the newest first."""
    rows = [
        {
            "app": kind._meta.app_label,
            "model": kind.__name__,
            "id": row.pk,
            "state": row.state,
            "created_at": row.created_at,
            "final_value": row.final_value,
            "error": row.error,
        }
        for kind in KINDS
        for row in kind._default_manager.order_by("-pk")[:10]
    ]
    rows.sort(key=lambda row: row["created_at"], reverse=True)
    return JsonResponse({"tasks": rows})


@require_GET
async def task_stream(
    request: HttpRequest, app_name: str, model_name: str, task_id: int
) -> StreamingHttpResponse:
    """Start the task if it has not run yet, and stream its events."""
    task = await coordinator.get_task_instance(app_name, model_name, task_id)
    if task is None:
        raise Http404(f"no task {app_name}.{model_name} {task_id}")
    if not task.finished:
        await coordinator.start_task(task, app_name, model_name)
    return StreamingHttpResponse(stream(task), content_type="text/event-stream", headers=HEADERS)
