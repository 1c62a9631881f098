"""Include it before the admin: `path("admin/live-tasks/", include("streaming_dd.django.urls"))`."""

from __future__ import annotations

from django.urls import path

from .live_tasks import cancel_task, live_tasks

app_name = "streaming_dd"
urlpatterns = [
    path("", live_tasks, name="live_tasks"),
    path("cancel/", cancel_task, name="cancel_task"),
]
