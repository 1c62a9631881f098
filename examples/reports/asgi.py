"""The ASGI application. Start it with

uvicorn examples.reports.asgi:app --port 8888 --timeout-graceful-shutdown 5
gunicorn examples.reports.asgi:app -k uvicorn.workers.UvicornWorker -b 127.0.0.1:8888 -w 2
"""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.reports.settings")
django = get_asgi_application()  # sets Django up: what follows imports its models

import streaming_dd as dd  # noqa: E402

from .coordinator import coordinator  # noqa: E402
from .web import application  # noqa: E402

app = application(django)
app = dd.instrument(app, coordinator=coordinator)
