"""Django's system checks, with ids that stay: `manage.py check`, and `manage.py check --deploy` for the rest. No state.

docs/django.md lists them. To add one, write a function here and enter it in `register()`.
"""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.urls import get_resolver

from ... import config as config_module
from ...cli.doctor import application, connections
from ...config import Config
from ...endpoints.access import permission_of
from ...errors import ConfigError
from .. import iterators
from . import asgi_application, serving, wsgi
from .doubled_lines import doubled

TAG: Final = "streaming_dd"
_VIEWS_SHOWN: Final = 20
_GZIP: Final = "django.middleware.gzip.GZipMiddleware"
#: Finding of the doctor about the application's layers -> number of the check; W004 for the others.
_NUMBERS: Final = {"application.ddtrace_twice": "W005", "application.middleware": "W010"}


def register() -> None:
    """Register every check; those with `deploy` run with `manage.py check --deploy` only."""
    for check in (
        settings_are_valid,
        views_stream_asynchronously,
        nothing_compresses_streams,
        lines_are_written_once,
        wsgi.runserver_is_asgi,
    ):
        checks.register(check, TAG)
    for check in (
        service_is_named,
        layers_are_sound,
        level_fits,
        addresses_resolve,
        stats_can_be_read,
        serving.server_ends_streams,
    ):
        checks.register(check, TAG, deploy=True)


def _config() -> Config | None:
    """The settings in force; None if they cannot be used, which `settings_are_valid` reports."""
    try:
        found = config_module.load(django=config_module.django_settings())
    except ConfigError:
        return None
    return found if found.enabled else None


# --- always -----------------------------------------------------------------------------------------------------


def settings_are_valid(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """E001: a setting is unknown, has the wrong type or cannot work."""
    try:
        permission_of(config_module.load(django=config_module.django_settings()))
    except ConfigError as error:
        return [checks.Error(f"{error.setting}: {error.problem}", hint=error.fix, id=f"{TAG}.E001")]
    return []


def views_stream_asynchronously(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W002: a view gives StreamingHttpResponse a synchronous iterator."""
    if _config() is None or not getattr(settings, "ROOT_URLCONF", None):
        return []
    found: list[CheckMessage] = []
    for view in iterators.views(get_resolver().url_patterns):
        line = iterators.streams_synchronously(view)
        if line:
            name = f"{view.__module__}.{getattr(view, '__qualname__', type(view).__name__)}"
            found.append(
                checks.Warning(
                    f"{name} streams from a synchronous iterator: {line}. Under ASGI, Django reads it to its end before "
                    "the client gets the first byte.",
                    hint="Give StreamingHttpResponse an async generator (async def ... yield).",
                    id=f"{TAG}.W002",
                )
            )
    return found[:_VIEWS_SHOWN]


def nothing_compresses_streams(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W003: Django's GZipMiddleware compresses event streams too."""
    if _config() is None or _GZIP not in settings.MIDDLEWARE:
        return []
    return [
        checks.Warning(
            "GZipMiddleware compresses event streams too, each event for itself; proxies and browsers hold them back.",
            hint="Set the header `Content-Encoding: identity` on responses of text/event-stream, which it leaves alone, "
            "or compress in the proxy.",
            id=f"{TAG}.W003",
        )
    ]


def lines_are_written_once(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W009: LOGGING sends a logger's records to the same place twice."""
    if _config() is None:
        return []
    return [
        checks.Warning(
            f"LOGGING writes each line of {logger!r} twice: its own handler {own!r} and {other!r} of {ancestor!r} "
            "go to the same place.",
            hint=f'Set "propagate": False for {logger!r}, or take one of the handlers away.',
            id=f"{TAG}.W009",
        )
        for logger, own, ancestor, other in doubled(getattr(settings, "LOGGING", None) or {})
    ]


# --- before a deployment ----------------------------------------------------------------------------------------


def service_is_named(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W001: there is no service name."""
    config = _config()
    if config is None or config.service:
        return []
    return [
        checks.Warning(
            "There is no service name: Datadog files spans under the name of the start script.",
            hint="Set DD_SERVICE in the settings or in the environment.",
            id=f"{TAG}.W001",
        )
    ]


def layers_are_sound(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W004, W005, W010, W011: layers of the ASGI application that harm streams, double spans, or are missing."""
    if _config() is None:
        return []
    try:
        name, app = asgi_application.find()
    except Exception as error:  # noqa: BLE001 - the project's own code runs in there
        hint = "It is imported here to look at its layers, as servers import it to serve it."
        message = f"The ASGI application cannot be imported: {type(error).__name__}: {error}"
        return [checks.Warning(message, hint=hint, id=f"{TAG}.W011")]
    return [
        checks.Warning(
            f"{name}: {finding.message}.", hint=finding.fix, id=f"{TAG}.{_NUMBERS.get(finding.id, 'W004')}"
        )
        for finding in (application.findings(app) if app is not None else ())
        if finding.level in ("warning", "error")
    ]


def level_fits(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W006: lines for debugging are written in production."""
    config = _config()
    if config is None or settings.DEBUG or config.log_level not in ("TRACE", "DEBUG"):
        return []
    return [
        checks.Warning(
            f"STREAMING_LOG_LEVEL is {config.log_level} while DEBUG is False: every library's debugging lines are kept "
            "and paid for.",
            hint="Set STREAMING_LOG_LEVEL to INFO in production.",
            id=f"{TAG}.W006",
        )
    ]


def addresses_resolve(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W007: the Agent's address does not resolve."""
    config = _config()
    return [
        checks.Warning(
            f"The host of {setting}, {host!r}, does not resolve.",
            hint=f"Correct {setting}; the application runs without an Agent, but nobody sees it.",
            id=f"{TAG}.W007",
        )
        for setting, host in (connections.unresolved(config) if config is not None else ())
    ]


def stats_can_be_read(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W008: nobody may read /stats."""
    config = _config()
    if config is None or not config.endpoints_enabled or config.stats_token or config.stats_permission:
        return []
    return [
        checks.Warning(
            "/stats has no token and no permission: it answers 403 to everybody.",
            hint="Set STREAMING_STATS_TOKEN, or STREAMING_STATS_PERMISSION="
            "'streaming_dd.endpoints.access.django_staff'.",
            id=f"{TAG}.W008",
        )
    ]
