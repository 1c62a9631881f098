"""Finds out why nothing arrives: settings, environment, process, application, Agent, and a probe of each kind.

`diagnose()` returns a `Report`; `streaming-dd doctor` prints it. Looking changes nothing but what it takes to look: a
probe metric, span and log line are sent. No state.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ... import recorder
from ...config import Config, django_settings
from ...config import load as load_config
from ...errors import ConfigError
from ...output.tracing import Tracing, otlp_address
from . import application, connections, process, settings, spelling
from .command import add_parser
from .elsewhere import Elsewhere
from .probe import probe
from .report import Finding, Level, Report

__all__ = ["Elsewhere", "Finding", "Level", "Report", "add_parser", "diagnose"]


def diagnose(
    app: Any = None,
    *,
    send: bool = True,
    timeout: float = 10.0,
    environ: Mapping[str, str] | None = None,
    agent: Elsewhere | None = None,
    service: str = "",
) -> Report:
    """Return what is right and what is wrong with this process' set-up; of `app`, its layers too.

    Takes the configuration in use, or else the one that would be. With `send`, a probe metric, span and log line
    go out, and `timeout` seconds are given to see them arrive. `agent` is asked in place of those that the settings name.
    `service` is that of the probes where none is set: ddtrace's, too, in this process, which has to be your own.
    """
    environ = os.environ if environ is None else environ
    variables = settings.variables(environ)
    try:
        found = recorder.current
        config = found.config if found is not None else load_config(django=django_settings(), environ=environ)
    except ConfigError as error:
        return Report((_invalid(error),), process.facts(), variables)
    findings = [*settings.settings(config), *settings.contradictions(environ, config)]
    findings += spelling.spelling(environ, config)
    if agent is not None:
        findings += agent.finding(config)
        config = agent.instead(config)
    if config.enabled:
        if service and not config.service:
            config = dataclasses.replace(config, service=service)
        try:
            findings += _agent(config, send, timeout, agent.start if agent else connections.START)
        except ConfigError as error:  # ddtrace cannot be imported with this environment
            findings.append(_invalid(error))
    findings += process.findings()
    if app is not None:
        findings += application.findings(app)
        findings += application.routes(app, config)
    return Report(tuple(findings), process.facts(), variables)


def _invalid(error: ConfigError) -> Finding:
    return Finding("settings.invalid", "error", f"{error.setting}: {error.problem}", error.fix)


def _agent(config: Config, send: bool, timeout: float, start: str) -> Iterator[Finding]:
    found: list[Finding] = []
    tracing = Tracing(config)
    if config.metrics_enabled:
        found.append(connections.dogstatsd(config, start))
    if tracing.enabled:
        otlp = bool(otlp_address())
        finding, intake = connections.traces(config, tracing.address, otlp=otlp, start=start)
        found.append(finding)
    else:  # the local agent can be asked about metrics and lines all the same
        _, intake = connections.traces(config, config.trace_address(), otlp=False)
    if config.logs_enabled:
        found.append(connections.logs(config, start))
    yield from found
    if send:
        reachable = {finding.id for finding in found if finding.level == "ok"}
        yield from probe(config, tracing, intake, reachable, timeout)
