"""The system checks: each finds what it is for, keeps its id, and is silent for what is right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.http import HttpRequest, StreamingHttpResponse
from django.test import override_settings
from django.urls import path
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware

import streaming_dd as dd
from streaming_dd import recorder
from streaming_dd.django import checks
from streaming_dd.django.checks.doubled_lines import doubled

GOOD: dict[str, Any] = {
    "DD_SERVICE": "shop",
    "STREAMING_STATS_TOKEN": "a-token-of-some-length",
    "ASGI_APPLICATION": f"{__name__}.wrapped",
}


def ids(messages: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


def run(**settings: Any) -> list[CheckMessage]:
    """Run every check of ours with these settings in addition to a sound set."""
    functions = [
        checks.settings_are_valid,
        checks.views_stream_asynchronously,
        checks.nothing_compresses_streams,
        checks.lines_are_written_once,
        checks.service_is_named,
        checks.layers_are_sound,
        checks.level_fits,
        checks.addresses_resolve,
        checks.stats_can_be_read,
    ]
    with override_settings(**{**GOOD, **settings}):
        return [message for function in functions for message in function(None)]


class Slow(BaseHTTPMiddleware):
    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


wrapped = dd.DatadogMiddleware(Starlette())
unwrapped = Starlette()
slow = dd.DatadogMiddleware(Starlette(middleware=[Middleware(Slow)]))


def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"a", b"b"]))


urlpatterns = [path("stream", sync_stream)]


def test_a_sound_project_has_nothing_to_hear() -> None:
    """With everything set, no check says anything."""
    assert run() == []


@pytest.mark.parametrize(
    ("settings", "number", "part"),
    [
        ({"STREAMING_LOG_LEVEL": "LOUD"}, "E001", "STREAMING_LOG_LEVEL"),
        ({"STREAMING_LOG_LEVL": "INFO"}, "E001", "no such setting"),
        ({"STREAMING_STATS_PERMISSION": "shop.no_such"}, "E001", "cannot be imported"),
        ({"DD_SERVICE": ""}, "W001", "no service name"),
        ({"ROOT_URLCONF": __name__}, "W002", "sync_stream streams from a synchronous iterator"),
        ({"MIDDLEWARE": ["django.middleware.gzip.GZipMiddleware"]}, "W003", "GZipMiddleware"),
        ({"ASGI_APPLICATION": f"{__name__}.slow"}, "W004", "Slow is a BaseHTTPMiddleware"),
        ({"ASGI_APPLICATION": f"{__name__}.unwrapped"}, "W010", "is not wrapped"),
        ({"ASGI_APPLICATION": "no_such_project.asgi.application"}, "W011", "No module named"),
        ({"STREAMING_LOG_LEVEL": "DEBUG"}, "W006", "DEBUG while DEBUG is False"),
        ({"DD_AGENT_HOST": "nowhere.invalid"}, "W007", "'nowhere.invalid', does not resolve"),
        ({"STREAMING_LOG_AGENT": "nowhere.invalid:10518"}, "W007", "STREAMING_LOG_AGENT"),
        ({"STREAMING_STATS_TOKEN": ""}, "W008", "403 to everybody"),
    ],
)
def test_each_check_finds_its_fault(settings: dict[str, Any], number: str, part: str) -> None:
    """One fault, one message, with its stable id and a hint."""
    messages = run(**settings)
    assert ids(messages) == [f"streaming_dd.{number}"]
    assert part in messages[0].msg
    assert messages[0].hint


def test_ddtraces_middleware_twice() -> None:
    """W005: TraceMiddleware by hand around what ddtrace wraps itself."""
    from ddtrace.contrib.asgi import TraceMiddleware

    globals()["twice"] = dd.DatadogMiddleware(TraceMiddleware(TraceMiddleware(Starlette())))
    assert ids(run(ASGI_APPLICATION=f"{__name__}.twice")) == ["streaming_dd.W005"]


def test_what_is_set_on_purpose_is_no_fault() -> None:
    """DEBUG with DEBUG, a permission instead of a token, no endpoints, everything off."""
    assert run(STREAMING_LOG_LEVEL="DEBUG", DEBUG=True) == []
    staff = "streaming_dd.endpoints.access.django_staff"
    assert run(STREAMING_STATS_TOKEN="", STREAMING_STATS_PERMISSION=staff) == []
    assert run(STREAMING_STATS_TOKEN="", STREAMING_ENDPOINTS_ENABLED=False) == []
    off = {
        "ROOT_URLCONF": __name__,
        "DD_SERVICE": "",
        "MIDDLEWARE": ["django.middleware.gzip.GZipMiddleware"],
    }
    assert run(STREAMING_ENABLED=False, **off) == []


def test_looking_at_the_application_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project's asgi.py is found beside ROOT_URLCONF and imported without a recorder that records."""
    (tmp_path / "shop_of_mine").mkdir()
    (tmp_path / "shop_of_mine" / "__init__.py").write_text("")
    (tmp_path / "shop_of_mine" / "urls.py").write_text("urlpatterns = []")
    (tmp_path / "shop_of_mine" / "asgi.py").write_text(
        "import streaming_dd as dd\nfrom starlette.applications import Starlette\n"
        "app = dd.instrument(Starlette(), service='shop')\n"
        "from streaming_dd import recorder\nENABLED = recorder.current.enabled\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run(ASGI_APPLICATION=None, ROOT_URLCONF="shop_of_mine.urls") == []
    assert sys.modules["shop_of_mine.asgi"].ENABLED is False
    assert recorder.current is None


# --- LOGGING ------------------------------------------------------------------------------------------------------

CONSOLE = {"class": "logging.StreamHandler"}


@pytest.mark.parametrize(
    ("logging", "found"),
    [
        ({}, []),
        (
            {
                "handlers": {"console": CONSOLE},
                "root": {"handlers": ["console"]},
                "loggers": {"shop": {"handlers": ["console"]}},
            },
            [("shop", "console", "root", "console")],
        ),
        (
            {
                "handlers": {"console": CONSOLE, "other": {"class": "rich.logging.RichHandler"}},
                "loggers": {"": {"handlers": ["console"]}, "shop": {"handlers": ["other"]}},
            },
            [("shop", "other", "root", "console")],
        ),
        (
            {
                "handlers": {"a": {"class": "logging.FileHandler", "filename": "x"}, "console": CONSOLE},
                "loggers": {"shop": {"handlers": ["a"]}, "shop.cart.items": {"handlers": ["a", "console"]}},
            },
            [("shop.cart.items", "a", "shop", "a")],
        ),
        (
            {
                "handlers": {"console": CONSOLE},
                "root": {"handlers": ["console"]},
                "loggers": {"shop": {"handlers": ["console"], "propagate": False}},
            },
            [],
        ),
        (
            {
                "handlers": {"console": CONSOLE, "debug": {**CONSOLE, "filters": ["require_debug_true"]}},
                "root": {"handlers": ["console"]},
                "loggers": {"shop": {"handlers": ["debug"]}},
            },
            [],
        ),
        (
            {
                "handlers": {"null": {"class": "logging.NullHandler"}, "mail": {"class": "my.Mail"}},
                "root": {"handlers": ["null"]},
                "loggers": {"shop": {"handlers": ["null", "mail"]}},
            },
            [],
        ),
    ],
)
def test_loggers_that_write_twice(logging: dict[str, Any], found: list[tuple[str, ...]]) -> None:
    """A logger and one above it that reach the same terminal or file, unless it does not propagate."""
    assert list(doubled(logging)) == found


def test_doubled_lines_are_a_warning() -> None:
    """W009 names the logger and both handlers."""
    logging = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": CONSOLE},
        "root": {"handlers": ["console"]},
        "loggers": {"shop": {"handlers": ["console"]}},
    }
    with override_settings(LOGGING=logging, **GOOD):
        (message,) = checks.lines_are_written_once(None)
    assert message.id == "streaming_dd.W009"
    assert "'shop'" in message.msg


# --- the app in a project -------------------------------------------------------------------------------------------

MANAGE = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line

settings.configure(
    SECRET_KEY="x" * 50, ROOT_URLCONF="django_site_urls", ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                    "django.contrib.messages", "django.contrib.sessions", "streaming_dd.django"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {
        "context_processors": ["django.template.context_processors.request",
                               "django.contrib.auth.context_processors.auth",
                               "django.contrib.messages.context_processors.messages"]}}],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.messages.middleware.MessageMiddleware"],
    USE_TZ=True, **EXTRA,
)
"""


def manage(folder: Path, *words: str, extra: str = "{}", body: str = "") -> subprocess.CompletedProcess[str]:
    """Run a manage.py of a project with the app installed."""
    body = body or "execute_from_command_line(sys.argv)"
    (folder / "manage.py").write_text(f"EXTRA = {extra}\n{MANAGE}\n{body}\n")
    here = str(Path(__file__).parent)
    return subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=folder,
        env={"PATH": "", "PYTHONPATH": ":".join([here, *sys.path])},
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.process
def test_check_and_check_deploy(tmp_path: Path) -> None:
    """`check` is silent; `check --deploy` finds the missing service and token, with their ids."""
    quiet = manage(tmp_path, "check")
    assert quiet.returncode == 0, quiet.stderr
    assert "streaming_dd" not in quiet.stderr
    deploy = manage(tmp_path, "check", "--deploy", "--tag", "streaming_dd")
    assert "(streaming_dd.W001) There is no service name" in deploy.stderr
    assert "(streaming_dd.W008) /stats has no token" in deploy.stderr


@pytest.mark.process
def test_a_wrong_setting_is_a_check_for_commands_and_an_error_for_servers(tmp_path: Path) -> None:
    """manage.py reports E001 and stops; a server, which runs no checks, does not start."""
    extra = "{'STREAMING_FLUSH_INTERVAL': 'often'}"
    command = manage(tmp_path, "check", extra=extra)
    assert command.returncode == 1
    assert "(streaming_dd.E001) STREAMING_FLUSH_INTERVAL" in command.stderr
    assert "Traceback" not in command.stderr
    body = "import django\nsys.argv[0] = 'uvicorn'\ndjango.setup()"
    server = manage(tmp_path, extra=extra, body=body)
    assert server.returncode == 1
    assert "ConfigError: STREAMING_FLUSH_INTERVAL" in server.stderr


@pytest.mark.process
def test_the_app_needs_no_migration(tmp_path: Path) -> None:
    """It has no tables: `makemigrations --check` finds nothing to make."""
    done = manage(tmp_path, "makemigrations", "--check", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ids_are_documented() -> None:
    """docs/django.md has a row for every id, and no other."""
    import re

    root = Path(__file__).parents[2]
    source = "".join(path.read_text() for path in (root / "streaming_dd" / "django" / "checks").glob("*.py"))
    used = set(re.findall(r"[EW]0\d\d", source))
    documented = set(re.findall(r"`streaming_dd\.([EW]0\d\d)`", (root / "docs" / "django.md").read_text()))
    assert documented == used
