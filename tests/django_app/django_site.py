"""The test site's settings, and a sender to nowhere."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.utils.functional import empty

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


def set_up() -> None:
    """Configure Django, once per process."""
    if not settings.configured:
        settings.configure(**SETTINGS)
        django.setup()
    _Shown.settings = settings._wrapped


class _Shown:
    settings: Any = empty


def show() -> None:
    """Let Django's settings be found, as `set_up` made them."""
    settings._wrapped = _Shown.settings


def hide() -> None:
    """Let Django be as if it was not configured: tests of other folders run in the same process."""
    settings._wrapped = empty
