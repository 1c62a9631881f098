"""Django settings. What differs from machine to machine comes from REPORTS_* environment variables."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: Nothing here is signed (no sessions, no users), so a fresh key for each process is enough.
SECRET_KEY = os.environ.get("REPORTS_SECRET_KEY") or secrets.token_urlsafe(32)
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = ["examples.reports.apps.ReportsConfig", "streaming_dd.django"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "examples.reports.urls"
ASGI_APPLICATION = "examples.reports.asgi.app"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("REPORTS_DATABASE") or HERE / "reports.sqlite3",
        "OPTIONS": {
            # WAL lets tasks read while another writes; IMMEDIATE takes the write lock at BEGIN, where `timeout`
            # (seconds) applies: a transaction that reads first and writes later would fail at once instead.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "loggers": {"reports": {"handlers": ["console"], "level": "INFO", "propagate": False}},
}

#: Where the price service listens (prices.py); `PriceCheck` and `/price/{sku}` ask it.
PRICES_URL = os.environ.get("REPORTS_PRICES_URL") or "http://127.0.0.1:8889"
#: Every so many seconds a digest starts by itself, without any request; 0 starts none.
DIGEST_EVERY = float(os.environ.get("REPORTS_DIGEST_EVERY") or 0)
