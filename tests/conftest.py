"""What every test relies on: ddtrace stays quiet and offline, and no test sees the settings of the shell."""

from __future__ import annotations

import os

for name in [name for name in os.environ if name.startswith(("STREAMING_", "DD_", "OTEL_"))]:
    del os.environ[name]
os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
os.environ["DD_REMOTE_CONFIGURATION_ENABLED"] = "false"
