"""Every setting, where its value came from, and what it may be.

`settings` declares them, `parsers` judge values, `reading` finds them, `describing` shows them. No state; the Config
in use is the recorder's.
"""

from .describing import describe, differing, without_secrets
from .reading import django_settings, load
from .service import inferred_service, named
from .settings import DOORS, FIELDS, PREFIX, Config, names, setting_name, without_credentials

__all__ = [
    "DOORS",
    "FIELDS",
    "PREFIX",
    "Config",
    "describe",
    "differing",
    "django_settings",
    "inferred_service",
    "load",
    "named",
    "names",
    "setting_name",
    "without_credentials",
    "without_secrets",
]
