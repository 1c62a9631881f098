"""A Django site with users, asked for /stats and /health in one process; writes what came of it as JSON.

A process of its own: Django's settings can be configured once.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

FOLDER = sys.argv[1]
settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{FOLDER}/site.sqlite3"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    STREAMING_STATS_PERMISSION="streaming_dd.endpoints.access.django_staff",
    STREAMING_LOGS_ENABLED=False,
    STREAMING_TRACING_ENABLED=False,
    STREAMING_METRICS_ENABLED=False,
    STREAMING_HEALTH_CACHE=0,
    STREAMING_HEALTH_TIMEOUT=60,
    STREAMING_HEALTH_LOOP_LAG=60,
)
django.setup()

import httpx  # noqa: E402
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import call_command  # noqa: E402

import streaming_dd as dd  # noqa: E402


def own(request: HttpRequest) -> HttpResponse:
    """Answer as the site's own check."""
    return HttpResponse("own")


urlpatterns = [path("health/live", own)]


def cookie(name: str, **attributes: Any) -> dict[str, Any]:
    """Log a new user in, and return the header of the session."""
    user = User.objects.create_user(name, **attributes)
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return {"cookie": f"theme=dark; {settings.SESSION_COOKIE_NAME}={session.session_key}"}


async def ask(app: Any, who: dict[str, dict[str, Any]]) -> dict[str, object]:
    """Ask for everything, and return the answers."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        stats = {
            name: (await client.get("/stats", headers=headers)).status_code for name, headers in who.items()
        }
        health = (await client.get("/health")).json()
        live = (await client.get("/health/live")).text
    return {"stats": stats, "checks": health["checks"], "live": live}


call_command("migrate", verbosity=0)
people: dict[str, dict[str, Any]] = {
    "staff": cookie("staff", is_staff=True),
    "user": cookie("user"),
    "gone": cookie("gone", is_staff=True, is_active=False),
    "nobody": {},
    "forged": {"cookie": f"{settings.SESSION_COOKIE_NAME}=abcdefghijklmnop"},
    "odd": {"cookie": f"\xff;=;{settings.SESSION_COOKIE_NAME}=\xff\xfe".encode("latin-1")},
}
sys.stdout.write(json.dumps(asyncio.run(ask(dd.instrument(get_asgi_application()), people))))
