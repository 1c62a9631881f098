"""A Django site for the tests, configured once per process, and a look at what the middleware counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import django
import pytest
from django.conf import settings

from streaming_dd import catalog, notices, recorder
from streaming_dd.metrics import Counter

SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "only for tests",
    "DEBUG": False,
    "ALLOWED_HOSTS": ["*"],
    "ROOT_URLCONF": "django_site_urls",
    "USE_TZ": True,
    "USE_I18N": True,
    "LANGUAGE_CODE": "en",
    "LANGUAGES": [("en", "English"), ("de", "German")],
    "STATIC_URL": "/static/",
    "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "INSTALLED_APPS": [
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
    ],
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
}


class Null:
    """A sender to nowhere."""

    payload_limit = 8192
    tags: tuple[str, ...] = ()
    suffix = ""

    def send(self, payload: bytes) -> bool:
        return True

    def service_check(self, name: str, status: int, tags: list[str], message: str) -> None:
        pass

    def close(self) -> None:
        pass


def pytest_configure() -> None:
    """Configure Django before the test modules import anything of it."""
    if not settings.configured:
        settings.configure(**SETTINGS)
        django.setup()


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Forget the recorder and what was said."""
    notices.reset()
    yield
    recorder.reset()
    notices.reset()


@pytest.fixture
def counted() -> Callable[[], dict[tuple[str, str], int]]:
    """Record metrics only; the function returns how many requests were counted by (route, status)."""
    recorder.configure(sender=Null(), tracing_enabled=False, logs_enabled=False)

    def count() -> dict[tuple[str, str], int]:
        found = recorder.get()
        found.traffic.settle()
        counts = {}
        for handle in found.metrics.handles():
            if handle.metric is catalog.HTTP_REQUESTS and isinstance(handle, Counter):
                tags = dict(handle.tags)
                counts[tags["route"], tags["status"]] = int(handle.total)
        return counts

    return count
