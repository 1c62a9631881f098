"""Include it before the admin: `path("admin/live-tasks/", include("streaming_dd.django.urls"))`."""

from __future__ import annotations

from django.urls import path

from .live_tasks import live_tasks

app_name = "streaming_dd"
urlpatterns = [path("", live_tasks, name="live_tasks")]
