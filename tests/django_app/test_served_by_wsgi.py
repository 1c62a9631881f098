"""A fresh project: `runserver` and other WSGI servers say what is missing, and the commands read the project's settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from free_ports import free_port

pytestmark = pytest.mark.process


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as `startproject` makes it, with the app and one setting of ours."""
    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "shop", str(tmp_path)], check=True, timeout=250
    )
    with (tmp_path / "shop" / "settings.py").open("a") as file:
        file.write("\nINSTALLED_APPS += ['streaming_dd.django']\nSTREAMING_LOG_LEVEL = 'WARNING'\n")
    return tmp_path


def variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"} | {
        "PYTHONUNBUFFERED": "1"
    }


def status(url: str) -> int:
    """Ask a server that may have said what it will listen at before it does, as older versions of Django do."""
    deadline = time.monotonic() + 100
    while True:
        try:
            with urllib.request.urlopen(url, timeout=100) as answer:
                return int(answer.status)
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def served(project: Path, command: list[str], port: int) -> str:
    """Start a server, ask it once, and return what it wrote until our line about WSGI."""
    with subprocess.Popen(
        command, cwd=project, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        watchdog = threading.Timer(250, process.kill)
        watchdog.start()
        wrote = ""
        try:
            for line in process.stdout:
                wrote += line
                if "Quit the server" in line or "Listening" in line:
                    assert status(f"http://127.0.0.1:{port}/") == 200
                if "serves Django by WSGI" in line:
                    break
        finally:
            watchdog.cancel()
            process.kill()
    return wrote


def test_runserver_says_that_it_records_nothing(project: Path) -> None:
    """The system check names the command to use instead, and so does the first request."""
    port = free_port()
    wrote = served(
        project, [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"], port
    )
    assert "streaming_dd.W012" in wrote, wrote
    assert wrote.count("uvicorn --reload shop.asgi:application") == 2, wrote


def test_another_wsgi_server_says_it_at_the_first_request(project: Path) -> None:
    """No command of manage.py runs there: the line comes with the first request."""
    port = free_port()
    code = (
        "from wsgiref.simple_server import make_server\n"
        "from shop.wsgi import application\n"
        f"server = make_server('127.0.0.1', {port}, application)\n"
        "print('Listening', flush=True)\n"
        "server.serve_forever()\n"
    )
    wrote = served(project, [sys.executable, "-c", code], port)
    assert "STREAMING_ENABLED=false" in wrote, wrote


def test_a_runserver_that_is_asgi_is_left_alone(project: Path) -> None:
    """An app that replaces runserver, as daphne does, has the check say nothing; other commands too."""
    code = (
        "import os, sys\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings'\n"
        "import django; django.setup()\n"
        "from streaming_dd.django.checks import wsgi\n"
        "sys.argv = ['manage.py', sys.argv[1]]\n"
        "if sys.argv[1] == 'runserver': wsgi.get_commands = lambda: {'runserver': 'daphne'}\n"
        "print(wsgi.runserver_is_asgi(None))\n"
    )
    for name in ("runserver", "migrate"):
        ended = subprocess.run(
            [sys.executable, "-c", code, name], cwd=project, env=variables(), capture_output=True, text=True,
            timeout=250, check=True,
        )  # fmt: skip
        assert ended.stdout == "[]\n", ended


@pytest.mark.parametrize("command", [["config", "--json"], ["doctor", "--json", "--no-probe"]])
def test_commands_find_the_project_they_stand_in(project: Path, command: list[str]) -> None:
    """Where `manage.py` is, its settings count, without a variable and without `--app`."""
    ended = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.remove(''); from streaming_dd.cli import main; sys.exit(main())",
         *command],
        cwd=project, env=variables(), capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    found = json.loads(ended.stdout)
    if command[0] == "config":
        (row,) = [each for each in found if each["setting"] == "STREAMING_LOG_LEVEL"]
        assert (row["value"], row["origin"]) == ("'WARNING'", "Django settings")
    else:
        assert found["facts"]["Django's settings"] == "shop.settings"


def test_a_project_without_django_installed_or_without_settings_is_none(tmp_path: Path) -> None:
    """A manage.py of something else, or none, changes nothing."""
    for text in (None, "print('no Django')"):
        if text is not None:
            (tmp_path / "manage.py").write_text(text)
        ended = subprocess.run(
            [sys.executable, "-m", "streaming_dd.cli", "config", "--changed"], cwd=tmp_path, env=variables(),
            capture_output=True, text=True, timeout=250,
        )  # fmt: skip
        assert (ended.returncode, ended.stdout) == (0, "Every setting has its default.\n"), ended
