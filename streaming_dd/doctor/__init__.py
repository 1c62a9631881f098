"""Finds out why nothing arrives: settings, environment, process, application, Agent, and a probe of each kind.

`diagnose()` returns a `Report`; `streaming-dd doctor` prints it. Looking changes nothing but what it takes to look: a
probe metric, span and log line are sent. No state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from .. import recorder
from ..config import Config, django_settings
from ..config import load as load_config
from ..errors import ConfigError
from ..tracing import Tracing, otlp_address
from . import application, connections, process, settings
from .command import add_parser
from .probe import probe
from .report import Finding, Level, Report

__all__ = ["Finding", "Level", "Report", "add_parser", "diagnose"]


def diagnose(
    app: Any = None, *, send: bool = True, timeout: float = 10.0, environ: Mapping[str, str] | None = None
) -> Report:
    """Return what is right and what is wrong with this process' set-up; of `app`, its layers too.

    Takes the configuration in use, or else the one that would be. With `send`, a probe metric, span and log line
    go out, and `timeout` seconds are given to see them arrive.
    """
    environ = os.environ if environ is None else environ
    variables = settings.variables(environ)
    try:
        found = recorder.current
        config = found.config if found is not None else load_config(django=django_settings(), environ=environ)
    except ConfigError as error:
        finding = Finding("settings.invalid", "error", f"{error.setting}: {error.problem}", error.fix)
        return Report((finding,), process.facts(), variables)
    findings = [*settings.settings(config), *settings.contradictions(environ, config)]
    if config.enabled:
        findings += _agent(config, send, timeout)
    findings += process.findings()
    if app is not None:
        findings += application.findings(app)
    return Report(tuple(findings), process.facts(), variables)


def _agent(config: Config, send: bool, timeout: float) -> Iterator[Finding]:
    found: list[Finding] = []
    intake = None
    tracing = Tracing(config)
    if config.metrics_enabled:
        found.append(connections.dogstatsd(config))
    if tracing.enabled:
        finding, intake = connections.traces(tracing.address, otlp=bool(otlp_address()))
        found.append(finding)
    if config.logs_enabled:
        found.append(connections.logs(config))
    yield from found
    if send:
        reachable = {finding.id for finding in found if finding.level == "ok"}
        yield from probe(config, tracing, intake, reachable, timeout)
