"""What several log tests need: reading lines, waiting, running a script in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def parse_lines(data: bytes) -> list[dict[str, Any]]:
    """Return lines as objects; each must be one JSON object and end in a newline."""
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(line) for line in data.split(b"\n")[:-1]]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return a file's lines as objects."""
    return parse_lines(path.read_bytes())


def messages(data: bytes) -> list[str]:
    """Return the messages of JSON lines."""
    return [line["message"] for line in parse_lines(data)]


def wait_until(condition: Callable[[], bool], seconds: float = 100.0) -> None:
    """Poll until `condition` holds; fail after a deadline that a loaded machine keeps."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.005)


def run_script(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run Python code in a process of its own, which ends by itself; nothing of this one's logging is in it."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=250, check=False, **options)
