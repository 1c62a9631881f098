"""The Django application `reports`."""

from __future__ import annotations

from django.apps import AppConfig


class ReportsConfig(AppConfig):
    """Give the models the label `reports`, which is the tag `app` of their tasks."""

    name = "examples.reports"
    label = "reports"
