"""What a service is called that nobody has named."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming_dd import config
from streaming_dd.config import inferred_service


@pytest.mark.parametrize(
    ("arguments", "environ", "folder", "name"),
    [
        (["/venv/bin/uvicorn", "reports.asgi:app"], {}, "/srv/code", "reports"),
        (["/venv/bin/uvicorn", "app:app", "--port", "1"], {}, "/srv/Price Service", "price-service"),
        (
            ["/venv/bin/gunicorn", "-k", "uvicorn_worker.UvicornWorker", "shop.main:create()"],
            {},
            "/srv",
            "shop",
        ),
        (["/venv/lib/uvicorn/__main__.py", "main:app"], {}, "/srv/shop", "shop"),
        (["manage.py", "runserver"], {"DJANGO_SETTINGS_MODULE": "shop.settings"}, "/srv", "shop"),
        (["manage.py", "migrate"], {"DJANGO_SETTINGS_MODULE": "config.settings.dev"}, "/srv/shop", "dev"),
        (["import_prices.py"], {}, "/srv", "import_prices"),
        (["/venv/bin/streaming-dd", "doctor", "--app", "app:app"], {}, "/srv/shop", "shop"),
        (["-c"], {}, "/srv/shop", "shop"),
        ([""], {}, "/", "python"),
        ([], {}, "/", "python"),
    ],
)
def test_a_service_is_called_after_what_was_started(
    arguments: list[str], environ: dict[str, str], folder: str, name: str
) -> None:
    """Django's settings module, then the application that a server was given, then the script, then the folder."""
    assert inferred_service(arguments, environ, Path(folder)) == name


def test_a_name_that_was_set_stays() -> None:
    """Only the missing name is made up, and its origin says so."""
    assert config.named(config.load({"service": "reports"}, environ={})).service == "reports"
    made = config.named(config.load(environ={}))
    assert made.service
    assert made.origins["service"] == "inferred"
