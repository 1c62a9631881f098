"""Run the sending app in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

APP = Path(__file__).with_name("sending_app.py")
DEADLINE = 60.0


def run_app(*arguments: str, **environment: str) -> str:
    """Run the app in a process of its own, with no Agent in reach, and return what it wrote."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": ":".join(sys.path),
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:1",
        "STREAMING_LOGS_ENABLED": "false",
        "STREAMING_METRICS_ENABLED": "false",
        # A receiver on a loaded machine may take its time.
        "STREAMING_SHUTDOWN_TIMEOUT": "30",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "30000",
        **environment,
    }
    done = subprocess.run(
        [sys.executable, str(APP), *arguments], env=env, capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
