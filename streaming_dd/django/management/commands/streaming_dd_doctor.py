"""`manage.py streaming_dd_doctor`: the doctor, with this project's settings and Django's system checks. No state."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core import checks
from django.core.management.base import BaseCommand, CommandParser

from streaming_dd.cli.doctor import Finding, Level
from streaming_dd.cli.doctor import command as doctor
from streaming_dd.django.checks import TAG


class Command(BaseCommand):
    """Find out why nothing arrives; the exit code is 1 if something is wrong."""

    help = (
        "Find out why nothing arrives: settings, system checks, Agent, and a probe metric, span and log line."
    )
    requires_system_checks: tuple[str, ...] = ()  # they are in the report

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options of `streaming-dd doctor`."""
        doctor.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the report, and exit with its code."""
        messages = checks.run_checks(tags=[TAG], include_deployment_checks=True)
        further = tuple(_finding(message) for message in messages)
        if not messages:
            further = (Finding("django.checks", "ok", "the system checks have nothing to say"),)
        code = doctor.run(argparse.Namespace(**options), further, options.get("stdout"))
        if code:
            sys.exit(code)


def _finding(message: checks.CheckMessage) -> Finding:
    level: Level = "info"
    if message.level >= checks.WARNING:
        level = "error" if message.level >= checks.ERROR else "warning"
    return Finding(f"django.{message.id}", level, str(message.msg), str(message.hint or ""))
