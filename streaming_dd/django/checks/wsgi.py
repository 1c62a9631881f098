"""Tells whoever serves the project by WSGI that requests are seen under ASGI only. State: whether it was said."""

from __future__ import annotations

import sys
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import get_commands
from django.core.signals import request_started

from ... import recorder
from ...output.notices import say

_ID: Final = "streaming_dd.W012"
_UID: Final = "streaming_dd.wsgi"
_WSGI_SERVERS: Final = ("django.core", "django.contrib.staticfiles")


def runserver_is_asgi(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """W012: this is `manage.py runserver` of Django itself, which serves WSGI."""
    if sys.argv[1:2] != ["runserver"] or get_commands().get("runserver") not in _WSGI_SERVERS:
        return []
    return [
        CheckWarning(
            "runserver serves WSGI: no request, stream or task of it is recorded, and there is no /health.",
            hint=f"Run `{_command()}`, or put 'daphne' first into INSTALLED_APPS, which makes runserver ASGI.",
            id=_ID,
        )
    ]


def install() -> None:
    """Say it at the first request that comes by WSGI, unless a wrapped application runs in this process, too."""
    request_started.connect(_first_request, dispatch_uid=_UID)


def _first_request(sender: Any, **kwargs: Any) -> None:
    request_started.disconnect(dispatch_uid=_UID)
    if recorder.current is None and isinstance(sender, type) and issubclass(sender, WSGIHandler):
        say(
            "wsgi",
            f"This process serves Django by WSGI: its requests are not recorded. Serve the wrapped ASGI application "
            f"(`{_command()}`), or set STREAMING_ENABLED=false where that is meant.",
        )


def _command() -> str:
    dotted = getattr(settings, "ASGI_APPLICATION", None)
    if dotted:
        module, _, name = dotted.rpartition(".")
    else:
        package = (getattr(settings, "ROOT_URLCONF", None) or "").rpartition(".")[0]
        module, name = (f"{package}.asgi" if package else "asgi"), "application"
    return f"uvicorn --reload {module}:{name}"
