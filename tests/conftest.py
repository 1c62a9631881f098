"""What every test relies on: ddtrace stays quiet and offline, no test sees the shell's settings, slowness is no failure."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# A loaded machine is slow to generate and slow to run, and the first example builds a grammar: neither is a failure.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

for name in [name for name in os.environ if name.startswith(("STREAMING_", "DD_", "OTEL_"))]:
    del os.environ[name]
os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
os.environ["DD_REMOTE_CONFIGURATION_ENABLED"] = "false"
