"""The Django application: put `streaming_dd.django` into INSTALLED_APPS. No state."""

from __future__ import annotations

import sys
from pathlib import Path

from django.apps import AppConfig, apps

from .. import config, recorder
from ..errors import ConfigError
from ..tasks.brokers import django_tasks


class StreamingConfig(AppConfig):
    """Validate the settings, hook Django's handlers and register the system checks."""

    name = "streaming_dd.django"
    label = "streaming_dd"
    verbose_name = "Streaming (Datadog)"

    def ready(self) -> None:
        """Raise ConfigError for settings that cannot be used; under manage.py that is a system check's to report."""
        from . import checks, hooks

        checks.register()
        try:
            enabled = config.load(django=config.django_settings()).enabled
        except ConfigError:
            if not _runs_a_command():
                raise
            return
        if enabled:
            hooks.install()
            checks.wsgi.install()
            django_tasks.install(lambda: recorder.get().tasks)
            if apps.is_installed("channels"):  # a worker or a command sends to groups, too
                from . import channel_layers

                channel_layers.install()


def _runs_a_command() -> bool:
    """Tell whether this process is manage.py, whose commands run the system checks themselves."""
    return Path(sys.argv[0]).name in ("manage.py", "django-admin", "django-admin.py")
