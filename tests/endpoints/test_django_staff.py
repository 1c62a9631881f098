"""Django: its staff may read /stats, its databases are checked, and its own paths stay its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.process
def test_a_django_site(tmp_path: Path) -> None:
    """Active staff users of the session are let in and nobody else; the database is ok; an own URL is kept."""
    command = [sys.executable, "-W", "error", str(HERE / "django_staff_site.py"), str(tmp_path)]
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert answers["stats"] == {
        "staff": 200,
        "user": 403,
        "gone": 403,
        "nobody": 403,
        "forged": 403,
        "odd": 403,
    }
    assert answers["checks"] == {"database": "ok", "event_loop": "ok"}
    assert answers["live"] == "own"
