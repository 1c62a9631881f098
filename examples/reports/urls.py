"""Django's routes, under the prefix that asgi.py mounts them at."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("kinds", views.kinds),
    path("tasks", views.tasks),
    path("stream/<str:app_name>/<str:model_name>/<int:task_id>", views.task_stream),
]
